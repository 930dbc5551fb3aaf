"""The files of scripts/release: each form, used with its users' tools."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from healthchecker._version import VERSION
from release import facts
from release.deb import deb
from release.facts import ARCHITECTURES, NAME
from release.image import docker_image, oci_image
from release.rpm import rpm
from release.sbom import FILE, problem
from release.tarball import tarball
from release.vex import CONTEXT, NOT_AFFECTED
from release.wheel import machine_wheel as wheel_of
from tests.release.conftest import MAINTAINER, SOURCE, release
from tests.support import ROOT, require
from tests.support.engine import docker, require_engine, succeed
from tests.support.forms import DIST, EXECUTABLES, SAVED

pytestmark = pytest.mark.alone

MACHINE = DIST.name
ARCHITECTURE = ARCHITECTURES[MACHINE]
DEB = f"{NAME}_{VERSION}-1_{ARCHITECTURE.debian}.deb"
PLATFORM = f"linux-{ARCHITECTURE.platform}"
TARBALL = f"{NAME}-{VERSION}-{PLATFORM}.tar.gz"
RPM = f"{NAME}-{VERSION}-1.{ARCHITECTURE.rpm}.rpm"
DOCKER = f"{NAME}-{VERSION}-docker-{ARCHITECTURE.platform}.tar"
PRINTED = f"healthchecker, version {VERSION}\n"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def release_of(version: str) -> facts.Release:
    return facts.Release(version, dt.date(2026, 11, 25), "revision", SOURCE, MAINTAINER)


def nothing_built(machine: str) -> facts.Machine:
    """Return an empty build for a machine."""
    return facts.Machine(machine, b"", "", (), b"")


def test_tags_are_the_version_its_prefixes_and_latest() -> None:
    assert release_of("1.2.3").tags == ["1.2.3", "1.2", "1", "latest"]
    assert release_of("1.0.0rc1").tags == ["1.0.0rc1"]


def test_packages_sort_a_candidate_before_its_release() -> None:
    candidate, final = (release_of(one).package_version for one in ("1.0.0rc1", "1.0.0"))
    assert (candidate, final) == ("1.0.0~rc1", "1.0.0")
    compare = ["dpkg", "--compare-versions", candidate, "lt", final]
    assert subprocess.run(compare, check=False).returncode == 0


def test_each_file_is_there_with_its_sum(released: Path) -> None:
    files = contents(released)
    sums = files.pop("SHA256SUMS").decode()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    assert sums == "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    program = f"{NAME}-{VERSION}-{PLATFORM}"
    assert files.keys() >= {program, f"{program}.cdx.json", TARBALL, DEB, RPM, DOCKER}
    for name in (program, f"{NAME}-{PLATFORM}"):
        assert files[name] == Path(SAVED.argv[0]).read_bytes()
        assert os.access(released / name, os.X_OK)


def test_the_readme_calls_them_by_their_names(released: Path) -> None:
    _, _, section = (ROOT / "README.md").read_text().partition("\n## Install\n")
    endings = re.findall(r"`…([-.][^`]+)`", section.partition("\n## ")[0])
    assert len(endings) > 2
    files = contents(released)
    assert [end for end in endings if not any(name.endswith(end) for name in files)] == []


def test_the_same_inputs_give_the_same_files(released: Path, signed: Path) -> None:
    again = contents(signed)
    del again["SHA256SUMS.minisig"]
    assert again == contents(released)


# ---- what is refused


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """Clone the repository, with scripts/release as it is here; nothing is built there."""
    require((ROOT / ".git").exists(), "no Git repository")
    place = tmp_path / "clone"
    succeed(["git", "clone", "--quiet", str(ROOT), str(place)], timeout=60)
    shutil.copytree(ROOT / "scripts", place / "scripts", dirs_exist_ok=True)
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--allow-empty", "--message=now")
    yield place
    shutil.rmtree(place)


def git(place: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    succeed(["git", "-C", str(place), *who, *arguments], timeout=60)


def refused(place: Path, *options: str) -> str:
    done = release(*options, root=place)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.removeprefix("scripts/release: ")


def test_what_cannot_be_released_is_refused(clone: Path) -> None:
    assert refused(clone).startswith(f"this commit is not tagged v{VERSION}, ")
    git(clone, "tag", f"v{VERSION}")
    missing = "no dist/{}/healthchecker: run scripts/build-binary first\n"
    assert refused(clone) == missing.format(MACHINE)
    assert refused(clone, "--machine", "vax") == missing.format("vax")
    executable = clone / "dist" / MACHINE / "healthchecker"
    executable.parent.mkdir(parents=True)
    executable.touch(0o755)
    broken_off = f"no dist/{MACHINE}/components.json: run scripts/build-binary first\n"
    assert refused(clone) == broken_off
    for name in ("components.json", "LICENSES.txt"):
        (executable.parent / name).touch()
    (executable.parent / "source-key").write_text("0\n")
    assert refused(clone).startswith(
        f"dist/{MACHINE}/healthchecker was built from another source: "
    )
    (clone / "README.md").write_text("changed")
    assert refused(clone).startswith("the tree is not clean: ")
    git(clone, "commit", "--quiet", "--all", "--message=later")
    assert refused(clone).startswith(f"this commit is not tagged v{VERSION}, ")


@pytest.mark.parametrize("option", ["--nonsense", "--machine", "here"])
def test_a_mistyped_option_is_refused(option: str) -> None:
    done = release(option)
    assert done.returncode == 1
    problem, usage = done.stderr.splitlines()
    assert problem.startswith("scripts/release: ")
    assert option in problem
    assert usage.startswith("usage: scripts/release [--machine MACHINE]")


# ---- the bill of materials, and licenses in every form


@pytest.fixture
def bill(released: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((released / f"{TARBALL[:-7]}.cdx.json").read_text())
    return loaded


def test_the_bill_names_what_is_linked(bill: dict[str, Any]) -> None:
    program = bill["metadata"]["component"]
    content = Path(SAVED.argv[0]).read_bytes()
    assert program["version"] == VERSION
    assert program["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    linked = json.loads((DIST / "components.json").read_text())
    _, *parts = bill["components"]
    assert [(one["name"], one["version"], one["purl"]) for one in parts] == [
        (one["name"], one["version"], one["purl"]) for one in linked
    ]


def test_scanners_can_look_up_every_part(bill: dict[str, Any]) -> None:
    """As Trivy, Syft, Grype and OSV read it: by the distribution, source packages and hashes."""
    system, *parts = bill["components"]
    assert (system["type"], system["name"], system["version"]) == (
        "operating-system",
        "debian",
        "13",
    )
    assert bill["metadata"]["tools"]["components"]
    kinds = set()
    for part in parts:
        kind, _, rest = part["purl"].removeprefix("pkg:").partition("/")
        kinds.add(kind)
        if kind == "deb":
            assert part["supplier"] == {"name": "Debian"}
            assert re.fullmatch(r"debian/[a-z0-9.+-]+@\S+\?arch=source&distro=debian-\d+", rest)
        if kind in ("deb", "pypi") and part["name"] != "libgcc":
            (digest,) = part["hashes"]
            assert re.fullmatch("[0-9a-f]{64}", digest["content"])
    assert kinds == {"deb", "github", "pypi"}


def test_the_vex_names_only_what_is_not_compiled_in(released: Path) -> None:
    (document,) = released.glob("*.openvex.json")
    vex = json.loads(document.read_text())
    assert vex["@context"] == CONTEXT
    assert [one["vulnerability"]["name"] for one in vex["statements"]] == [
        one.identifier for one in NOT_AFFECTED
    ]
    options = set(re.findall(r"[\w-]+", (ROOT / "binary/sources/openssl/build.sh").read_text()))
    for one in NOT_AFFECTED:
        assert set(one.left_out) <= options
    with tarfile.open(released / TARBALL) as archive:
        file = archive.extractfile(f"{TARBALL[:-7]}/share/doc/{NAME}/{FILE}")
        assert file is not None
        reference = json.load(file)["metadata"]["component"]["purl"]
    assert {"@id": reference} in vex["statements"][0]["products"]


def test_a_bill_that_is_not_valid_is_found(bill: dict[str, Any]) -> None:
    assert problem(json.dumps(bill).encode()) == ""
    bill["components"][1]["licenses"] = "MIT"
    assert problem(json.dumps(bill).encode()) != ""


def test_licenses_are_in_every_form(released: Path, tmp_path: Path) -> None:
    expected = (DIST / "LICENSES.txt").read_bytes()
    with tarfile.open(released / TARBALL) as archive:
        file = archive.extractfile(f"{TARBALL[:-7]}/share/doc/{NAME}/LICENSES.txt")
        assert file is not None
        assert file.read() == expected
    succeed(["dpkg-deb", "--extract", str(released / DEB), str(tmp_path)], timeout=60)
    copyright_file = (tmp_path / f"usr/share/doc/{NAME}/copyright").read_text()
    for one in json.loads((DIST / "components.json").read_text()):
        assert one["license"].split(" ")[0] in copyright_file
    assert len(copyright_file) < len(expected)  # common licenses are referred to
    package = subprocess.run(
        ["rpm2cpio", str(released / RPM)], capture_output=True, check=True, timeout=60
    ).stdout
    assert expected in package
    with zipfile.ZipFile(machine_wheel(released)) as archive_of_wheel:
        (name,) = (one for one in archive_of_wheel.namelist() if one.endswith("/LICENSES.txt"))
        assert archive_of_wheel.read(name) == expected
    # In the image: test_docker_loads_it.


# ---- in a shell


def test_the_tarball_goes_into_a_prefix(released: Path, tmp_path: Path) -> None:
    command = ["tar", "-C", str(tmp_path), "--strip-components=1", "-xf", str(released / TARBALL)]
    succeed(command, timeout=60)
    assert succeed([str(tmp_path / "bin" / NAME), "--version"], timeout=20).startswith(PRINTED)
    for path in (
        f"man/man1/{NAME}.1",
        f"bash-completion/completions/{NAME}",
        f"fish/vendor_completions.d/{NAME}.fish",
        f"zsh/site-functions/_{NAME}",
    ):
        assert NAME in (tmp_path / "share" / path).read_text()


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_debian_installs_and_removes_it(released: Path, suite: str) -> None:
    require_engine()
    image = f"debian:{suite}-slim"
    script = f"""
        files() {{ find / -xdev -path /proc -prune -o ! -path '/seen*' -print | sort; }}
        mkdir /seen
        files >/seen/before
        dpkg -i /release/{DEB} >/dev/null
        dpkg --verify {NAME}
        {NAME} --version
        if {NAME} --quiet --port 1; then exit 9; fi
        gzip -t /usr/share/man/man1/{NAME}.1.gz
        bash -c 'source /usr/share/bash-completion/completions/{NAME} && complete -p {NAME}'
        dpkg --purge {NAME} >/dev/null
        [ ! -e /usr/bin/{NAME} ]
        files >/seen/after
        comm -13 /seen/before /seen/after | grep -v '^/var/lib/dpkg/\\|^/var/log/' || true
    """
    mount = ["--volume", f"{released}:/release:ro"]
    printed = docker("run", "--rm", *mount, image, "bash", "-euc", script, timeout=120)
    version, _, completion = printed.splitlines()
    assert f"{version}\n" == PRINTED
    assert completion == f"complete -F _{NAME} {NAME}"


def test_the_debian_packages_have_no_lintian_errors(released: Path) -> None:
    lintian = shutil.which("lintian")
    require(lintian, "needs lintian (Debian: apt-get install lintian)")
    packages = sorted(map(str, released.glob("*.deb")))
    command = [str(lintian), "--fail-on", "error,warning", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout


def test_rpm_describes_its_package(released: Path) -> None:
    query = ["rpm", "--query", "--package", str(released / RPM)]
    facts_of = r"%{NAME} %{VERSION} %{ARCH} %{BUILDHOST} %{URL}"
    shown = succeed([*query, "--queryformat", facts_of], timeout=60)
    assert shown == f"{NAME} {VERSION} {ARCHITECTURE.rpm} reproducible {SOURCE}"
    files = succeed([*query, "--list"], timeout=60).splitlines()
    assert {f"/usr/bin/{NAME}", f"/usr/share/man/man1/{NAME}.1"} < set(files)
    needed = succeed([*query, "--requires"], timeout=60).splitlines()
    assert all(one.startswith("rpmlib(") for one in needed)


def test_the_source_is_that_of_the_commit(released: Path) -> None:
    top = f"{NAME}-{VERSION}"
    with tarfile.open(released / f"{top}-source.tar.gz") as archive:
        names = {one.removeprefix(f"{top}/") for one in archive.getnames()}
    tracked = succeed(["git", "-C", str(ROOT), "ls-tree", "-r", "--name-only", "HEAD"], timeout=60)
    assert set(tracked.splitlines()) <= names


# ---- with pip


def machine_wheel(released: Path, machine: str = MACHINE) -> Path:
    (path,) = released.glob(f"*_{machine}.whl")
    return path


@pytest.fixture(scope="module")
def virtual_environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("venv")
    succeed([sys.executable, "-m", "venv", "--without-pip", str(place)], timeout=120)
    return place


def pip_install(place: Path, *arguments: str) -> None:
    """Install with the pip of the tests, as one of its own takes seconds to make."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    into = ["--python", str(place / "bin/python")]
    succeed([*pip, *into, "install", "-c", str(ROOT / "constraints.txt"), *arguments], timeout=300)


def test_the_command_of_a_wheel_is_the_executable(
    released: Path, virtual_environment: Path
) -> None:
    place = virtual_environment
    pip_install(place, str(machine_wheel(released)))
    assert (place / "bin" / NAME).read_bytes() == Path(SAVED.argv[0]).read_bytes()
    assert succeed([str(place / "bin" / NAME), "--version"], timeout=20).startswith(PRINTED)
    static = place / "bin" / f"{NAME}-static"
    assert static.read_bytes() == (place / "bin" / NAME).read_bytes()
    code = "import healthchecker; print(healthchecker.check('tcp://127.0.0.1:1').reason)"
    printed = succeed([str(place / "bin/python"), "-c", code], timeout=20, cwd=place)
    assert printed == "connection_refused"


def test_the_wheel_for_any_machine_has_a_script(released: Path, virtual_environment: Path) -> None:
    place = virtual_environment
    (wheel,) = released.glob("*-any.whl")
    pip_install(place, "--force-reinstall", "--no-deps", str(wheel))
    assert (place / "bin" / NAME).read_bytes().startswith(b"#!")
    assert succeed([str(place / "bin" / NAME), "--version"], timeout=20).startswith(PRINTED)


def test_a_wheel_has_absolute_links_and_urls(released: Path) -> None:
    for wheel in released.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
            metadata = archive.read(name).decode()
        assert f"Project-URL: Source, {SOURCE}\n" in metadata
        assert not re.findall(r"\]\((?!https?:|#)", metadata)
        assert "Provides-Extra: dev\n" not in metadata
        assert "Provides-Extra: release\n" not in metadata


def test_a_wheel_says_which_systems_it_runs_on(released: Path) -> None:
    usual, later = (
        ("manylinux_2_17", "manylinux2014", "musllinux_1_1"),
        ("manylinux_2_31", "musllinux_1_2"),
    )
    for machine in EXECUTABLES:
        wheel = machine_wheel(released, machine)
        libcs = later if machine in ("armv7l", "riscv64") else usual
        platforms = [f"{libc}_{machine}" for libc in libcs]
        assert wheel.name.endswith(f"-py3-none-{'.'.join(platforms)}.whl")
        with zipfile.ZipFile(wheel) as archive:
            assert archive.testzip() is None
            (name,) = (one for one in archive.namelist() if one.endswith("/WHEEL"))
            lines = archive.read(name).decode().splitlines()
        tags = [line for line in lines if line.startswith("Tag: ")]
        assert tags == [f"Tag: py3-none-{platform}" for platform in platforms]


def test_each_machine_has_each_form(released: Path) -> None:
    names = set(contents(released))
    for machine in EXECUTABLES:
        of = ARCHITECTURES[machine]
        platform = f"linux-{of.platform}"
        top = f"{NAME}-{VERSION}-{platform}"
        expected = {f"{NAME}-{platform}", top, f"{top}.cdx.json", f"{top}.tar.gz"}
        expected |= {f"{NAME}_{VERSION}-1_{of.debian}.deb", f"{NAME}-{VERSION}-1.{of.rpm}.rpm"}
        assert expected <= names
        shown = ["dpkg-deb", "--field", f"{released}/{NAME}_{VERSION}-1_{of.debian}.deb"]
        assert succeed([*shown, "Architecture"], timeout=60) == of.debian
        queried = ["rpm", "--query", "--queryformat", "%{ARCH}", "--package"]
        package = str(released / f"{NAME}-{VERSION}-1.{of.rpm}.rpm")
        assert succeed([*queried, package], timeout=60) == of.rpm


@pytest.mark.parametrize(
    ("machine", "names"),
    [
        ("x86_64", ("amd64", "amd64", "x86_64", "musllinux_1_1_x86_64")),
        ("aarch64", ("arm64", "arm64", "aarch64", "musllinux_1_1_aarch64")),
        ("armv7l", ("arm-v7", "armhf", "armv7hl", "musllinux_1_2_armv7l")),
        ("ppc64le", ("ppc64le", "ppc64el", "ppc64le", "musllinux_1_1_ppc64le")),
        ("riscv64", ("riscv64", "riscv64", "riscv64", "musllinux_1_2_riscv64")),
        ("s390x", ("s390x", "s390x", "s390x", "musllinux_1_1_s390x")),
    ],
)
def test_the_files_of_each_machine(released: Path, machine: str, names: tuple[str, ...]) -> None:
    """Also of a machine that is not built here."""
    release, made, top = release_of(VERSION), nothing_built(machine), f"{NAME}-{VERSION}"
    (for_any,) = released.glob("*-any.whl")
    platform, debian, redhat, last_tag = names
    assert [*tarball(release, made)] == [f"{top}-linux-{platform}.tar.gz"]
    assert [*docker_image(release, made)] == [f"{top}-docker-{platform}.tar"]
    assert [*deb(release, made)] == [f"{NAME}_{VERSION}-1_{debian}.deb"]
    assert [*rpm(release, made)] == [f"{top}-1.{redhat}.rpm"]
    (wheel,) = wheel_of(release, made, {for_any.name: for_any.read_bytes()})
    assert wheel.endswith(f".{last_tag}.whl")


# ---- as an image


def test_the_index_has_each_platform_once(tmp_path: Path) -> None:
    """Also those that are not built here."""
    require(shutil.which("skopeo"), "no skopeo")
    ((name, content),) = oci_image(
        release_of(VERSION), [*map(nothing_built, ARCHITECTURES)]
    ).items()
    (tmp_path / name).write_bytes(content)
    shown = succeed(["skopeo", "inspect", "--raw", f"oci-archive:{tmp_path / name}"], timeout=60)
    assert [one["platform"] for one in json.loads(shown)["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
        {"os": "linux", "architecture": "ppc64le"},
        {"os": "linux", "architecture": "riscv64"},
        {"os": "linux", "architecture": "s390x"},
    ]


def labels_hold(labels: dict[str, str]) -> bool:
    labels = {name.removeprefix("org.opencontainers.image."): of for name, of in labels.items()}
    revision = succeed(["git", "-C", str(ROOT), "rev-parse", "HEAD"], timeout=20)
    licenses = labels["licenses"].split(" AND ")
    return (
        (labels["version"], labels["source"], labels["revision"]) == (VERSION, SOURCE, revision)
        and len(licenses) > 5
        and {"MIT", "PSF-2.0", "Apache-2.0"} < set(licenses)
    )


def test_docker_loads_it(released: Path) -> None:
    require_engine()
    docker("load", "--quiet", "--input", str(released / DOCKER))
    image = f"{NAME}:{VERSION}"
    try:
        assert docker("run", "--rm", image, "--version").startswith(PRINTED)
        licenses = docker("run", "--rm", image, "licenses")
        assert licenses == (DIST / "LICENSES.txt").read_text().strip()
        (described,) = json.loads(docker("image", "inspect", image))
        assert labels_hold(described["Config"]["Labels"])
        assert set(described["RepoTags"]) >= {f"{NAME}:{tag}" for tag in release_of(VERSION).tags}
        created = docker("create", image)
        copied = subprocess.run(
            ["docker", "cp", f"{created}:/licenses/{NAME}.txt", "-"],
            capture_output=True,
            check=True,
        )
        docker("rm", created)
        assert (DIST / "LICENSES.txt").read_bytes() in copied.stdout
    finally:
        docker("rmi", *(f"{NAME}:{tag}" for tag in release_of(VERSION).tags))


def test_podman_loads_it(released: Path) -> None:
    require(shutil.which("podman"), "no podman: run scripts/engine start")
    succeed(["podman", "load", "--quiet", "--input", str(released / DOCKER)], timeout=120)
    image = f"localhost/{NAME}:latest"
    try:
        (described,) = json.loads(succeed(["podman", "image", "inspect", image], timeout=60))
        assert described["Architecture"] == ARCHITECTURE.oci
        assert labels_hold(described["Labels"])
        # Podman raises these two otherwise, a privilege that the machine may not grant.
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        command = ["podman", "run", "--rm", "--network=none", *limits, image, "--version"]
        assert succeed(command, timeout=60).startswith(PRINTED)
    finally:
        succeed(["podman", "rmi", "--force", image], timeout=60)


def test_skopeo_copies_all_machines(released: Path, tmp_path: Path) -> None:
    require(shutil.which("skopeo"), "no skopeo")
    archive = f"oci-archive:{released / f'{NAME}-{VERSION}-oci.tar'}"
    succeed(["skopeo", "copy", "--quiet", "--all", archive, f"dir:{tmp_path}"], timeout=120)
    index = json.loads((tmp_path / "manifest.json").read_text())
    platforms = [one["platform"] for one in index["manifests"]]
    found = {(one["architecture"], one.get("variant", "")) for one in platforms}
    of_machines = [ARCHITECTURES[machine] for machine in EXECUTABLES]
    assert found == {(of.oci, of.oci_variant) for of in of_machines}
    # As Docker names them.
    assert {f"{arch}-{variant}" if arch == "arm" else arch for arch, variant in found} == {
        of.platform for of in of_machines
    }


def test_podman_takes_each_platform_from_the_index(released: Path, tmp_path: Path) -> None:
    require(shutil.which("podman"), "no podman: run scripts/engine start")
    archive = f"oci-archive:{released / f'{NAME}-{VERSION}-oci.tar'}"
    for machine in EXECUTABLES:
        of = ARCHITECTURES[machine]
        platform = f"linux/{of.platform.replace('-', '/')}"
        image = succeed(["podman", "pull", "--quiet", "--platform", platform, archive], timeout=120)
        try:
            (described,) = json.loads(succeed(["podman", "image", "inspect", image], timeout=60))
            assert described["Architecture"] == of.oci
        finally:
            succeed(["podman", "rmi", "--force", image], timeout=60)

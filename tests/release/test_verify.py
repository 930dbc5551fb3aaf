"""docs/verify.md, scripts/verify-release and scripts/push-images, with a signed release."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthchecker._version import VERSION
from release.facts import ARCHITECTURES, NAME
from tests.release.test_release import ARCHITECTURE, DOCKER, PRINTED, release_of
from tests.servers.daemons import free_port
from tests.support import ROOT, poll, require
from tests.support.engine import docker, require_engine, succeed
from tests.support.pages import Page

pytestmark = pytest.mark.alone

PAGE = Page(ROOT / "docs/verify.md")


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copy"))


def verify(
    folder: Path, *options: str, path: str = os.environ["PATH"]
) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts/verify-release"), *options, str(folder)]
    return subprocess.run(
        command,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_release_verifies(signed: Path, key: Path) -> None:
    done = verify(signed, "--key", str(key.with_suffix(".pub")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("signature: ")
    assert "\nchecksums: " in done.stdout


def test_the_commands_of_the_page(signed: Path, key: Path) -> None:
    public = str(key.with_suffix(".pub"))
    for title in ("Are these the files of the release?", "Are they ours?"):
        command = PAGE.block(title, "sh").replace("minisign.pub", public)
        done = subprocess.run(["bash", "-euc", command], cwd=signed, check=False, timeout=60)
        assert done.returncode == 0, title
    command = PAGE.block("All of it", "sh").replace("FOLDER/minisign.pub", public)
    command = command.replace("FOLDER", str(signed))
    done = subprocess.run(["bash", "-euc", command], cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0


def test_some_of_the_files_are_enough(copy: Path) -> None:
    for file in copy.iterdir():
        if file.name not in ("SHA256SUMS", f"{NAME}-linux-{ARCHITECTURE.platform}"):
            file.unlink()
    done = verify(copy)
    assert done.returncode == 0
    assert "1 files are as listed" in done.stdout


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = verify(tmp_path / "nothing")
    assert done.returncode == 1
    assert done.stderr == f"scripts/verify-release: there is no folder {tmp_path}/nothing\n"


def test_a_changed_file_is_found(copy: Path) -> None:
    with (copy / f"{NAME}-linux-{ARCHITECTURE.platform}").open("ab") as file:
        file.write(b"x")
    done = verify(copy)
    assert done.returncode == 1
    assert "a file differs from its checksum" in done.stderr


def test_a_foreign_file_is_found(copy: Path) -> None:
    (copy / "healthchecker-extra").touch()
    done = verify(copy)
    assert done.returncode == 1
    assert "healthchecker-extra is not listed in SHA256SUMS" in done.stderr


def test_a_changed_list_is_found(copy: Path, key: Path) -> None:
    name = f"{NAME}-linux-{ARCHITECTURE.platform}"
    (copy / name).write_bytes(b"x")
    lines = (copy / "SHA256SUMS").read_text().splitlines()
    digest = succeed(["sha256sum", str(copy / name)], timeout=60).split()[0]
    changed = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    (copy / "SHA256SUMS").write_text("\n".join(changed) + "\n")
    assert verify(copy).returncode == 0  # by itself, the list proves little
    done = verify(copy, "--key", str(key.with_suffix(".pub")))
    assert done.returncode == 1
    assert "the signature of SHA256SUMS is not by this key" in done.stderr


def test_a_release_without_a_signature_is_refused(copy: Path, key: Path) -> None:
    (copy / "SHA256SUMS.minisig").unlink()
    done = verify(copy, "--key", str(key.with_suffix(".pub")))
    assert done.returncode == 1
    assert "the release is not signed" in done.stderr


def test_a_key_in_the_environment_signs(copy: Path, key: Path) -> None:
    (copy / "SHA256SUMS.minisig").unlink()
    command = [str(ROOT / "scripts/sign-release"), str(copy)]
    succeed(command, timeout=60, env={**os.environ, "MINISIGN_KEY": key.read_text()})
    assert verify(copy, "--key", str(key.with_suffix(".pub"))).returncode == 0


def test_the_key_and_folders_may_be_beside_the_files(copy: Path, key: Path) -> None:
    shutil.copy(key.with_suffix(".pub"), copy)
    (copy / "source").mkdir()
    for options in ([], ["--key", str(copy / "minisign.pub")]):
        assert verify(copy, *options).returncode == 0


def test_a_key_that_is_not_there(copy: Path) -> None:
    done = verify(copy, "--key", "nothing.pub")
    assert done.returncode == 1
    assert done.stderr == "scripts/verify-release: cannot read the key nothing.pub\n"


def test_the_provenance_is_of_the_release_workflow(copy: Path, tmp_path: Path) -> None:
    """The same command as on the page, for each executable."""
    program = tmp_path / "bin/gh"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "gh $*" >>{tmp_path}/calls\n')
    program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    done = verify(copy, "--attestation", "OWNER/REPOSITORY", path=path)
    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    executables = [file for file in copy.iterdir() if os.access(file, os.X_OK)]
    assert len(calls) == done.stdout.count("\nprovenance: ") == len(executables)
    shown, *_ = PAGE.block("Which workflow built them?", "sh").replace("\\\n", "").splitlines()
    assert any(call.split() == shown.split() for call in calls)


# ---- a rebuild


@pytest.fixture
def rebuildable(tmp_path: Path) -> Path:
    """Make a release for all machines, whose source builds files with the names of the machines."""
    require_engine()
    build = tmp_path / f"{NAME}-1/scripts/build-binary"
    build.parent.mkdir(parents=True)
    build.write_text(
        "#!/bin/sh\n"
        '[ "$1 $3 $(cat "$4") $5" = "--machine --revisions zlib 1 --allow-older" ] || exit 1\n'
        f'mkdir -p "dist/$2" && printf "$2" >"dist/$2/{NAME}"\n'
    )
    build.chmod(0o755)
    folder = tmp_path / "release"
    folder.mkdir()
    source = str(folder / f"{NAME}-1-source.tar.gz")
    succeed(["tar", "-C", str(tmp_path), "-czf", source, f"{NAME}-1"], timeout=60)
    (folder / f"{NAME}-1-revisions.txt").write_text("zlib 1")
    for machine, architecture in ARCHITECTURES.items():
        for name in (f"{NAME}-linux", f"{NAME}-1-linux"):
            (folder / f"{name}-{architecture.platform}").write_text(machine)
    list_sums(folder)
    return folder


def list_sums(folder: Path) -> None:
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.iterdir())
        if file.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


def test_a_rebuild_compares_all_machines(rebuildable: Path) -> None:
    done = verify(rebuildable, "--rebuild")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("rebuild: ")]
    assert len(lines) == 2 * len(ARCHITECTURES)


def test_an_executable_of_another_source_is_found(rebuildable: Path) -> None:
    name = f"{NAME}-linux-{ARCHITECTURE.platform}"
    (rebuildable / name).write_text("another")
    list_sums(rebuildable)
    done = verify(rebuildable, "--rebuild")
    assert done.returncode == 1
    assert f"{name} differs from what its source builds" in done.stderr


def test_a_rebuild_needs_an_executable(rebuildable: Path) -> None:
    for file in rebuildable.glob("*-linux-*"):
        file.unlink()
    list_sums(rebuildable)
    done = verify(rebuildable, "--rebuild")
    assert done.returncode == 1
    assert "no executable in " in done.stderr


def test_a_rebuild_needs_the_source(copy: Path) -> None:
    require_engine()
    for file in copy.glob("*-source.tar.gz"):
        file.unlink()
    done = verify(copy, "--rebuild")
    assert done.returncode == 1
    assert "--rebuild needs the source archive and revisions.txt of the release" in done.stderr


def test_a_command_runs_on_the_debian_of_releases() -> None:
    require_engine()
    command = [str(ROOT / "scripts/in-debian"), "cat", "/etc/debian_version"]
    assert succeed(command, timeout=300).splitlines()[-1].startswith("13.")


# ---- the lines of the README, for what was released


@pytest.fixture
def loaded(signed: Path) -> Iterator[None]:
    require_engine()
    docker("load", "--quiet", "--input", str(signed / DOCKER))
    yield
    docker("rmi", "--force", *docker("images", "--quiet", NAME).split()[:1])


def dockerfile() -> str:
    text = Page(ROOT / "README.md").block("Docker", "dockerfile")
    return f"FROM busybox\n{text}"


def test_docker_builds_the_dockerfile_of_the_readme(loaded: None, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(dockerfile())
    image = docker("build", "--quiet", str(tmp_path), timeout=300)
    try:
        assert docker("run", "--rm", image, "/healthchecker", "--version").startswith(PRINTED)
    finally:
        docker("rmi", "--force", image)


def test_podman_builds_the_dockerfile_of_the_readme(signed: Path, tmp_path: Path) -> None:
    require_engine()
    require(shutil.which("podman"), "no podman: run scripts/engine start")
    succeed(["podman", "load", "--quiet", "--input", str(signed / DOCKER)], timeout=120)
    with subprocess.Popen(["docker", "save", "busybox:latest"], stdout=subprocess.PIPE) as save:
        succeed(["podman", "load", "--quiet"], timeout=120, stdin=save.stdout)
    (tmp_path / "Dockerfile").write_text(dockerfile())
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    build = ["podman", "build", "--quiet", *limits, "--network=none", str(tmp_path)]
    image = succeed(build, timeout=300)
    try:
        run = ["podman", "run", "--rm", "--network=none", *limits, image]
        assert succeed([*run, "/healthchecker", "--version"], timeout=60).startswith(PRINTED)
    finally:
        succeed(["podman", "rmi", "--force", image, f"localhost/{NAME}:latest"], timeout=60)


# ---- a registry


def succeeds(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    program = shutil.which("docker-registry")
    require(program, "needs a registry (Debian: apt-get install docker-registry)")
    assert program
    port = free_port()
    config = tmp_path / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path / 'blobs'}\n"
        f"http:\n  addr: 127.0.0.1:{port}\n"
    )
    with subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            probe = ["curl", "--silent", "--fail", f"http://127.0.0.1:{port}/v2/"]
            poll(lambda: succeeds(probe), timeout=60, what="the registry responds")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def test_a_registry_gets_all_tags_and_machines(signed: Path, registry: str) -> None:
    require(shutil.which("skopeo"), "no skopeo")
    image = f"{registry}/{NAME}"
    command = [str(ROOT / "scripts/push-images"), "--insecure", str(signed), image]
    digest = succeed(command, timeout=300)
    assert digest.startswith("sha256:")
    for tag in release_of(VERSION).tags:
        raw = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{image}:{tag}"]
        index = succeed(raw, timeout=60)
        assert digest == f"sha256:{hashlib.sha256(index.encode()).hexdigest()}"
        assert ARCHITECTURE.oci in index

"""docs/verify.md, scripts/verify-release and scripts/push-images, with a signed release."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthchecker._version import VERSION
from release.facts import NAME
from tests.release.test_release import ARCHITECTURE, DOCKER, PRINTED, make_release
from tests.servers.daemons import free_port
from tests.support import ROOT, poll, require
from tests.support.engine import docker, require_engine, succeed
from tests.support.pages import Page

pytestmark = pytest.mark.alone

PAGE = Page(ROOT / "docs/verify.md")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a pair of keys without a password; return the secret one."""
    require(shutil.which("minisign"), "needs minisign (Debian: apt-get install minisign)")
    folder = tmp_path_factory.mktemp("keys")
    secret = folder / "minisign.key"
    succeed(
        ["minisign", "-G", "-W", "-s", str(secret), "-p", str(folder / "minisign.pub")], timeout=60
    )
    return secret


@pytest.fixture(scope="module")
def signed(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"), "--sign", str(key))


@pytest.fixture
def copy(signed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed, tmp_path / "copy"))


def verify(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts/verify-release"), *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


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
    command = PAGE.block("All of it", "sh").replace("minisign.pub", public)
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
    for tag in (VERSION, *VERSION.split(".")[:1], "latest"):
        inspect = ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}"]
        assert succeed([*inspect, f"docker://{image}:{tag}"], timeout=60)
        raw = ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{image}:{tag}"]
        assert ARCHITECTURE.oci in succeed(raw, timeout=60)

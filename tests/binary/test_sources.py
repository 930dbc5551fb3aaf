"""The sources of the executables: pinned, compared by hash, and not outdated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, require
from tests.support.forms import BUILD

_SOURCES = ROOT / "build/sources"
_FETCH = ROOT / "binary/sources/fetch.sh"
_FAKE_INDEX = """#!/bin/sh
case "$*" in
*indextargets*) echo "$(. /etc/os-release && echo "$VERSION_CODENAME") mirror" ;;
*"showsrc zlib") printf 'Version: %s\\n' 1:1.3.1-1 1:1.3.1-1+deb13u1 ;;
*"showsrc openssl") printf 'Version: %s\\n' 3.5.10-1~deb13u1 3.5.9-1~deb13u1 3.5.9-1 ;;
*"showsrc musl") printf 'Version: %s\\n' 1.2.5-3.1~deb13u1 1.2.5-3 ;;
esac
"""


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "binary/program" / name).read_text().splitlines()[1:]
    rows = [re.fullmatch(r"(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}", line) for line in lines]
    return {row[1]: row[2] for row in rows if row is not None}


def test_every_package_has_a_hash_and_the_version_of_the_tests() -> None:
    constraints = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]
    )
    for name in ("packages.txt", "tools.txt"):
        found = pins(name)
        assert len(found) == len((ROOT / "binary/program" / name).read_text().splitlines()) - 1
        assert not {
            package: version
            for package, version in found.items()
            if constraints.get(package, version) != version
        }


def compare(tmp_path: Path, versions: str) -> list[str]:
    """Compare sources of these versions with a fake index; return the lines about old ones."""
    for name in ("apt-get", "apt-cache"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(_FAKE_INDEX)
        program.chmod(0o755)
    require(shutil.which("dpkg"), "no dpkg")
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources/versions").write_text(versions)
    subprocess.run(
        [_FETCH, "--compare", tmp_path / "sources"],
        check=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    return (tmp_path / "sources/older").read_text().splitlines()


def test_sources_older_than_the_index_are_reported(tmp_path: Path) -> None:
    """The revision may be older, or the upstream version."""
    taken = "musl 1.2.5-3.1~deb13u1\nopenssl 3.5.9-1\nzlib 1:1.3.1-1\npyinstaller 6.22.3\n"
    assert compare(tmp_path, taken) == [
        "openssl 3.5.9-1 is older than 3.5.10-1~deb13u1",
        "zlib 1:1.3.1-1 is older than 1:1.3.1-1+deb13u1",
    ]


def test_the_newest_sources_are_not_old(tmp_path: Path) -> None:
    assert compare(tmp_path, "musl 1.2.5-3.1~deb13u1\nopenssl 3.5.10-1~deb13u1\n") == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree with a fake fetch.sh that reports an old source."""
    require((BUILD / "python.key").exists(), "no build/: run scripts/build-binary")
    for name in ("scripts/build-binary", "scripts/common.sh", "binary/machine.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "binary/sources", tmp_path / "binary/sources")
    (tmp_path / "binary/sources/fetch.sh").write_text(
        "#!/bin/sh\n"
        f'mkdir -p "$1" && cp {_SOURCES}/versions "$1" && echo "${{2:-newest}}" >>fetched\n'
        'echo "zlib 1 is older than 2" >"$1/older"\n'
    )
    for key in BUILD.glob("*.key"):
        place = tmp_path / key.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(key, place)
    (tmp_path / "build/venv").symlink_to(ROOT / "build/venv")
    return tmp_path


def build(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tree / "scripts/build-binary", "--sources", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_old_sources_are_refused_and_fetched_again(tree: Path) -> None:
    for _ in range(2):
        done = build(tree)
        assert (done.returncode, done.stdout) == (1, "")
        assert "scripts/build-binary: zlib 1 is older than 2\n" in done.stderr
        assert done.stderr.splitlines()[-1].endswith("or build with --allow-older")
    assert (tree / "fetched").read_text() == "newest\n" * 2


def test_the_last_line_names_old_sources_that_are_allowed(tree: Path) -> None:
    done = build(tree, "--allow-older")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "build-binary: old sources: zlib 1 is older than 2"


def test_the_sources_of_a_release_are_fetched_again(tree: Path) -> None:
    (tree / "revisions.txt").write_text("zlib 1\n")
    done = build(tree, "--revisions", "revisions.txt")
    assert done.returncode == 0
    assert (tree / "fetched").read_text() == "revisions.txt\n"


def test_an_archive_with_another_hash_is_not_kept(tmp_path: Path) -> None:
    """The comparison is before any of its code runs."""
    archive = tmp_path / "index/package-1.0.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(b"spoiled")
    script = ROOT / "binary/sources/sdist.py"
    done = subprocess.run(
        [sys.executable, "-B", script, "package", "1.0", "0" * 64],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(archive.parent)},
    )
    assert done.returncode == 1
    assert "package-1.0.tar.gz: expected SHA-256 0000" in done.stderr
    assert not (tmp_path / "package-1.0.tar.gz").exists()

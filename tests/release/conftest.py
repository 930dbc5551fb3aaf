"""Two releases of the same tree, made once for all tests: one without and one with a signature."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, require
from tests.support.engine import succeed
from tests.support.forms import SAVED, require_form

SOURCE = "https://example.org/healthchecker"
MAINTAINER = "healthchecker maintainers <maintainers@packages.debian.net>"


def release(*options: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run scripts/release with the environment that the tests run in."""
    return subprocess.run(
        [str(root / "scripts/release"), *options],
        env={**os.environ, "VENV": sys.prefix, "SETUP": "skip"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def make_release(output: Path, *options: str) -> Path:
    """Make a release of all machines whose executable is there."""
    require_form(SAVED)
    require((ROOT / ".git").exists(), "no Git repository")
    require(shutil.which("rpmbuild"), "needs rpmbuild (Debian: apt-get install rpm)")
    given = ["--source", SOURCE, "--maintainer", MAINTAINER]
    done = release("--trial", *given, *options, "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a pair of keys without a password; return the secret one."""
    require(shutil.which("minisign"), "needs minisign (Debian: apt-get install minisign)")
    folder = tmp_path_factory.mktemp("keys")
    secret = folder / "minisign.key"
    succeed(
        ["minisign", "-G", "-W", "-s", str(secret), "-p", str(folder / "minisign.pub")], timeout=60
    )
    return secret


@pytest.fixture(scope="session")
def signed(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_release(tmp_path_factory.mktemp("release"), "--sign", str(key))

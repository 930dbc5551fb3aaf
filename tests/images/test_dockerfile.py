"""The Dockerfile: what its layers hold, so that they are kept when something else changes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.engine import require_engine, succeed
from tests.support.forms import BUILD, SAVED, require_form
from tests.support.pod import load_image, require_podman

VERSIONS = BUILD.parent / "sources/versions"


def copied_before_the_first_command() -> list[str]:
    """Return what the Dockerfile copies before anything is compiled."""
    first, _, _ = (ROOT / "Dockerfile").read_text().partition("\nRUN ")
    return [
        source
        for line in re.findall(r"^COPY (.*) \S+$", first, re.MULTILINE)
        for source in line.split()
    ]


@pytest.fixture
def first_layer(tmp_path: Path) -> Path:
    """Return a folder with what is copied before, where a build has finished, and nothing else."""
    require_form(SAVED)
    for source in copied_before_the_first_command():
        place = tmp_path / source
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    for file in (*BUILD.parent.glob("*.key"), *BUILD.glob("*.key"), VERSIONS):
        place = tmp_path / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    (tmp_path / "build/venv").symlink_to(ROOT / "build/venv")
    return tmp_path


def compile_in(place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [place / "scripts/build-binary", "--sources"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_is_compiled_first_needs_nothing_else(first_layer: Path) -> None:
    done = compile_in(first_layer)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_newer_revision_of_a_source_is_compiled(first_layer: Path) -> None:
    """The sources are not there, so that it ends immediately."""
    versions = first_layer / VERSIONS.relative_to(ROOT)
    versions.write_text(versions.read_text().replace("musl 1.2.5-3", "musl 1.2.5-4"))
    done = compile_in(first_layer)
    assert done.returncode == 1
    assert done.stderr.startswith(f"build-binary: {BUILD.name}/musl (")


def test_python_code_is_copied_after_what_is_compiled() -> None:
    assert not [
        source
        for source in copied_before_the_first_command()
        if source in (".", "binary") or source.startswith("healthchecker")
    ]


@pytest.mark.alone
@pytest.mark.parametrize("builder", ["docker", "podman"])
def test_builders_take_the_executable_that_is_there(builder: str, tmp_path: Path) -> None:
    """Docker's, of whichever kind it is, and the one that stands in for BuildKit."""
    require_engine()
    require_form(SAVED)
    image, base = f"healthchecker-test-{os.getpid()}", "debian:trixie-slim"
    options = ["--build-arg", "EXECUTABLE=dist", "--target", "healthchecker", "--tag", image]
    if builder == "podman":
        require_podman()
        load_image(base)
        options += ["--pull=never"]
    archive = tmp_path / "image.tar"
    try:
        succeed([builder, "build", *options, str(ROOT)], timeout=300)
        succeed([builder, "save", "--output", str(archive), image], timeout=60)
    finally:
        succeed([builder, "rmi", "--force", image], timeout=60)
    assert files_in(archive) == {"healthchecker": Path(SAVED.argv[0]).read_bytes()}


def files_in(archive: Path) -> dict[str, bytes]:
    """Return the files of an image with one layer, as `docker save` writes it."""
    with tarfile.open(archive) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        ((name,),) = (one["Layers"] for one in json.load(manifest))
        layer = outer.extractfile(name)
        assert layer is not None
        with tarfile.open(fileobj=layer) as inner:
            return {
                entry.name: file.read()
                for entry in inner.getmembers()
                if (file := inner.extractfile(entry))
            }

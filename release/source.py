"""The source as an archive: the files of the released commit."""

from __future__ import annotations

import subprocess

from release.archive import compressed
from release.facts import NAME, ROOT, Release


def source_archive(release: Release) -> dict[str, bytes]:
    """Return the archive under its name. `git archive` gives equal bytes for equal commits."""
    top = f"{NAME}-{release.version}"
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", f"--prefix={top}/"]
    archive = subprocess.run([*command, release.revision], check=True, capture_output=True).stdout
    return {f"{top}-source.tar.gz": compressed(archive)}

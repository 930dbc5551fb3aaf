"""Reproducible archives: the same order, owner and time for all files."""

from __future__ import annotations

import functools
import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath

from release.facts import File


def tar(files: Mapping[str, File], timestamp: int) -> bytes:
    """Return a tar archive of the files, by path, and of their folders."""
    folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted((folders - {"."}) | files.keys()):
            entry = tarfile.TarInfo(path)
            entry.mtime = timestamp
            if path in files:
                file = files[path]
                entry.size, entry.mode = len(file.content), file.mode
                archive.addfile(entry, io.BytesIO(file.content))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
    return out.getvalue()


@functools.cache  # several forms have the same layer
def compressed(content: bytes) -> bytes:
    """Return the content compressed by gzip, without name and time."""
    return gzip.compress(content, mtime=0)

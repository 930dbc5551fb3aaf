"""The sign of life of a worker that has no port."""

from __future__ import annotations

import os
from pathlib import Path

from healthchecker._values.result import BadArgumentError
from healthchecker._values.text import FilePath


class Heartbeat:
    """A file whose age shows that a worker is still working.

    The worker calls `beat()` in its loop; for `healthchecker file:///PATH --max-age 30s` it is
    healthy as long as the last beat is no older than that. Best kept off the disk, in /dev/shm or
    on a tmpfs.
    """

    def __init__(self, path: FilePath) -> None:
        """Take the file's path; `BadArgumentError` when it is none. Nothing is written yet."""
        name = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(name, str) or not name or "\0" in name:
            raise BadArgumentError("path", path, "must be a path: a string or an os.PathLike")
        self.path = Path(name).absolute()
        """A worker that changes its working directory goes on with the same file."""

    def beat(self) -> None:
        """Create the file if necessary, and set its modification time to now.

        Takes a few microseconds, holds nothing open, and may be called from several threads and
        processes at the same time. Raises OSError if the file cannot be written.
        """
        # Not os.utime(path): of a directory it would succeed, and a FIFO would never be read.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)

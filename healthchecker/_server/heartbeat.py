"""Reports that a worker without a port is alive."""

from __future__ import annotations

import os
from pathlib import Path

from healthchecker._values.result import BadArgumentError
from healthchecker._values.text import FilePath


class Heartbeat:
    """A file whose age shows that a worker is still working.

    The worker calls `beat()` in its loop; `healthchecker file:///PATH --max-age 30s` is healthy as
    long as the last beat is at most 30 s old. Keep the file off the disk, in /dev/shm or on a
    tmpfs.
    """

    def __init__(self, path: FilePath) -> None:
        """Take the path of the file, without writing it; raise `BadArgumentError` if unusable."""
        name = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(name, str) or not name or "\0" in name:
            raise BadArgumentError("path", path, "must be a path: a string or an os.PathLike")
        self.path = Path(name).absolute()
        """The absolute path of the file; a later change of directory does not affect it."""

    def beat(self) -> None:
        """Create the file if necessary, and set its modification time to now.

        Takes a few microseconds, holds nothing open, and may be called concurrently from several
        threads and processes. Raises OSError if the file cannot be written.
        """
        # Not os.utime(path): it would also succeed for a directory or a FIFO.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o644)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)

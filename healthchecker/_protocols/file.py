"""file://: healthy if the file exists, is recent enough and contains the expected text.

A worker without a port can report in this way that it is alive: the file is its heartbeat.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import ClassVar

from healthchecker._protocols.base import Healthy, LocalProber
from healthchecker._values.expect.body import MAX_BODY_BYTES
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme
from healthchecker._values.text import encode

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileProber(LocalProber):
    """Looks at a file; links are followed. Its content is read only if a text is expected."""

    SCHEMES: ClassVar = {
        "file": Scheme(
            "file:///PATH",
            place=Place.FILE,
            has_query=False,
            over_unix_socket=False,
            options=frozenset({"max_age", "expect_body"}),
        )
    }

    def _examine(self) -> Healthy:
        options = self._options
        modified = regular_file(self._target.path).st_mtime
        age = time.time() - modified
        if options.max_age is not None:
            _require_recent(modified, age, options.max_age)
        if options.expect_body:
            content = read_start(self._target.path, MAX_BODY_BYTES)
            for expected in options.expect_body:
                if encode(expected) not in content:
                    place = "file"
                    if len(content) == MAX_BODY_BYTES:
                        place = f"first {MAX_BODY_BYTES} bytes of the file"
                    raise UnexpectedResponse(
                        Reason.UNEXPECTED_BODY, f"no {expected!r} in the {place}"
                    )
        return Healthy(None, f"last modified {max(age, 0.0):.1f} s ago")


def _require_recent(modified: float, age: float, max_age: float) -> None:
    """Fail if the file is too old, or if its time is as far in the future.

    The clock was set back since, so that a time in the future proves as little as an old one. The
    message has no age in it, to be the same for each check.
    """
    if abs(age) <= max_age:
        return
    limit = f"more than {max_age:g} s {'ago' if age > 0 else 'in the future'}"
    try:
        when = time.strftime(" %Y-%m-%dT%H:%M:%SZ", time.gmtime(modified))
    except (OverflowError, ValueError, OSError):  # some file systems have times beyond any calendar
        when = ""
    raise UnexpectedResponse(Reason.STALE, f"last modified{when}, {limit}")


def regular_file(path: str) -> os.stat_result:
    """Return the status of a regular file; anything else is a `ProbeFailure`."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _missing(error) from error
    _require_regular(status)
    return status


def read_start(path: str, size: int) -> bytes:
    """Return the first bytes of a regular file."""
    content = b""
    try:
        # Non-blocking: a FIFO may have replaced it in the meantime, and has no writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _require_regular(os.fstat(fd))
            # Files in /proc arrive in parts.
            while more := os.read(fd, size - len(content)):
                content += more
        finally:
            os.close(fd)
    except OSError as error:
        raise _missing(error) from error
    return content


def _require_regular(status: os.stat_result) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise ProbeFailure(Reason.MISSING, f"is {kind}, not a regular file")


def _missing(error: OSError) -> ProbeFailure:
    return ProbeFailure(Reason.MISSING, os.strerror(error.errno or 0))

"""The probe for file:// targets: healthy when the file is there, new enough, and as expected.

A worker without a port tells by such a file that it is alive: its heartbeat.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import Healthy, Prober, Progress
from healthchecker._protocols.unbounded import UnboundedCall
from healthchecker._values.expect.body import MAX_BODY_BYTES
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme, Target
from healthchecker._values.text import encode

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class FileProber(Prober):
    """Looks at a file; links are followed. Only with a text to expect is it opened and read."""

    SCHEMES: ClassVar = {
        "file": Scheme(
            "file:///PATH",
            place=Place.FILE,
            has_query=False,
            over_unix_socket=False,
            options=frozenset({"max_age", "expect_body"}),
        )
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._look = UnboundedCall(self._judge)

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        return self._look.result(deadline)

    def _judge(self) -> Healthy:
        options = self._options
        status = regular_file(self._target.path)
        age = time.time() - status.st_mtime
        # The clock has been set back since a time to come, which says as little as an old one.
        if options.max_age is not None and abs(age) > options.max_age:
            when = f"{age:.1f} s ago" if age > 0 else f"{-age:.1f} s in the future"
            raise UnexpectedResponse(
                Reason.STALE, f"changed {when}, not within {options.max_age:g} s"
            )
        if options.expect_body:
            content = read_start(self._target.path, MAX_BODY_BYTES)
            for expected in options.expect_body:
                if encode(expected) not in content:
                    where = "file"
                    if len(content) == MAX_BODY_BYTES:
                        where = f"first {MAX_BODY_BYTES} bytes of the file"
                    raise UnexpectedResponse(
                        Reason.UNEXPECTED_BODY, f"no {expected!r} in the {where}"
                    )
        return Healthy(None, f"changed {max(age, 0.0):.1f} s ago")


def regular_file(path: str) -> os.stat_result:
    """Return what is known of a file, or raise the `ProbeFailure` that says why it is none."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise _missing(error) from error
    _refuse_others_than_files(status)
    return status


def read_start(path: str, size: int) -> bytes:
    """Return the first bytes of a regular file."""
    content = b""
    try:
        # Not to wait for a writer, should a FIFO have taken its place meanwhile.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            _refuse_others_than_files(os.fstat(fd))
            # Files in /proc come in parts.
            while more := os.read(fd, size - len(content)):
                content += more
        finally:
            os.close(fd)
    except OSError as error:
        raise _missing(error) from error
    return content


def _refuse_others_than_files(status: os.stat_result) -> None:
    for is_kind, kind in _KINDS:
        if is_kind(status.st_mode):
            raise ProbeFailure(Reason.MISSING, f"{kind}, not a file")


def _missing(error: OSError) -> ProbeFailure:
    return ProbeFailure(Reason.MISSING, os.strerror(error.errno or 0))

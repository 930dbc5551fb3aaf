"""`--log-to`: failure lines also go to a file, such as the log of the container itself."""

from __future__ import annotations

import os

from healthchecker._cli.problems import shown
from healthchecker._net.deadline import Deadline
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._values.result import ProbeFailure

_PATIENCE = 0.25  # seconds for a file system that hangs
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def append(path: str, text: str) -> str:
    """Append text to a file; return why that is impossible, or nothing.

    The file must exist: nothing is created, also not at the end of a link. Nothing is waited for: a
    pipe that is full or has no reader fails.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        UnboundedCalls().call(lambda: _append(path, data), Deadline(_PATIENCE))
    except BlockingIOError:
        problem = "it would block"
    except OSError as error:
        problem = os.strerror(error.errno or 0)
    except ProbeFailure as failure:
        problem = failure.message
    else:
        return ""
    return f"cannot append to {shown(path)} of --log-to: {problem}"


def _append(path: str, data: bytes) -> None:
    descriptor = os.open(path, _FLAGS)
    try:
        # In one write, so that the lines of several checks do not mix.
        if os.write(descriptor, data) < len(data):
            raise BlockingIOError
    finally:
        os.close(descriptor)

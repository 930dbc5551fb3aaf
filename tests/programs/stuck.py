"""Run the command line with calls that hang, in which no signal reaches Python.

The first argument is `tls`: there are no alarms, and the handshake hangs; or `write`: writing to
standard error hangs, as on a file system of the network. The call that hangs is in C and locks a
mutex that it has locked already: unlike most calls, no signal interrupts it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from typing import NoReturn

from healthchecker.__main__ import run
from healthchecker._net.stream import Stream

_BYTES = 256  # more than a mutex has
_real_write = os.write


def _hang(*_args: object, **_more: object) -> NoReturn:
    _real_write(1, b"stuck\n")
    mutex = ctypes.create_string_buffer(_BYTES)
    lock = ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)
    raise AssertionError("locked twice")


def _deny(*_args: object) -> NoReturn:
    raise OSError(errno.ENOSYS, "setitimer")


def _write(fd: int, data: bytes) -> int:
    if fd == 2:
        _hang()
    return _real_write(fd, data)


if sys.argv.pop(1) == "tls":
    signal.setitimer = _deny
    Stream.start_tls = _hang  # type: ignore[method-assign]
else:
    os.write = _write  # type: ignore[assignment]
run()

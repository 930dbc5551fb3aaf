"""Run the command line; send it SIGTERM at the worst moment: just before its first long wait.

Python runs signal handlers between byte codes, so that moment is after the last one before
the system call. Here the signal and the call are two steps of one `map` in C.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import threading
from functools import partial
from operator import call
from typing import Any

from healthchecker.__main__ import run

_LONG_MS = 60_000
_kill = ctypes.CDLL(None).kill
_real_poll = select.poll


class _Poll:
    def __init__(self) -> None:
        self._poll = _real_poll()
        self.register = self._poll.register

    def poll(self, timeout: int | None) -> Any:
        wait = partial(self._poll.poll, timeout)
        is_short = timeout is not None and timeout < _LONG_MS
        if is_short or threading.current_thread() is not threading.main_thread():
            return wait()
        if ready := self._poll.poll(0):
            return ready
        _, ready = map(call, [partial(_kill, os.getpid(), signal.SIGTERM), wait])
        return ready


select.poll = _Poll  # type: ignore[assignment,misc]
run()

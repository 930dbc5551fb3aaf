"""The process around a command: signals, the last resort, and writing."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import NoReturn, Self

from healthchecker._net.deadline import Cancel

STDOUT = 1
STDERR = 2

HEALTHY = 0
UNHEALTHY = 1  # and everything else; 2 is reserved by Docker

_LAST_RESORT_AFTER = 0.05
_AGAIN_AFTER = 0.02  # an alarm, too, may come just before the call that it is to interrupt
_THREAD_STACK_BYTES = 512 * 1024  # fifty of the usual 8 MiB do not fit into a small container


class Lifetime:
    """What ends a command from outside, while it is entered.

    SIGTERM and SIGINT end the process, whatever it is doing; there is nothing to clean up. Python
    runs a signal's handler between two byte codes. A signal that comes after the last of them and
    before the system call that waits would be heeded when the call is over, be it in an hour. So
    wait with `cancel`, which is set by signals.

    On another thread than the main one signals are left alone: somebody else's program runs.
    """

    def __init__(self, exit_code: Callable[[], int] = lambda: UNHEALTHY) -> None:
        self._exit_code = exit_code
        self._has_signals = threading.current_thread() is threading.main_thread()
        self._wakeup_fd_before = -1
        self.cancel = Cancel()

    def __enter__(self) -> Self:
        if self._has_signals:
            os.set_blocking(self.cancel.write_end, False)
            self._wakeup_fd_before = signal.set_wakeup_fd(
                self.cancel.write_end, warn_on_full_buffer=False
            )
            signal.signal(signal.SIGTERM, self._end)
            signal.signal(signal.SIGINT, self._end)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._has_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
        self.cancel.close()

    def end_after(self, seconds: float, last_words: Callable[[], object]) -> None:
        """End the process with exit code 1 soon after `seconds` have gone by, as a last resort.

        Probers end by themselves. This is for what is outside their reach, such as a certificate
        on a file system that hangs or a standard output that nobody reads.
        """

        def end(_signal: int, _frame: object) -> NoReturn:
            signal.signal(signal.SIGALRM, end_silently)
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER, _AGAIN_AFTER)
            last_words()
            os._exit(UNHEALTHY)

        def end_silently(_signal: int, _frame: object) -> NoReturn:
            os._exit(UNHEALTHY)

        if self._has_signals:
            signal.signal(signal.SIGALRM, end)
            signal.setitimer(signal.ITIMER_REAL, seconds + _LAST_RESORT_AFTER, _AGAIN_AFTER)

    def _end(self, _signal: int, _frame: object) -> NoReturn:
        os._exit(self._exit_code())


def write(fd: int, text: str, cancel: Cancel | None = None) -> bool:
    """Write to a standard stream, past all buffers; tell whether somebody takes it."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            if cancel is not None:
                cancel.wait_writable(fd)
            data = data[os.write(fd, data) :]
    except OSError:
        return False
    return True


def is_read(fd: int) -> bool:
    """Tell whether somebody could still read what is written to `fd`."""
    poll = select.poll()
    poll.register(fd, 0)
    return not any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def use_small_thread_stacks() -> None:
    """Give the threads that are started from here on no more stack than a probe needs."""
    threading.stack_size(_THREAD_STACK_BYTES)

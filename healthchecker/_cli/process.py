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
_PATIENCE = 10  # alarms that come while nobody reads what is written
_THREAD_STACK_BYTES = 512 * 1024  # fifty of the usual 8 MiB do not fit into a small container
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

ignored_at_start = sum(
    1 << number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN
)
"""Which signals were ignored when the process started: a bit for each number.

Python cannot tell what it found of those that it ignores itself, which then count as not ignored.
A start from the saved heap can, and sets this.
"""


class Lifetime:
    """What ends a command from outside, while it is entered.

    SIGTERM and SIGINT end the process, whatever it is doing; there is nothing to clean up. Python
    runs a signal's handler between two byte codes. A signal that comes after the last of them and
    before the system call that waits would be heeded when the call is over, be it in an hour. So
    wait with `cancel`, which is set by signals.

    On another thread than the main one signals are left alone: somebody else's program runs.
    """

    def __init__(self, at_signal: Callable[[], int] = lambda: UNHEALTHY) -> None:
        """Call `at_signal` when a signal ends the process: it may write, and returns the code."""
        self._at_signal = at_signal
        self._last_words: Callable[[], object] | None = None
        self._is_writing = False
        self._is_ending = False
        self._patience = _PATIENCE
        self._has_signals = threading.current_thread() is threading.main_thread()
        self._wakeup_fd_before = -1
        self._blocked_before: set[int] = set()
        self.cancel = Cancel()

    def __enter__(self) -> Self:
        if self._has_signals:
            self._wakeup_fd_before = signal.set_wakeup_fd(
                self.cancel.write_end, warn_on_full_buffer=False
            )
            signal.signal(signal.SIGTERM, self._end)
            signal.signal(signal.SIGINT, self._end)
            signal.signal(signal.SIGALRM, self._at_alarm)
            # Whoever started us may have blocked them, and a program inherits that.
            self._blocked_before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._has_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
        self.cancel.close()

    def end_after(self, seconds: float, last_words: Callable[[], object]) -> None:
        """End the process with exit code 1 soon after `seconds` have gone by, as a last resort.

        Probers end by themselves. This is for what is outside their reach, such as a certificate
        on a file system that hangs or a standard output that nobody reads. `last_words` are
        written before, however long the machine takes to run us.
        """
        if self._has_signals:
            self._last_words = last_words
            signal.setitimer(signal.ITIMER_REAL, seconds + _LAST_RESORT_AFTER, _AGAIN_AFTER)

    def is_decided(self) -> None:
        """From here on the verdict stands; only a reader that does not read can still end it."""
        self._last_words = None

    def become(self, command: tuple[str, ...]) -> OSError:
        """Become another program, which finds the process as we found it; return why it cannot."""
        if self._has_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
            for number in (*_SIGNALS, *_IGNORED_BY_PYTHON):
                is_ignored = ignored_at_start >> number & 1
                signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked_before)
        try:
            os.execvp(command[0], command)  # noqa: S606 - what the user asked for, and no shell
        except OSError as error:
            return error

    def write(self, fd: int, text: str) -> bool:
        """Write to a standard stream; tell whether somebody takes it."""
        self._is_writing = True
        taken = write(fd, text)
        self._is_writing = False
        return taken

    def _at_alarm(self, _signal: int, _frame: object) -> None:
        last_words = self._last_words
        if last_words is not None:
            self._last_words = None
            try:
                last_words()
            finally:
                os._exit(UNHEALTHY)
        if self._is_writing:
            # A starved process writes in the end. Alarms go by while it waits for a reader.
            self._patience -= 1
            if self._patience == 0:
                os._exit(UNHEALTHY)

    def _end(self, _signal: int, _frame: object) -> NoReturn:
        if self._is_ending:
            os._exit(UNHEALTHY)
        self._is_ending = True
        self._last_words = None
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER, _AGAIN_AFTER)
        os._exit(self._at_signal())


def write(fd: int, text: str, cancel: Cancel | None = None, seconds: float | None = None) -> bool:
    """Write to a standard stream, past all buffers; tell whether somebody takes it.

    Waits until it is read, `seconds` at the longest; `cancel` ends that with `Cancelled`.
    """
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            if cancel is not None:
                cancel.wait_writable(fd)
            elif not _wait_writable(fd, seconds):
                return False
            # No more than fits: what can be written is written without waiting.
            data = data[os.write(fd, data[: select.PIPE_BUF]) :]
    except OSError:
        return False
    return True


def _wait_writable(fd: int, seconds: float | None) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def is_read(fd: int) -> bool:
    """Tell whether somebody could still read what is written to `fd`."""
    poll = select.poll()
    poll.register(fd, 0)
    return not any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def use_small_thread_stacks() -> None:
    """Give the threads that are started from here on no more stack than a probe needs."""
    threading.stack_size(_THREAD_STACK_BYTES)

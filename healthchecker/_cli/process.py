"""The process around a command: signals, the last resort, and writing."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from enum import Enum
from typing import ClassVar, NoReturn, Self

from healthchecker._net.deadline import Cancel

STDIN = 0
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


class _State(Enum):
    """Where a command is in its life."""

    UNLIMITED = 0
    """No time limit: it runs until it is stopped, or its verdict has been reached."""
    LIMITED = 1
    """At the next alarm it prints its last message and ends."""
    ENDING = 2
    """A signal came; the last message is being printed."""


class Lifetime:
    """What can end a command from outside, while it is entered; `_transitions` is its table.

    SIGTERM and SIGINT end the process, whatever it is doing; there is nothing to clean up. Python
    runs a signal's handler between two byte codes. A signal that comes after the last of them and
    before the system call that waits would only be handled when the call is over, perhaps in an
    hour. So wait with `cancel`, which is set by signals.

    Signals are left alone on threads other than the main one: the process is not ours.
    """

    def __init__(self, at_signal: Callable[[], int] = lambda: UNHEALTHY) -> None:
        """Call `at_signal` when a signal ends the process: it may write, and returns the code."""
        self._state = _State.UNLIMITED
        self._at_signal = at_signal
        self._at_overrun: Callable[[], object] = lambda: None
        self._is_writing = False
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
            for number in _SIGNALS:
                signal.signal(number, self._handle)
            # Whoever started us may have blocked them, and a program inherits that.
            self._blocked_before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._has_signals:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
        self.cancel.close()

    def end_after(self, seconds: float, at_overrun: Callable[[], object]) -> None:
        """End the process with exit code 1 soon after `seconds`, as a last resort.

        Probers end by themselves. This is for operations beyond their reach, such as reading a
        certificate from a file system that hangs or writing to a standard output that is not read.
        `at_overrun` is called first: it prints the last message.
        """
        if self._has_signals:
            self._at_overrun = at_overrun
            self._state = _State.LIMITED
            signal.setitimer(signal.ITIMER_REAL, seconds + _LAST_RESORT_AFTER, _AGAIN_AFTER)

    def is_decided(self) -> None:
        """Keep the verdict from here on; from now on only an output that is not read ends it."""
        self._state = _State.UNLIMITED

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

    def _handle(self, number: int, _frame: object) -> None:
        self._state, action = self._transitions[self._state, number == signal.SIGALRM]
        action(self)

    def _overrun(self) -> NoReturn:
        try:
            self._at_overrun()
        finally:
            os._exit(UNHEALTHY)

    def _lose_patience(self) -> None:
        """Count the alarms while the output is not read; a slow machine gets several."""
        if self._is_writing:
            self._patience -= 1
            if self._patience == 0:
                os._exit(UNHEALTHY)

    def _end(self) -> NoReturn:
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER, _AGAIN_AFTER)
        os._exit(self._at_signal())

    def _exit(self) -> NoReturn:
        os._exit(UNHEALTHY)

    _transitions: ClassVar[dict[tuple[_State, bool], tuple[_State, Callable[[Lifetime], None]]]] = {
        # (state, is an alarm): (next state, action)
        (_State.UNLIMITED, True): (_State.UNLIMITED, _lose_patience),
        (_State.UNLIMITED, False): (_State.ENDING, _end),
        (_State.LIMITED, True): (_State.UNLIMITED, _overrun),
        (_State.LIMITED, False): (_State.ENDING, _end),
        (_State.ENDING, True): (_State.ENDING, _lose_patience),
        (_State.ENDING, False): (_State.ENDING, _exit),
    }


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


def open_standard_streams() -> None:
    """Open the standard streams that are closed, so that no pipe or socket of ours takes a place.

    What is written to them is dropped. A program that replaces this one finds them closed again.
    """
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.get_inheritable(fd)
        except OSError:
            _open_nothing()  # as the lowest descriptor that is free


def _open_nothing() -> None:
    for path, access in ((os.devnull, os.O_RDWR), ("/", os.O_RDONLY)):
        try:
            os.open(path, access)
        except OSError:  # no /dev in this file system, or no descriptor left
            continue
        break


def use_small_thread_stacks() -> None:
    """Give the threads that are started from here on no more stack than a probe needs."""
    threading.stack_size(_THREAD_STACK_BYTES)

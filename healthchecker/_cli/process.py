"""The process around a command: signals, the last resort, and writing."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed only describes `signal`
import math
import os
import select
import signal
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import ClassVar, NoReturn, Self

from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._values.result import ProbeFailure, Reason

STDIN = 0
STDOUT = 1
STDERR = 2

HEALTHY = 0
UNHEALTHY = 1  # and everything else; 2 is reserved by Docker

_LAST_RESORT_AFTER = 0.05
_AGAIN_AFTER = 0.02  # an alarm may also come just before the call that it must interrupt
_PATIENCE = 10  # alarms during a write that is not read
_GUARD_AFTER = 0.3  # seconds that the main thread has to end the process itself
_PRINTED_AFTER = 1.0  # seconds that it then has to print a verdict
_LONGEST_WAIT = 86_400.0
_THREAD_STACK_BYTES = 512 * 1024  # fifty of the usual 8 MiB do not fit into a small container
set_handler = _signal.signal
"""`signal.signal` without its enumerations, which take 9,000 instructions in each call."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
_CHANGED_BY_PYTHON = b"LC_CTYPE"
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

ignored_at_start = sum(
    1 << number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_IGN
)
"""The signals that were ignored when the process started: a bit for each number.

For those that Python itself ignores, their state before is unknown: they count as not ignored. A
start from the saved heap knows it, and sets this.
"""


class _State(Enum):
    """How far a command is."""

    RUNNING = 0
    """There is no verdict yet. A signal or an alarm prints the last message and ends it."""
    DECIDED = 1
    """The verdict is being printed. Only an output that is not read can still change it."""
    ENDING = 2
    """The last message is being printed."""


class Lifetime:
    """What can end a command from outside, while it is entered; `_transitions` is its table.

    SIGTERM and SIGINT end the process, whatever it is doing; there is nothing to clean up. Python
    runs a signal's handler between two byte codes. A signal that comes after the last of them and
    before the system call that waits would only be handled when the call is over, perhaps in an
    hour. So wait with `cancel`, which is set by signals.

    A call that hangs and cannot be interrupted would keep the handlers from running: probers make
    calls to file systems on threads of their own. If the output is a file, or if there are no
    alarms, a guard is started: a thread that ends the process if the main thread is stuck.

    Signals are left alone on threads other than the main one: the process is not ours.
    """

    def __init__(self, end_early: Callable[[ProbeFailure], int]) -> None:
        """Call `end_early` before the process is ended: it prints, and returns the exit code.

        It may be called on another thread.
        """
        self._state = _State.RUNNING
        self._end_early = end_early
        self._limit = self._end_at = math.inf
        self._is_writing = False
        self._patience = _PATIENCE
        self._has_signals = threading.current_thread() is threading.main_thread()
        self._wakeup_fd_before = -1
        self._blocked_before: set[int] = set()
        self._late_signal = 0
        self._decision = threading.Lock()
        """Held from the verdict on, by the thread that prints."""
        self._is_over = threading.Event()
        self._guard: threading.Thread | None = None
        self.cancel = Cancel()

    def __enter__(self) -> Self:
        if self._has_signals:
            self._wakeup_fd_before = signal.set_wakeup_fd(
                self.cancel.write_end, warn_on_full_buffer=False
            )
            for number in _SIGNALS:
                set_handler(number, self._handle)
            # They may have been blocked by the program that started this one.
            self._blocked_before = _signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._has_signals:
            _set_alarm(0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
        if self._guard is not None:
            self._is_over.set()
            self.cancel.set()
            self._guard.join()
        self.cancel.close()

    def end_after(self, seconds: float) -> None:
        """End the process soon after `seconds`, as a last resort.

        Probers end by themselves. This is for operations beyond their reach, such as reading a
        certificate from a file system that hangs or writing to a standard output that is not read.
        """
        if self._has_signals:
            self._limit = seconds
            self._end_at = time.monotonic() + seconds + _LAST_RESORT_AFTER
            if not _set_alarm(seconds + _LAST_RESORT_AFTER, _AGAIN_AFTER):
                self._start_guard()

    def is_decided(self) -> None:
        """Keep the verdict from here on; from now on only an output that is not read ends it."""
        self._state = _State.DECIDED  # first: a signal's handler must not wait for this thread
        self._decision.acquire()

    def become(self, command: tuple[str, ...]) -> OSError:
        """Execute another program with the signals and the environment of our start.

        Return the error if that fails.
        """
        if self._has_signals:
            _set_alarm(0)
            signal.set_wakeup_fd(self._wakeup_fd_before)
            for number in (*_SIGNALS, *_IGNORED_BY_PYTHON):
                is_ignored = ignored_at_start >> number & 1
                signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked_before)
            if self._late_signal:
                os.kill(os.getpid(), self._late_signal)
        try:
            # The user's command, without a shell:
            os.execvpe(command[0], command, _environment_at_start())  # noqa: S606
        except OSError as error:
            return error

    def guard_file(self, fd: int) -> None:
        """Start the guard if a standard stream is a file."""
        if _is_file(fd):
            self._start_guard()

    def write(self, fd: int, text: str) -> bool:
        """Write to a standard stream; return whether all of it was taken."""
        if threading.current_thread() is self._guard:
            return write(fd, text, seconds=_PATIENCE * _AGAIN_AFTER)
        self.guard_file(fd)
        self._is_writing = True
        taken = write(fd, text)
        self._is_writing = False
        return taken

    def _handle(self, number: int, _frame: object) -> None:
        is_alarm = number == signal.SIGALRM
        self._state, action = self._transitions[self._state, is_alarm]
        action(self, number)

    def _end(self, number: int) -> NoReturn:
        """Print the last message, and end the process."""
        self._decision.acquire()
        _set_alarm(_AGAIN_AFTER, _AGAIN_AFTER)
        self._end_with(self._cause(number))

    def _end_with(self, cause: ProbeFailure) -> NoReturn:
        code = UNHEALTHY
        try:
            code = self._end_early(cause)
        finally:
            _exit(code)

    def _cause(self, number: int) -> ProbeFailure:
        """Return why the process ends, after a signal."""
        if number == signal.SIGALRM:
            return ProbeFailure(Reason.TIMEOUT, f"timed out after {self._limit * 1000:.0f} ms")
        return ProbeFailure(Reason.INTERRUPTED, f"stopped by {signal.Signals(number).name}")

    def _lose_patience(self, _number: int) -> None:
        """Count the alarms while the output is not read; a slow machine gets several."""
        if self._is_writing:
            self._patience -= 1
            if self._patience == 0:
                _exit(UNHEALTHY)

    def _hurry(self, number: int) -> None:
        """Let the verdict be printed, if that takes no longer than a moment."""
        self._late_signal = number
        _set_alarm(_AGAIN_AFTER, _AGAIN_AFTER)

    def _go_on(self, _number: int) -> None:
        """Ignore a second signal: `timeout` sends two, and the last message is on its way."""

    _transitions: ClassVar[
        dict[tuple[_State, bool], tuple[_State, Callable[[Lifetime, int], None]]]
    ] = {
        # (state, is an alarm): (next state, action)
        (_State.RUNNING, True): (_State.ENDING, _end),
        (_State.RUNNING, False): (_State.ENDING, _end),
        (_State.DECIDED, True): (_State.DECIDED, _lose_patience),
        (_State.DECIDED, False): (_State.DECIDED, _hurry),
        (_State.ENDING, True): (_State.ENDING, _lose_patience),
        (_State.ENDING, False): (_State.ENDING, _go_on),
    }

    def _start_guard(self) -> None:
        if self._has_signals and self._guard is None:
            guard = threading.Thread(target=self._end_for_main_thread, daemon=True)
            with suppress(RuntimeError, MemoryError):  # for example at a container's pids limit
                guard.start()
                self._guard = guard

    def _end_for_main_thread(self) -> None:
        """Wait for a signal or the limit, and end the process if the main thread then does not."""
        with suppress(Cancelled):
            while (left := self._end_at - time.monotonic()) > 0:
                try:
                    self.cancel.wait(min(left, _LONGEST_WAIT))
                except OSError:  # a filter of system calls may deny that, too
                    self._is_over.wait(min(left, _LONGEST_WAIT))
        if self._is_over.wait(_GUARD_AFTER):
            return
        if self._decision.acquire(blocking=False):
            self._end_with(self._cause(self._caught_signal()))
        self._is_over.wait(_PRINTED_AFTER)
        _exit(UNHEALTHY)

    def _caught_signal(self) -> int:
        """Return the signal that the main thread has not handled; the limit counts as SIGALRM."""
        with suppress(OSError):
            number = os.read(self.cancel.read_ends()[0], 1)[0]
            if number in _SIGNALS:
                return number
        return signal.SIGALRM


def _environment_at_start() -> Mapping[bytes, bytes]:
    """Return the environment with the LC_CTYPE of our start, which Python may change (PEP 538)."""
    environment = dict(os.environb)
    if _CHANGED_BY_PYTHON in environment:
        with suppress(OSError):
            variables = Path("/proc/self/environ").read_bytes().split(b"\0")
            values = dict(variable.partition(b"=")[::2] for variable in variables)
            del environment[_CHANGED_BY_PYTHON]
            if _CHANGED_BY_PYTHON in values:
                environment[_CHANGED_BY_PYTHON] = values[_CHANGED_BY_PYTHON]
    return environment


def _is_file(fd: int) -> bool:
    """Return whether a standard stream is a file, whose file system may hang."""
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _exit(code: int) -> NoReturn:
    """End the process; no alarm interrupts what observes it, such as coverage."""
    _set_alarm(0)
    os._exit(code)


def _set_alarm(seconds: float, interval: float = 0) -> bool:
    """Set the timer of SIGALRM; return whether that is possible here."""
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, interval)
    except OSError:  # a filter of system calls may deny it
        return False
    return True


def write(fd: int, text: str, cancel: Cancel | None = None, seconds: float | None = None) -> bool:
    """Write to a standard stream, past all buffers; return whether all of it was taken.

    Waits until it is read, at most `seconds`; `cancel` ends that with `Cancelled`.
    """
    try:
        return _write(fd, text, cancel, seconds)
    except OSError:
        return False


def print_all(text: str) -> None:
    """Print the output of a command that does nothing else; it may raise `OutputError`."""
    try:
        _write(STDOUT, text)
    except OSError as error:
        raise OutputError(error) from error


class OutputError(Exception):
    """Standard output cannot be written. The message is empty if it is no longer read."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            ""
            if isinstance(error, BrokenPipeError)
            else f"cannot write to standard output: {os.strerror(error.errno or 0)}"
        )


def _write(fd: int, text: str, cancel: Cancel | None = None, seconds: float | None = None) -> bool:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        if cancel is not None:
            cancel.wait_writable(fd)
        elif not _wait_writable(fd, seconds):
            return False
        # No more than fits: what can be written is written without waiting.
        data = data[os.write(fd, data[: select.PIPE_BUF]) :]
    return True


def _wait_writable(fd: int, seconds: float | None) -> bool:
    return bool(_poll(fd, select.POLLOUT, None if seconds is None else seconds * 1000))


def is_read(fd: int) -> bool:
    """Return whether a reader of `fd` is left."""
    return not _poll(fd, 0, 0) & (select.POLLERR | select.POLLNVAL)


def _poll(fd: int, events: int, milliseconds: float | None) -> int:
    """Wait for events of a descriptor, and return those that happened."""
    poll = select.poll()
    poll.register(fd, events)
    try:
        return sum(happened for _, happened in poll.poll(milliseconds))
    except OSError:  # a filter of system calls may deny it: writing will wait or fail
        return events


def open_standard_streams() -> None:
    """Open the standard streams that are closed, so that no pipe or socket of ours takes a place.

    Output to them is dropped. A program that replaces this one finds them closed again.
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
    """Give new threads no more stack than a probe needs."""
    threading.stack_size(_THREAD_STACK_BYTES)

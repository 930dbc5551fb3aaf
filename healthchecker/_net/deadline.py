"""The total time limit of a check, and the way to end a check early.

Every wait of a probe is a `Deadline.wait` on non-blocking sockets, so the limit covers lookup,
connect, TLS, request and response, on any thread and without a helper thread.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self

from healthchecker._values.result import ProbeFailure, Reason

_LAST_STANDARD_STREAM = 2
_STEP = 0.02  # seconds, in which to look at a `Cancel` without a descriptor again


class Cancelled(Exception):  # noqa: N818 - not an error: the caller cancelled
    """The wait was cancelled."""


class Cancel:
    """Ends waits immediately and permanently; so does setting its `parent`.

    `set` may be called from any thread, from a signal handler, and again. The pipe that wakes the
    waits is opened on demand: by the first wait, or for `write_end`. Waits also work if no file
    descriptor is left for it.
    """

    def __init__(self, parent: Cancel | None = None) -> None:
        self.is_set = False
        """Whether `set` was called; a byte in the pipe, or a set parent, does not show here."""
        self.chain: tuple[Cancel, ...] = (self, *(parent.chain if parent else ()))
        """It and its parents."""
        self._pipe: tuple[int, int] | None = None
        # Reentrant, because a signal handler may call `set` while its thread holds it.
        self._lock = threading.RLock()

    def set(self) -> None:
        with self._lock:
            if not self.is_set:
                self.is_set = True
                self._wake()

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`; raise `Cancelled` as soon as it is set."""
        _wait([], seconds, self)

    def wait_writable(self, fd: int) -> None:
        """Wait until `fd` is writable; raise `Cancelled` as soon as it is set."""
        _wait([(fd, select.POLLOUT)], None, self)

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Wait until `fd` is readable, at most `seconds`; return whether it is.

        Raises `Cancelled` as soon as it is set.
        """
        return bool(_wait([(fd, select.POLLIN)], seconds, self))

    @property
    def write_end(self) -> int:
        """The non-blocking end of the pipe that a signal's wake-up (signal(2)) may write to."""
        return self._open()[1]

    def close(self) -> None:
        """Close the pipe. The next wait opens another one."""
        with self._lock:
            pipe, self._pipe = self._pipe, None
            for fd in pipe or ():
                os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _open(self) -> tuple[int, int]:
        with self._lock:
            if self._pipe is None:
                self._pipe = _pipe()
                if self.is_set:  # also by a signal handler that found no pipe to write to
                    self._wake()
            return self._pipe

    def _wake(self) -> None:
        if self._pipe is not None:
            with suppress(BlockingIOError):  # a full pipe is readable
                os.write(self._pipe[1], b"x")

    def read_ends(self) -> list[int]:
        """Return descriptors, one of which is readable as soon as it or a parent is set.

        Those for which no descriptor is left are missing; look at `is_set` instead.
        """
        ends = []
        for one in self.chain:
            try:
                end, _ = one._open()  # noqa: SLF001 - of the same class
            except OSError:
                continue
            ends.append(end)
        return ends


class Deadline:
    """The time by which a check must be done."""

    def __init__(
        self, timeout: float, cancel: Cancel | None = None, start: float | None = None
    ) -> None:
        self._timeout = timeout
        self._end = (time.monotonic() if start is None else start) + timeout
        self._cancel = cancel

    def tightened(self, timeout: float) -> Deadline:
        """Return a deadline `timeout` seconds from now, or this one if it comes first."""
        if time.monotonic() + timeout >= self._end:
            return self
        return Deadline(timeout, self._cancel)

    def remaining(self) -> float:
        """Return the remaining seconds, always positive.

        Raises `ProbeFailure` once the deadline has passed.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise ProbeFailure(Reason.TIMEOUT, f"timed out after {self._timeout * 1000:.0f} ms")
        return left

    def wait_any(self, waits: Iterable[tuple[int, int]], limit: float | None = None) -> set[int]:
        """Wait until one of (file descriptor, poll events) is ready; return those that are.

        With `limit` (seconds) the wait may also end after that time, and return nothing.
        """
        left = self.remaining()
        if limit is not None:
            left = min(left, max(limit, 0.0))
        return _wait(waits, left, self._cancel)

    def wait(self, fd: int, events: int) -> None:
        """Wait until `fd` is ready for `events` (of select.poll)."""
        while not self.wait_any([(fd, events)]):
            pass


def _wait(
    waits: Iterable[tuple[int, int]], seconds: float | None, cancel: Cancel | None
) -> set[int]:
    if cancel is None:
        return _poll(list(waits), seconds)
    ends = cancel.read_ends()
    all_waits = [*waits, *((fd, select.POLLIN) for fd in ends)]
    if len(ends) < len(cancel.chain):
        ready = _poll_in_steps(all_waits, seconds, cancel)
    else:
        ready = _poll(all_waits, seconds)
    if not ready.isdisjoint(ends):
        raise Cancelled
    return ready


def _poll(waits: Sequence[tuple[int, int]], seconds: float | None) -> set[int]:
    poll = select.poll()
    for fd, events in waits:
        poll.register(fd, events)
    try:
        return {fd for fd, _ in poll.poll(None if seconds is None else math.ceil(seconds * 1000))}
    except OSError as error:  # a filter of system calls denies it
        return _select(waits, seconds, error)


def _select(waits: Sequence[tuple[int, int]], seconds: float | None, error: OSError) -> set[int]:
    """Do the same without poll(2), which failed with `error`."""
    reading = [fd for fd, events in waits if events & select.POLLIN]
    writing = [fd for fd, events in waits if events & select.POLLOUT]
    try:
        readable, writable, _ = select.select(reading, writing, [], seconds)
    except (OSError, ValueError):  # denied as well, or too high a descriptor
        message = f"the system denies poll: {os.strerror(error.errno or 0)}"
        raise ProbeFailure(Reason.CONNECTION_FAILED, message) from error
    return {*readable, *writable}


def _poll_in_steps(
    waits: Sequence[tuple[int, int]], seconds: float | None, cancel: Cancel
) -> set[int]:
    """Wait also for a `cancel` that has no descriptor."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    while not any(one.is_set for one in cancel.chain):
        left = end - time.monotonic()
        ready = _poll(waits, max(min(left, _STEP), 0.0))
        if ready or left <= 0:
            return ready
    raise Cancelled


def _pipe() -> tuple[int, int]:
    """Open a pipe, non-blocking and beside the standard streams, also if those are closed.

    What a program prints would otherwise set the `Cancel`, and closing one would close a stream.
    """
    if hasattr(os, "pipe2"):
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    else:
        ends = os.pipe()
        for fd in ends:
            os.set_blocking(fd, False)
    if min(ends) > _LAST_STANDARD_STREAM:
        return ends
    try:
        return _pipe()  # while these hold the low numbers
    finally:
        for fd in ends:
            os.close(fd)

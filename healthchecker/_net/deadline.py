"""The one total time limit of a check, and the way to end a check early.

Every wait of a probe is a `Deadline.wait` on non-blocking sockets, so the limit holds for the
whole of look-up, connect, TLS, request and response, on any thread and without a helper thread.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Iterable
from typing import Self

from healthchecker._values.result import ProbeFailure, Reason


class Cancelled(Exception):  # noqa: N818 - asked for by the caller
    """What waited was ended by its `Cancel`."""


class Cancel:
    """Ends what waits with it, from any thread, at once and for good; so does its `parent`."""

    def __init__(self, parent: Cancel | None = None) -> None:
        self._read, self.write_end = os.pipe()
        """Who cannot call `set`, as a signal cannot, may write a byte here."""
        self.fds: tuple[int, ...] = (self._read, *(parent.fds if parent else ()))
        """One of these can be read as soon as it is set."""

    def set(self) -> None:
        os.write(self.write_end, b"x")

    def wait(self, seconds: float) -> None:
        """Wait so long; raise `Cancelled` as soon as it is set."""
        _poll([], seconds, self)

    def wait_writable(self, fd: int) -> None:
        """Wait until something can be written to `fd`; raise `Cancelled` as soon as it is set."""
        _poll([(fd, select.POLLOUT)], None, self)

    def wait_readable(self, fd: int, seconds: float | None) -> bool:
        """Wait at most so long until `fd` can be read; tell whether it can; likewise."""
        return bool(_poll([(fd, select.POLLIN)], seconds, self))

    def close(self) -> None:
        os.close(self._read)
        os.close(self.write_end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


class Deadline:
    """The moment at which a check is over."""

    def __init__(
        self, timeout: float, cancel: Cancel | None = None, start: float | None = None
    ) -> None:
        self._timeout = timeout
        self._end = (time.monotonic() if start is None else start) + timeout
        self._cancel = cancel

    def tightened(self, timeout: float) -> Deadline:
        """Return a deadline `timeout` seconds from now, or this one where it comes first."""
        if time.monotonic() + timeout >= self._end:
            return self
        return Deadline(timeout, self._cancel)

    def remaining(self) -> float:
        """Return the seconds left, never zero: a passed deadline is a `ProbeFailure`."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise ProbeFailure(Reason.TIMEOUT, f"timed out after {self._timeout * 1000:.0f} ms")
        return left

    def wait_any(self, waits: Iterable[tuple[int, int]], limit: float | None = None) -> set[int]:
        """Wait until one of (file descriptor, poll events) is ready; return those that are.

        With `limit` (seconds) the wait may also end empty-handed after that time.
        """
        left = self.remaining()
        if limit is not None:
            left = min(left, max(limit, 0.0))
        return _poll(waits, left, self._cancel)

    def wait(self, fd: int, events: int) -> None:
        """Wait until `fd` is ready for `events` (of select.poll)."""
        while not self.wait_any([(fd, events)]):
            pass


def _poll(
    waits: Iterable[tuple[int, int]], seconds: float | None, cancel: Cancel | None
) -> set[int]:
    poll = select.poll()
    for fd, events in waits:
        poll.register(fd, events)
    ends = cancel.fds if cancel else ()
    for fd in ends:
        poll.register(fd, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(None if seconds is None else math.ceil(seconds * 1000))}
    if not ready.isdisjoint(ends):
        raise Cancelled
    return ready

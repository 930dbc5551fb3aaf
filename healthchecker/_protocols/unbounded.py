"""Calls that know no time limit, such as one to a file system, kept within a deadline."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from healthchecker._net.deadline import Deadline

T = TypeVar("T")


class UnboundedCall(Generic[T]):
    """Makes a call on a thread of its own, and waits for it as long as a deadline allows.

    A call that hangs cannot be ended; its thread ends when the call does. It is not made a second
    time meanwhile: whoever asks next waits for the same one, so there is one thread at most. Where
    no thread can be had (a container's limit of processes) the call is made right here.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._running: _Run[T] | None = None

    def result(self, deadline: Deadline) -> T:
        """Return what the call returns, or raise what it raises; used by one thread at a time."""
        run = self._running
        if run is None or run.is_over:
            run = self._running = _Run(self._call)
            run.start()
        return run.result(deadline)


class _Run(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self.is_over = False
        self._call = call
        self._value: T
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._lock = threading.Lock()
        self._wake: int | None = None
        """Where to write when it is over, while somebody waits for that."""

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:
            self._work()

    def result(self, deadline: Deadline) -> T:
        wait, wake = os.pipe()
        try:
            with self._lock:
                self._wake = wake
            if not self.is_over:
                deadline.wait(wait, select.POLLIN)
        finally:
            with self._lock:
                self._wake = None
            os.close(wait)
            os.close(wake)
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value

    def _work(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where the call is waited for
            self._error = error
        with self._lock:
            self.is_over = True
            if self._wake is not None:
                os.write(self._wake, b"x")

"""Calls without a time limit of their own, such as one to a file system, kept within a deadline."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from healthchecker._net.deadline import Cancel, Deadline

T = TypeVar("T")

_STEP = 0.02  # seconds, in which to look at a call without a descriptor again


class UnboundedCalls:
    """Makes each call on a thread of its own, and waits for it as long as a deadline allows.

    A call that hangs cannot be ended; its thread ends when the call does. Until then no other call
    begins, so that threads do not pile up. If no thread can be started (a container's pids limit)
    the call is made on the calling thread.
    """

    def __init__(self) -> None:
        self._hanging: _Run[Any] | None = None

    def call(self, function: Callable[[], T], deadline: Deadline) -> T:
        """Return what `function` returns, or raise what it raises."""
        hanging = self._hanging
        while hanging is not None and not hanging.is_over:
            deadline.wait_any([], _STEP)
        run = _Run(function)
        try:
            return run.result(deadline)
        finally:
            if not run.is_over:
                self._hanging = run


class _Run(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._value: T
        self._error: BaseException | None = None
        self._over = Cancel()
        self._thread = threading.Thread(target=self._work, daemon=True)
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):
            self._work()

    @property
    def is_over(self) -> bool:
        return self._over.is_set

    def result(self, deadline: Deadline) -> T:
        with self._over:
            while not self.is_over:
                ends = self._over.read_ends()
                deadline.wait_any([(fd, select.POLLIN) for fd in ends], None if ends else _STEP)
        if self._thread.ident is not None:
            self._thread.join()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback refers to us: a cycle that would keep memory
        return self._value

    def _work(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001 - raised again where the call is waited for
            self._error = error
        self._over.set()

"""How what waits or probes for long, in a watch or for asyncio, is ended from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from healthchecker._net.deadline import Cancel
from healthchecker._net.stream import os_message
from healthchecker._protocols.base import Prober, Progress, failed
from healthchecker._values.result import CheckResult, Phase, ProbeFailure, Reason


class Stop:
    """Ends one waiting or probing at once and for good: from any thread, or a signal's handler.

    What it is made of can be entered a second time by a handler (threading.Event cannot), and
    holds a file descriptor only while something probes. With a `parent`, what that ends raises
    `Cancelled`, also a wait.
    """

    def __init__(self, parent: Cancel | None = None) -> None:
        self.is_set = False
        self._parent = parent
        self._lock = threading.RLock()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._cancel: Cancel | None = None

    def set(self) -> None:
        with self._lock:
            if not self.is_set:
                self.is_set = True
                self._wake.put(None)
                if self._cancel is not None:
                    self._cancel.set()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until stopped."""
        if self._parent is not None:
            try:
                with self.cancel() as cancel:
                    cancel.wait(seconds)
            except OSError:  # no descriptor left for more than the parent
                self._parent.wait(seconds)
        elif not self.is_set:
            try:
                self._wake.get(timeout=seconds)
            except Empty:
                return

    @contextmanager
    def cancel(self) -> Iterator[Cancel]:
        """Return the `Cancel` for one probe."""
        cancel = Cancel(self._parent)
        with self._lock:
            self._cancel = cancel
            if self.is_set:
                cancel.set()
        try:
            yield cancel
        finally:
            with self._lock:
                self._cancel = None
            cancel.close()


def probe(prober: Prober, timeout: float, stop: Stop) -> CheckResult:
    """Probe once; raise `Cancelled` when stopped."""
    start = time.monotonic()
    try:
        with stop.cancel() as cancel:
            return prober.probe(timeout, cancel)
    except OSError as error:  # no file descriptor left: one of many watches must not end by it
        failure = ProbeFailure(Reason.CONNECTION_FAILED, os_message(error))
        progress = Progress(start)
        progress.enter(Phase.CONNECT)
        return failed(prober.label, failure, progress, start)

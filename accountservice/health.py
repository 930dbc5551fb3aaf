"""The health of the service: one state, reported by both /health and grpc.health.v1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from accountservice.database import TIMEOUT, Database, DatabaseError

INTERVAL = 2.0
"""Seconds within which the state follows the database, also without requests."""

# A check may begin just before the database fails, and the next one takes TIMEOUT to notice.
_PAUSE = (INTERVAL - TIMEOUT) / 2

_log = logging.getLogger(__name__)


class Health:
    """Whether the service can serve: the database responds, and nothing switched it off."""

    def __init__(self, database: Database) -> None:
        self.serving = False
        self._database = database
        self._switched_on = True
        self._stopping = False
        self._followers: list[asyncio.Queue[bool]] = []
        self._running: asyncio.Future[None] | None = None
        self._last_fault: str | None = None

    async def check(self) -> bool:
        """Query the database through the pool that serves accounts; return whether it can serve.

        Ends within `database.TIMEOUT`. Concurrent callers share one query, so that checks never
        use more than one connection.
        """
        if self._running is not None:
            await asyncio.wait([self._running])
            return self.serving
        # A task of its own would take a tenth of the whole time. Without one, the query is
        # cancelled with its first caller, which only happens when the program ends.
        self._running = asyncio.get_running_loop().create_future()
        try:
            await self._query()
        finally:
            self._running.set_result(None)
            self._running = None
        return self.serving

    async def switch(self, on: bool) -> None:
        """While off, report unhealthy regardless of the database (for tests)."""
        self._switched_on = on
        if on:
            await self.check()
        else:
            self._set(False)

    def stop(self) -> None:
        """Report unhealthy from now on: the service is about to stop."""
        self._stopping = True
        self._set(False)

    async def monitor(self) -> None:
        """Query the database every `INTERVAL` seconds at least. Never returns."""
        while True:
            await self.check()
            await asyncio.sleep(_PAUSE)

    async def states(self) -> AsyncIterator[bool]:
        """Yield the current state, then each change once. Never ends."""
        states: asyncio.Queue[bool] = asyncio.Queue()
        states.put_nowait(self.serving)
        self._followers.append(states)
        while True:
            yield await states.get()

    async def _query(self) -> None:
        error: DatabaseError | None = None
        try:
            await self._database.check()
        except DatabaseError as failure:
            error = failure
        self._log_change(error)
        self._set(error is None)

    def _set(self, database_up: bool) -> None:
        serving = database_up and self._switched_on and not self._stopping
        if serving != self.serving:
            self.serving = serving
            for states in self._followers:
                states.put_nowait(serving)

    def _log_change(self, error: DatabaseError | None) -> None:
        """Log a fault once, however often it is seen; its text may differ each time."""
        fault = error.fault if error is not None else None
        if fault == self._last_fault:
            return
        self._last_fault = fault
        if error is None:
            _log.info("database accessible")
        else:
            _log.warning("database inaccessible: %s", error)

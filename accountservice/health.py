"""The health of the service: a `HealthServer`, behind both /health and grpc.health.v1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from accountservice.database import TIMEOUT, Database, DatabaseError
from healthchecker import HealthReport, HealthServer, ServerCheck

INTERVAL = 2.0
"""Seconds within which the state follows the database, also without requests."""

# A check may begin just before the database fails, and the next one takes TIMEOUT to notice.
_PAUSE = (INTERVAL - TIMEOUT) / 2

_log = logging.getLogger(__name__)

# The server logs when a check begins to fail, but not when it then fails for another reason. So
# `_log` has the faults, and only errors of the server itself are logged here.
_server_log = logging.getLogger(f"{__name__}.server")
_server_log.setLevel(logging.ERROR)


class Health:
    """Whether the service can serve: the database responds, and nothing switched it off.

    `server` holds this state and shares each query among all who wait for it, so that checks never
    use more than one connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last_fault: str | None = None
        self._serving = False
        self._changed = asyncio.Event()
        self.server = HealthServer(
            # The query has its own, shorter limit, and its error names the fault.
            checks={"database": ServerCheck(self._query, timeout=2 * TIMEOUT)},
            cache=0,  # a response is never older than its request, except while a query runs
            on_change=self._note,
            log=_server_log,
        )
        self.server.ready()

    async def check(self) -> bool:
        """Query the database through the pool that serves accounts; return whether it can serve.

        Ends within `database.TIMEOUT`.
        """
        return bool(await self.server.aresults())

    async def switch(self, on: bool) -> None:
        """While off, report unhealthy regardless of the database (for tests)."""
        if on:
            await self.check()  # first, so that ready() does not report an old outcome
            self.server.ready()
        else:
            self.server.not_ready()

    async def monitor(self) -> None:
        """Query the database every `INTERVAL` seconds at least. Never returns."""
        while True:
            await self.check()
            await asyncio.sleep(_PAUSE)

    async def states(self) -> AsyncIterator[bool]:
        """Yield the current state, then the latest one after each change.

        For one caller at a time. Never ends.
        """
        while True:
            self._changed.clear()
            yield self._serving
            await self._changed.wait()

    def _note(self, report: HealthReport) -> None:
        self._serving = bool(report)
        self._changed.set()

    async def _query(self) -> bool:
        error: DatabaseError | None = None
        try:
            await self._database.check()
        except DatabaseError as failure:
            error = failure
        self._log_change(error)
        return error is None

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

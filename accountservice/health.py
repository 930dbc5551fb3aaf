"""The health of the service: one state, reported by both /health and grpc.health.v1."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from accountservice.database import TIMEOUT, Database, DatabaseError

INTERVAL = 2.0
"""Seconds within which the state follows the database, also when nobody asks."""

# A check may begin just before the database dies, and the next one takes TIMEOUT to find out.
_PAUSE = (INTERVAL - TIMEOUT) / 2

_log = logging.getLogger(__name__)


class Health:
    """Whether the service can do its work: the database answers, and nothing says otherwise."""

    def __init__(self, database: Database) -> None:
        self.serving = False
        self._database = database
        self._switched_on = True
        self._stopping = False
        self._followers: list[asyncio.Queue[bool]] = []
        self._question: asyncio.Future[None] | None = None
        self._last_error: str | None = None

    async def check(self) -> bool:
        """Ask the database, through the pool that serves accounts, and say whether all is well.

        Ends within `database.TIMEOUT`. Whoever asks while a question is under way shares its
        answer, so that checks never use more than one connection.
        """
        if self._question is not None:
            await asyncio.wait([self._question])
            return self.serving
        # Not in a task of its own, which costs a tenth of the answer's time; so it is cancelled
        # with whoever asks first, which happens only at the end of the program.
        self._question = asyncio.get_running_loop().create_future()
        try:
            await self._ask()
        finally:
            self._question.set_result(None)
            self._question = None
        return self.serving

    async def switch(self, on: bool) -> None:
        """Report not healthy while off, whatever the database says (for tests)."""
        self._switched_on = on
        if on:
            await self.check()
        else:
            self._set(False)

    def stop(self) -> None:
        """Report not healthy from now on: the service is going to stop."""
        self._stopping = True
        self._set(False)

    async def monitor(self) -> None:
        """Keep the state fresh for those who do not ask: never returns."""
        while True:
            await self.check()
            await asyncio.sleep(_PAUSE)

    async def states(self) -> AsyncIterator[bool]:
        """Yield the state as it is now, then each change of it once: never ends."""
        states: asyncio.Queue[bool] = asyncio.Queue()
        states.put_nowait(self.serving)
        self._followers.append(states)
        while True:
            yield await states.get()

    async def _ask(self) -> None:
        error: str | None = None
        try:
            await self._database.check()
        except DatabaseError as failure:
            error = str(failure)
        self._report(error)
        self._set(error is None)

    def _set(self, database_up: bool) -> None:
        serving = database_up and self._switched_on and not self._stopping
        if serving != self.serving:
            self.serving = serving
            for states in self._followers:
                states.put_nowait(serving)

    def _report(self, error: str | None) -> None:
        if error == self._last_error:
            return
        self._last_error = error
        if error is None:
            _log.info("database accessible")
        else:
            _log.warning("database unaccessible: %s", error)

"""The accounts, behind calls that always end in time.

Drivers block, and a dead database can block them for minutes. So a call runs on one of a few
worker threads, over a pool with as many connections, and its caller waits `TIMEOUT` at most, the
wait for a free worker included. A call that is given up is also broken off, so that its worker is
soon free again: dead calls do not pile up. One worker is kept free for the check, so that neither
many requests make the database look dead, nor a check of a dead database holds up requests.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    URL,
    Column,
    Connection,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from accountservice.backends import Backend, open_backend

TIMEOUT = 1.0
"""Seconds that anyone waits for the database at most, /health included."""

CONNECTIONS = 5
"""Connections in the pool, and threads that use them; one of them is kept for the check."""

# Shorter than TIMEOUT: a query that waits for a lock then ends by itself and keeps its connection.
_QUERY_TIMEOUT = 0.8 * TIMEOUT

_metadata = MetaData()
_accounts = Table(
    "account",
    _metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
)
_ONE = select(_accounts).where(_accounts.c.id == bindparam("id"))
_ANY = f"SELECT {_accounts.c.id.name} FROM {_accounts.name} LIMIT 1"  # noqa: S608 - our names
_SEED = {str(10_000 + n): f"Person_{n}" for n in range(100)}

T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """One account."""

    id: str
    name: str


class DatabaseError(Exception):
    """The database gave no answer, or no good one; the message holds no password."""


class Database:
    """The accounts in the database at a URL. Belongs to the event loop that it is made on."""

    def __init__(self, url: URL) -> None:
        self._secrets = [url.password, *url.normalized_query.get("password", ())]
        self._backend = open_backend(url, connections=CONNECTIONS, query_timeout=_QUERY_TIMEOUT)
        self._seeded = False
        self._loop = asyncio.get_running_loop()
        self._account_workers = asyncio.Semaphore(CONNECTIONS - 1)
        self._check_worker = asyncio.Semaphore(1)
        self._calls: queue.SimpleQueue[_Call[Any]] = queue.SimpleQueue()
        for _ in range(CONNECTIONS):
            # Daemons: a worker stuck in a name look-up does not keep the process from ending.
            threading.Thread(target=self._work, name="database", daemon=True).start()

    async def account(self, account_id: str) -> Account | None:
        """Return the account with this id, or None. Raises DatabaseError."""

        def query(connection: Connection) -> Account | None:
            found = connection.execute(_ONE, {"id": account_id}).first()
            return Account(found.id, found.name) if found else None

        return await self._run(query, self._account_workers)

    async def check(self) -> None:
        """Ask for any account, and seed before until that has worked once. Raises DatabaseError."""

        def query(connection: Connection) -> None:
            if not self._seeded:
                _seed(connection, self._backend.begin_alone)
                self._seeded = True
            self._read_any(connection)

        await self._run(query, self._check_worker)

    def _read_any(self, connection: Connection) -> None:
        """Ask by the driver's own cursor: SQLAlchemy would take as long as the database does."""
        driver = connection.connection
        try:
            with closing(driver.cursor()) as cursor:
                cursor.execute(_ANY)
                cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            if connection.dialect.is_disconnect(error, driver.dbapi_connection, None):
                # Where one connection was lost, the others of the pool are, too: SQLAlchemy drops
                # them when it finds out.
                with suppress(DBAPIError):
                    connection.exec_driver_sql(_ANY)
            raise DatabaseError(self._describe(error)) from error

    async def finish_running(self) -> None:
        """Return when every account that is being looked up or waited for has been delivered."""
        for _ in range(CONNECTIONS - 1):
            await self._account_workers.acquire()
        for _ in range(CONNECTIONS - 1):
            self._account_workers.release()

    async def _run(self, query: Callable[[Connection], T], workers: asyncio.Semaphore) -> T:
        answer: asyncio.Future[T] = self._loop.create_future()
        call = _Call(query, self._backend, workers, answer)
        try:
            async with asyncio.timeout(TIMEOUT):
                await workers.acquire()
                self._calls.put(call)
                return await answer
        except TimeoutError:
            raise DatabaseError(f"no answer within {TIMEOUT:g} s") from None
        finally:
            call.abandon()  # does nothing to a call that has ended

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            answer: Any = None
            error: Exception | None = None
            try:
                if not self._seeded:
                    self._backend.prepare()
                with self._backend.engine.connect() as connection:
                    answer = call.execute(connection)
            except (SQLAlchemyError, OSError) as failure:
                error = DatabaseError(self._describe(failure))
            except Exception as failure:  # noqa: BLE001 - a bug: hand it to the caller
                error = failure
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                self._loop.call_soon_threadsafe(self._deliver, call, answer, error)

    def _deliver(self, call: _Call[Any], answer: Any, error: Exception | None) -> None:
        call.workers.release()
        if call.answer.done():
            return
        if error is None:
            call.answer.set_result(answer)
        else:
            call.answer.set_exception(error)

    def _describe(self, failure: Exception) -> str:
        cause = failure.orig if isinstance(failure, DBAPIError) else failure
        line = f"{type(cause).__name__}: {cause}".splitlines()[0]
        for secret in filter(None, self._secrets):
            line = line.replace(secret, "***")
        return line


class _Call(Generic[T]):
    """One query on its way through a worker."""

    def __init__(
        self,
        query: Callable[[Connection], T],
        backend: Backend,
        workers: asyncio.Semaphore,
        answer: asyncio.Future[T],
    ) -> None:
        self.workers = workers
        self.answer = answer
        self._query = query
        self._backend = backend
        self._lock = threading.Lock()  # never break off a connection that has gone to another call
        self._connection: Any = None
        self._abandoned = False

    def execute(self, connection: Connection) -> T:
        with self._lock:
            if self._abandoned:
                raise DatabaseError("given up before it began")
            self._connection = connection.connection.driver_connection
        try:
            return self._query(connection)
        finally:
            with self._lock:
                self._connection = None

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            if self._connection is not None:
                self._backend.interrupt(self._connection)


def _seed(connection: Connection, begin_alone: tuple[str, ...]) -> None:
    # Looking first lets a database that may only be read serve what it has.
    if inspect(connection).has_table(_accounts.name) and not _missing(connection):
        return
    for statement in begin_alone:
        connection.exec_driver_sql(statement)
    _metadata.create_all(connection)
    missing = _missing(connection)
    if missing:
        connection.execute(insert(_accounts), missing)
    connection.exec_driver_sql("COMMIT")


def _missing(connection: Connection) -> list[dict[str, str]]:
    present = set(connection.scalars(select(_accounts.c.id)))
    return [{"id": key, "name": name} for key, name in _SEED.items() if key not in present]

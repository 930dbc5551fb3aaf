"""The accounts, behind calls with a timeout.

Drivers block, and a dead database can block them for minutes. So a call runs on one of a few
worker threads, over a pool with as many connections, and its caller waits at most `TIMEOUT`, the
wait for a free worker included. A call that times out is also interrupted, so that its worker is
soon free again and dead calls do not pile up. One worker is reserved for the check, so that many
requests cannot make the database look dead, and a check of a dead database cannot delay requests.
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
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from accountservice.backends import Backend, open_backend

TIMEOUT = 1.0
"""Seconds that any caller waits for the database, /health included."""

CONNECTIONS = 5
"""Connections in the pool, and threads that use them; one of them is kept for the check."""

# Shorter than TIMEOUT: a query that waits for a lock ends by itself and keeps its connection.
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
    """The database did not respond, or with an error; the message contains no password."""

    def __init__(self, message: str, fault: str) -> None:
        super().__init__(message)
        self.fault = fault
        """Equal for equal faults: the SQLSTATE, or the name of the error."""


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
            # Daemons: a worker that hangs in a name lookup does not keep the process from exiting.
            threading.Thread(target=self._work, name="database", daemon=True).start()

    async def account(self, account_id: str) -> Account | None:
        """Return the account with this id, or None. Raises DatabaseError.

        An id that the database cannot store, such as one with a NUL, is that of no account.
        """

        def query(connection: Connection) -> Account | None:
            try:
                found = connection.execute(_ONE, {"id": account_id}).first()
            except DataError:
                return None
            return Account(found.id, found.name) if found else None

        return await self._run(query, self._account_workers)

    async def check(self) -> None:
        """Query any account; seed first, until that succeeds. Raises DatabaseError.

        It seeds again after a lost connection, which may lead to another, empty database.
        """

        def query(connection: Connection) -> None:
            if not self._seeded:
                _seed(connection, self._backend.begin_alone)
                self._seeded = True
            self._read_any(connection)

        await self._run(query, self._check_worker)

    def _read_any(self, connection: Connection) -> None:
        """Use the driver's own cursor: SQLAlchemy would double the time of the query."""
        driver = connection.connection
        try:
            with closing(driver.cursor()) as cursor:
                cursor.execute(_ANY)
                cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            if connection.dialect.is_disconnect(error, driver.dbapi_connection, None):
                # The pool's other connections are lost as well: SQLAlchemy drops them when it
                # sees the error itself.
                self._seeded = self._seeded and not self._backend.can_be_replaced
                with suppress(DBAPIError):
                    connection.exec_driver_sql(_ANY)
            raise self._error(error) from error

    async def finish_running(self) -> None:
        """Wait until all running queries for accounts have finished."""
        for _ in range(CONNECTIONS - 1):
            await self._account_workers.acquire()
        for _ in range(CONNECTIONS - 1):
            self._account_workers.release()

    async def _run(self, query: Callable[[Connection], T], workers: asyncio.Semaphore) -> T:
        result: asyncio.Future[T] = self._loop.create_future()
        call = _Call(query, self._backend, workers, result)
        try:
            async with asyncio.timeout(TIMEOUT):
                await workers.acquire()
                self._calls.put(call)
                return await result
        except TimeoutError:
            raise DatabaseError(f"timed out after {TIMEOUT:g} s", "timeout") from None
        finally:
            call.abandon()  # has no effect on a finished call

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            result: Any = None
            error: Exception | None = None
            is_connected = False
            try:
                if not self._seeded:
                    self._backend.prepare()
                with self._backend.engine.connect() as connection:
                    is_connected = True
                    result = call.execute(connection)
            except (SQLAlchemyError, OSError) as failure:
                lost = not is_connected or getattr(failure, "connection_invalidated", False)
                if lost and self._backend.can_be_replaced:
                    self._seeded = False
                error = self._error(failure)
            except Exception as failure:  # noqa: BLE001 - a bug, raised in the caller
                error = failure
            with suppress(RuntimeError):  # the loop has ended: nothing waits
                self._loop.call_soon_threadsafe(self._deliver, call, result, error)

    def _deliver(self, call: _Call[Any], result: Any, error: Exception | None) -> None:
        call.workers.release()
        if call.result.done():
            return
        if error is None:
            call.result.set_result(result)
        else:
            call.result.set_exception(error)

    def _error(self, failure: Exception) -> DatabaseError:
        cause = failure.orig if isinstance(failure, DBAPIError) else failure
        line = f"{type(cause).__name__}: {cause}".splitlines()[0]
        for secret in filter(None, self._secrets):
            line = line.replace(secret, "***")
        return DatabaseError(line, getattr(cause, "sqlstate", None) or type(cause).__name__)


class _Call(Generic[T]):
    """One query on its way through a worker."""

    def __init__(
        self,
        query: Callable[[Connection], T],
        backend: Backend,
        workers: asyncio.Semaphore,
        result: asyncio.Future[T],
    ) -> None:
        self.workers = workers
        self.result = result
        self._query = query
        self._backend = backend
        self._lock = threading.Lock()  # never interrupt a connection that another call uses now
        self._connection: Any = None
        self._abandoned = False

    def execute(self, connection: Connection) -> T:
        with self._lock:
            if self._abandoned:
                raise DatabaseError("cancelled before it started", "timeout")
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
    # Looking first keeps a read-only database usable.
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

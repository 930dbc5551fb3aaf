"""The two databases: how to connect to each, seed it exclusively, and interrupt a call."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool


class Backend(Protocol):
    """What the two databases do differently."""

    engine: Engine
    begin_alone: tuple[str, ...]
    """Statements that begin a transaction which no other replica can run at the same time."""
    can_be_replaced: bool
    """Whether a new connection may lead to another, empty database."""

    def prepare(self) -> None:
        """Create what must exist before the first connection. Raises OSError."""

    def interrupt(self, connection: Any) -> None:
        """Make the call that another thread runs on this driver connection fail soon."""


def open_backend(url: URL, *, connections: int, query_timeout: float) -> Backend:
    """Make the backend for this URL; nothing is connected yet.

    The database itself ends a query after `query_timeout` seconds, if it still can.
    """
    kind = Sqlite if url.get_backend_name() == "sqlite" else Postgresql
    return kind(url, connections, query_timeout)


class Sqlite:
    """A file that this process may lose at any time.

    An open descriptor still reads a removed file, and cached pages hide damage. So a connection is
    used only while the file is the same one and unchanged, and a new one examines the file.
    """

    begin_alone: tuple[str, ...] = ("BEGIN IMMEDIATE",)
    can_be_replaced = False  # a file that was removed must be missed

    def __init__(self, url: URL, connections: int, query_timeout: float) -> None:
        self._path = Path(url.database or "").absolute()
        # mode=rw: a removed file must be an error, not be created again, empty.
        existing = URL.create(
            "sqlite",
            database=f"file:{quote(str(self._path))}",
            query={"mode": "rw", "uri": "true"},
        )
        self.engine = _create_engine(existing, connections, {"timeout": query_timeout})
        event.listen(self.engine, "do_connect", self._note_file)
        event.listen(self.engine, "connect", self._examine)
        event.listen(self.engine, "checkout", self._refuse_other_file)

    def prepare(self) -> None:
        self._path.open("ab").close()

    def interrupt(self, connection: sqlite3.Connection) -> None:
        connection.interrupt()

    def _file(self) -> tuple[int, ...]:
        status = self._path.stat()
        return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns

    def _note_file(self, _dialect: Any, record: Any, _args: Any, _parameters: Any) -> None:
        record.info["file"] = self._file()

    def _examine(self, connection: sqlite3.Connection, _record: Any) -> None:
        try:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        except sqlite3.Error:
            connection.close()
            raise

    def _refuse_other_file(self, _connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["file"] != self._file():
            raise DisconnectionError("the file was removed, replaced or changed")


class Postgresql:
    """A server that may stop, freeze or refuse at any time."""

    # Any number, as long as all replicas use the same.
    begin_alone: tuple[str, ...] = ("BEGIN", "SELECT pg_advisory_xact_lock(6767)")
    can_be_replaced = True  # such as by a new pod with an empty volume

    def __init__(self, url: URL, connections: int, query_timeout: float) -> None:
        options = " ".join(url.normalized_query.get("options", ()))
        arguments = {
            "connect_timeout": 2,  # libpq's minimum, in seconds
            "client_encoding": "utf8",  # of a SQL_ASCII database psycopg would return bytes
            "options": f"{options} -c statement_timeout={query_timeout * 1000:.0f}".strip(),
        }
        self.engine = _create_engine(url, connections, arguments)

    def prepare(self) -> None:
        pass

    def interrupt(self, connection: Any) -> None:
        # A frozen server reacts neither to a query nor to its cancellation: close the connection.
        with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
            duplicate.shutdown(socket.SHUT_RDWR)


def _create_engine(url: URL, connections: int, arguments: dict[str, Any]) -> Engine:
    return create_engine(
        url,
        connect_args=arguments,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",  # one round trip for a query, not three
    )

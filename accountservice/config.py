"""The configuration: every `ACCOUNTSERVICE_*` variable, read once and verified."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

PORT_MAX = 65535
# Kubernetes sets ACCOUNTSERVICE_PORT=tcp://10.98.0.85:6767 for a Service named accountservice in
# every pod of its namespace ("service links").
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+")
_DRIVERS = {
    "sqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


class ConfigError(ValueError):
    """An invalid variable; the message names it and never contains a database URL."""


@dataclass(frozen=True)
class Config:
    """How to run one accountservice."""

    host: str
    """ACCOUNTSERVICE_HOST: the address both servers bind."""
    port: int
    """ACCOUNTSERVICE_PORT: HTTP; 0 takes a free port."""
    grpc_port: int | None
    """ACCOUNTSERVICE_GRPC_PORT: 0 takes a free port; None (`off`) means no gRPC."""
    database_url: URL | None
    """ACCOUNTSERVICE_DATABASE_URL: None means a temporary SQLite file, removed at exit."""
    testability: bool
    """ACCOUNTSERVICE_TESTABILITY: whether /testability/healthy/{state} exists."""


def read_config(environ: Mapping[str, str]) -> Config:
    """Read the configuration; an empty variable and a Kubernetes service link count as not set.

    Raises ConfigError.
    """

    def value(name: str, default: str) -> str:
        text = environ.get(f"ACCOUNTSERVICE_{name}", "")
        is_link = name.endswith("PORT") and _SERVICE_LINK.fullmatch(text)
        return default if is_link or not text else text

    grpc_port = value("GRPC_PORT", "6768")
    url = value("DATABASE_URL", "")
    testability = value("TESTABILITY", "0")
    if testability not in ("0", "1"):
        raise ConfigError(f"ACCOUNTSERVICE_TESTABILITY: {testability!r} must be 0 or 1")
    return Config(
        host=value("HOST", "127.0.0.1"),
        port=_port("ACCOUNTSERVICE_PORT", value("PORT", "6767")),
        grpc_port=None if grpc_port == "off" else _port("ACCOUNTSERVICE_GRPC_PORT", grpc_port),
        database_url=_database_url(url) if url else None,
        testability=testability == "1",
    )


def _port(name: str, text: str) -> int:
    short = len(text) <= len(str(PORT_MAX))
    if short and text.isascii() and text.isdigit() and int(text) <= PORT_MAX:
        return int(text)
    raise ConfigError(f"{name}: {text!r} is not a port number (0 to {PORT_MAX})")


def _database_url(text: str) -> URL:
    # The text may hold a password: no message repeats any part of it.
    name = "ACCOUNTSERVICE_DATABASE_URL"
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"{name}: not a database URL") from None
    if url.drivername not in _DRIVERS:
        raise ConfigError(f"{name}: must start with sqlite:/// or postgresql://")
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.drivername == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise ConfigError(f"{name}: sqlite needs a file (sqlite:///accounts.db)")
    if url.drivername == "sqlite" and url.query:
        raise ConfigError(f"{name}: sqlite:// takes no query parameters")
    return url

"""Run the service: `python -m accountservice`, configured by the environment.

ACCOUNTSERVICE_HOST          address to bind (127.0.0.1)
ACCOUNTSERVICE_PORT          HTTP port (6767; 0 takes a free one)
ACCOUNTSERVICE_GRPC_PORT     gRPC port (6768; 0 takes a free one; off: no gRPC)
ACCOUNTSERVICE_DATABASE_URL  sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME
                             (a temporary SQLite file, removed at exit)
ACCOUNTSERVICE_TESTABILITY   1 adds /testability/healthy/{state} (0)

The addresses in use are logged to stderr, one line each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator

import uvicorn
from sqlalchemy import URL

from accountservice.config import Config, ConfigError, read_config
from accountservice.database import Database
from accountservice.grpc_server import GrpcServer
from accountservice.health import Health
from accountservice.http_server import create_app

STOP_LIMIT = 5.0
"""Seconds from SIGTERM to the end at most (what Dapr's health server takes)."""

# Seconds during which pollers and watchers can see NOT_SERVING before the ports close.
_NOTICE = 0.5

_log = logging.getLogger(__name__)


class _HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # _serve decides in which order things stop


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code is 1 if the service could not start."""
    if arguments:
        wants_help = arguments[0] in ("-h", "--help")
        print(__doc__, file=sys.stdout if wants_help else sys.stderr)
        return 0 if wants_help else 1
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s accountservice: %(message)s"
    )
    try:
        config = read_config(os.environ)
        with _database_url(config) as url:
            return asyncio.run(_serve(config, url))
    except (ConfigError, OSError) as error:
        _log.error("%s", error)
        return 1


@contextlib.contextmanager
def _database_url(config: Config) -> Iterator[URL]:
    if config.database_url is not None:
        yield config.database_url
        return
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:  # a container with a read-only root: this is still writable
        folder = "/dev/shm"  # noqa: S108 - the folder made below is private
    with tempfile.TemporaryDirectory(
        prefix="accountservice-", dir=folder, ignore_cleanup_errors=True
    ) as directory:
        yield URL.create("sqlite", database=f"{directory}/accounts.db")


async def _serve(config: Config, url: URL) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    database = Database(url)
    health = Health(database)
    listener = _listen(config.host, config.port)
    app = create_app(database, health, testability=config.testability)
    http = _HttpServer(
        uvicorn.Config(app, lifespan="off", log_config=None, log_level="warning", access_log=False)
    )
    grpc = None
    if config.grpc_port is not None:
        grpc = GrpcServer(config.host, config.grpc_port, database, health)

    http_task = asyncio.create_task(http.serve(sockets=[listener]))
    tasks = [http_task, asyncio.create_task(health.monitor())]
    _log.info("database %s", url.set(password=None, query={}))
    _log.info("listening on http://%s", _address(listener))
    if grpc is not None:
        tasks.append(asyncio.create_task(grpc.serve()))
        _log.info("listening on grpc://%s", grpc.address)
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())  # only a bug ends one of them

    await stop.wait()
    _log.info("stopping")
    health.server.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_LIMIT):
            await asyncio.sleep(_NOTICE)
            await database.finish_running()
            http.should_exit = True
            if grpc is not None:
                await grpc.stop()
            await asyncio.wait([http_task])
    for task in tasks:
        task.cancel()
    bugs = [
        outcome
        for outcome in await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(outcome, Exception)
    ]
    for bug in bugs:
        _log.error("internal error: %r", bug)
    return 1 if bugs else 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # socket.create_server leaves the protocol at 0, and asyncio then leaves Nagle's algorithm on,
    # which delays a response by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(f"cannot bind HTTP port {port} on {host}: {error.strerror}") from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

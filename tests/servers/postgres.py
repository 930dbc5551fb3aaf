"""A throw-away PostgreSQL cluster that tests may stop, kill, freeze and fill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.daemons import free_port
from tests.support import poll, stat_fields

PASSWORD = "p%ss/w:rd@"
MAX_CONNECTIONS = 12


def find_binaries() -> Path | None:
    """Find the folder with initdb and postgres, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Cluster:
    """One PostgreSQL server on a free port, with the role `accounts` and `PASSWORD`."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self.binaries = binaries
        self._directory = directory
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(directory, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._run("initdb", "--auth=trust", "--username=admin", "--no-sync", "-D", str(self.data))
        hba = "host all admin 127.0.0.1/32 trust\nhost all accounts 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(hba)
        self.start()
        with self.connect() as admin:
            admin.execute(f"CREATE ROLE accounts LOGIN PASSWORD '{PASSWORD}'")

    @property
    def data(self) -> Path:
        return self._directory / "data"

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self.binaries / name), *arguments]
        subprocess.run(
            command, user=self._user, cwd=self._directory, check=True, capture_output=True
        )

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Connect as administrator."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="admin",
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            **options,
        )

    @contextmanager
    def all_connections_taken(
        self, *, but: int = 0, before_each: Callable[[], object] = bool
    ) -> Iterator[None]:
        """Hold every connection there is, but some that are held already.

        `before_each` is called before each, and may end others.
        """
        with ExitStack() as stack:
            held = but

            def take_all() -> bool:
                nonlocal held
                before_each()
                with suppress(psycopg.OperationalError):  # others may be quicker, or not yet gone
                    stack.enter_context(closing(self.connect()))
                    held += 1
                return held == MAX_CONNECTIONS

            poll(take_all, timeout=20, what="every connection taken")
            yield

    def create_database(self, name: str) -> str:
        """Make an empty database owned by `accounts`, and return its URL."""
        with self.connect() as admin:
            admin.execute(f"CREATE DATABASE {name} OWNER accounts")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://accounts:p%25ss%2Fw%3Ard%40@127.0.0.1:{self.port}/{name}"

    def start(self, *, accepts: bool = True, **changed: str) -> None:
        """Start, on the port of the last time, and return when connections are accepted.

        With `accepts=False` return as soon as the port is listened on. `changed` are settings.
        """
        if not self.port:
            self.port = free_port()
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": MAX_CONNECTIONS,
            "superuser_reserved_connections": 0,
            "max_wal_senders": 0,
            "dynamic_shared_memory_type": "mmap",  # in its own directory, not in /dev/shm
            **changed,
        }
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self.binaries / "postgres"),
                    *("-D", str(self.data)),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                user=self._user,
                cwd=self._directory,
                stdout=log,
                stderr=log,
            )
        ready = self._accepts if accepts else self._listens
        poll(ready, timeout=60, what="PostgreSQL accepts connections")

    def _listens(self) -> bool:
        self._assert_running()
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False

    def _accepts(self) -> bool:
        self._assert_running()
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def _assert_running(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, (self._directory / "log").read_text()

    def stop(self) -> None:
        """Stop as an administrator would, without waiting for clients."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL every process of the cluster."""
        assert self._process is not None
        processes = self._freeze()
        for process in reversed(processes):  # the server last: it keeps the others' numbers taken
            os.kill(process, signal.SIGKILL)
        self._process.wait(timeout=60)
        poll(lambda: {_state(p) for p in processes} <= {"", "Z"}, timeout=10, what="all killed")

    def pause(self) -> None:
        """SIGSTOP every process of the cluster."""
        for process in self._freeze():
            os.kill(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused cluster go on."""
        for process in reversed(self._freeze()):
            os.kill(process, signal.SIGCONT)

    def _freeze(self) -> list[int]:
        """Stop the server process, so that it starts no other; return it and those it started."""
        assert self._process is not None
        server = self._process.pid
        os.kill(server, signal.SIGSTOP)
        poll(lambda: _state(server) == "T", timeout=10, what="the server has stopped")
        children = Path(f"/proc/{server}/task/{server}/children").read_text()
        return [server, *map(int, children.split())]

    def end(self) -> None:
        """End it in whatever state it is, and in order: a kill leaves shared memory behind."""
        if self._process is not None and self._process.poll() is None:
            self.resume()
            self.stop()


def _state(process: int) -> str:
    """Return the state letter of a process, nothing if there is none."""
    try:
        return stat_fields(Path(f"/proc/{process}/stat"))[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@contextmanager
def running_cluster(binaries: Path) -> Iterator[Cluster]:
    """Make and start a cluster; afterwards neither a process nor a file of it is left."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as directory:
        cluster = Cluster(binaries, Path(directory))
        try:
            yield cluster
        finally:
            cluster.end()

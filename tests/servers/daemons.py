"""Real servers as processes: unprivileged, on free ports, with temporary data."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypedDict

from tests.support import LOADED, poll, require, stat_fields

# Below the ephemeral ports of the kernel, so that a free port stays free.
_PORTS = range(20_000, 32_000)
# Each worker of pytest-xdist has its own ports and uses each one once.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_OWN = _PORTS[_WORKER::_WORKERS]
_untaken = iter(random.sample(_OWN, len(_OWN)))


def free_port() -> int:
    """Return an unused port of loopback, which stays unused while its server is down."""
    while True:
        port = next(_untaken)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def program(name: str, *, folder: str | None = None) -> str:
    """Return the path of a server program; skip the test if it is not installed."""
    found = shutil.which(name, path=folder) if folder else shutil.which(name)
    require(found, f"{name} is not installed")
    return str(found)


class Daemon:
    """One server process and its directory."""

    def __init__(
        self, command: Sequence[str], directory: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.directory = directory
        self.environment = {**os.environ, **(env or {})}
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                **as_owner_of(self.directory),
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def listens(self, port: int) -> bool:
        """Return whether it listens on a port of loopback; fail if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.log
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    def await_port(self, port: int, timeout: float = 60) -> None:
        poll(lambda: self.listens(port), timeout=timeout, what=f"{self._command[0]} listens")

    def pause(self) -> None:
        """Stop all threads; on a busy machine, one may go on for a while after the signal."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self._process.pid}/task")
        poll(lambda: all(map(_is_stopped, tasks.iterdir())), timeout=5, what="it has stopped")

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop with SIGTERM, then with SIGKILL, and wait for its children; safe in any state."""
        if self._process is None:
            return
        group = self._process.pid
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(timeout=60 * LOADED)
            # A child may listen for a moment longer.
            poll(lambda: not _is_running(group), timeout=10, what="its children ended")
        except (subprocess.TimeoutExpired, AssertionError):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
            self._process.wait()
        self._process = None


class Owner(TypedDict, total=False):
    """The user and groups with which `subprocess` runs a program."""

    user: int
    group: int
    extra_groups: list[int]


def as_owner_of(directory: Path) -> Owner:
    """Return the user to run as: the owner of a directory, empty if that is us."""
    status = directory.stat()
    if status.st_uid == os.geteuid():
        return {}
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


@contextmanager
def data_directory(user: str) -> Iterator[Path]:
    """Make a directory with a short name; `user` owns it if we are root."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() == 0:
            shutil.chown(name, user, pwd.getpwnam(user).pw_gid)
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def running_daemon(
    user: str,
    *command: str,
    port: int | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Iterator[Daemon]:
    """Run a server that needs no data; wait until it listens, if `port` is its port on loopback.

    `{directory}` in the command and in `files` is its directory; `files` are put there, by name.
    """
    with data_directory(user) as directory:
        place = str(directory)
        for name, content in (files or {}).items():
            path = directory / name
            path.write_bytes(content.replace(b"{directory}", place.encode()))
            path.chmod(0o644)  # secrets in it are thrown away
            if os.geteuid() == 0:
                shutil.chown(path, user)
        server = Daemon([word.replace("{directory}", place) for word in command], directory)
        server.start()
        try:
            if port is not None:
                server.await_port(port)
            yield server
        finally:
            server.stop()


def _is_running(group: int) -> bool:
    """Return whether a process of a process group still runs; one that is not reaped does not."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it may just end
            state, _, of_group = stat_fields(status)[:3]
            if int(of_group) == group and state not in "ZX":
                return True
    return False


def _is_stopped(task: Path) -> bool:
    """Return whether a thread, given by its folder in /proc, is in the state T."""
    with suppress(OSError):  # it may just end
        return stat_fields(task / "stat")[0] == "T"
    return True

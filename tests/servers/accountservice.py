"""A real accountservice process and the requests that tests send to it."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx

from tests.support import LOADED, poll
from tests.support.forms import Fork, Zygote

UP = (200, '{"status":"UP"}')
DOWN = (503, '{"status":"Database unaccessible"}')

# The service promises a response within 1 s, which a test with the mark `timing` measures.
BOUND = 1.0 * LOADED


class Service:
    """A running accountservice; `log` is the file that its stdout and stderr go to."""

    def __init__(self, process: Fork, log: Path, *, grpc: bool) -> None:
        self.process = process
        self._log = log
        last = "grpc" if grpc else "http"
        poll(lambda: self._listening(last), timeout=60, what="addresses logged")
        self.url = self._listening("http")
        self.grpc = self._listening("grpc")

    def _listening(self, scheme: str) -> str:
        assert self.process.poll() is None, self.log
        found = re.search(
            rf"^.* INFO accountservice: listening on ({scheme}://\S+)$", self.log, re.MULTILINE
        )
        return found[1] if found else ""

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body; fail if the response takes too long."""
        response = httpx.get(self.url + path, timeout=BOUND, trust_env=False)
        if path == "/health":
            assert response.headers["content-type"] == "application/json"
        return response.status_code, response.text

    def await_health(self, expected: tuple[int, str], *, timeout: float = 5) -> None:
        """Poll: a request during a query of another one shares the older result."""
        poll(lambda: self.get("/health") == expected, timeout=timeout, what=f"/health {expected}")

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60 * LOADED)


@cache
def _zygote() -> Zygote:
    """Return the zygote of all services; a start takes half a second of CPU."""
    argv = (sys.executable, "-W", "error", "-m", "tests.programs.zygote", "accountservice")
    zygote = Zygote(argv)
    atexit.register(zygote.close)
    return zygote


@contextmanager
def running_service(log: Path, *, grpc: bool = False, **environment: str) -> Iterator[Service]:
    """Start accountservice on free ports; keywords are ACCOUNTSERVICE_ variables.

    At the end of the block the process is stopped; it must exit with 0 and without a traceback.
    """
    with log.open("ab") as output:
        process = _zygote().start(
            [],
            env={
                **os.environ,
                "ACCOUNTSERVICE_PORT": "0",
                "ACCOUNTSERVICE_GRPC_PORT": "0" if grpc else "off",
                **{f"ACCOUNTSERVICE_{name}": value for name, value in environment.items()},
            },
            stdout=output.fileno(),
            stderr=output.fileno(),
        )
    try:
        service = Service(process, log, grpc=grpc)
        yield service
        if process.returncode is None:
            assert service.stop() == 0, service.log
        assert "Traceback" not in service.log, service.log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()

"""Measure throughput and latency of accountservice beside a bare Starlette route.

    scripts/bench accountservice [--seconds S] [--connections N] [--rounds N]

accountservice runs on SQLite and on PostgreSQL; the load generator is wrk. The routes take turns
round by round, so that a slow period of the machine affects all of them; ratios compare within a
round. The exit code is 1 if /health is below a third of the bare route, or if a request fails.

At one connection /health has 0.42 of the bare route on PostgreSQL and 0.52 on SQLite. The floor of
PostgreSQL is 0.54: one query by the driver on a thread, without a pool and without a limit. On the
event loop itself it would be 0.63, and a hanging database would stop all other requests.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)  # this file's own folder would hide the package of its name

from scripts.benchmarks.usage import Progress, at_least, need, parser  # noqa: E402
from tests.servers.accountservice import UP, running_service  # noqa: E402
from tests.servers.postgres import find_binaries, running_cluster  # noqa: E402

REQUIRED = 1 / 3
"""Throughput of /health / throughput of the bare route."""


@dataclass(frozen=True)
class Load:
    """The result of one run of wrk: requests per second, and latencies in its notation."""

    rate: float
    half: str
    most: str


def measure(url: str, connections: int, seconds: int) -> Load:
    """Put one URL under load. Exits if a request fails or its status is not 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in report or "Socket errors" in report:
        sys.exit(f"{url} failed under load:\n{report}")

    def figure(name: str) -> str:
        found = re.search(rf"^\s*{name}\s+(\S+)", report, re.MULTILINE)
        assert found is not None, report
        return found[1]

    return Load(float(figure("Requests/sec:")), figure("50%"), figure("99%"))


def serve_bare() -> None:
    """Serve one route that does nothing, with the server settings of accountservice."""
    import uvicorn  # noqa: PLC0415 - only this child process needs them
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import JSONResponse  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def bare(_: Request) -> JSONResponse:
        return JSONResponse({"status": "UP"})

    listener = socket.socket(proto=socket.IPPROTO_TCP)  # the protocol: see accountservice
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/bare", bare)])
    settings = uvicorn.Config(
        app, lifespan="off", log_config=None, log_level="warning", access_log=False
    )
    uvicorn.Server(settings).run(sockets=[listener])


@contextmanager
def running_bare() -> Iterator[str]:
    with subprocess.Popen([sys.executable, __file__, "serve-bare"], stdout=subprocess.PIPE) as bare:
        assert bare.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(bare.stdout.readline())}/bare"
        finally:
            bare.kill()


def main() -> int:
    """Run the benchmark and print its table."""
    made = parser(__doc__, "accountservice")
    made.add_argument("--seconds", type=at_least(1), default=5, help="of each measurement")
    made.add_argument("--connections", type=at_least(1), default=32)
    made.add_argument("--rounds", type=at_least(1), default=3)
    options = made.parse_args()
    binaries = find_binaries()
    # PostgreSQL's programs are not in the PATH.
    need({"wrk": "wrk"} | ({} if binaries else {"initdb": "postgresql"}))
    assert binaries

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cluster = stack.enter_context(running_cluster(binaries))
        databases = {
            "SQLite": f"sqlite:///{folder}/accounts.db",
            "PostgreSQL": cluster.create_database("accounts"),
        }
        urls = {"bare Starlette route": stack.enter_context(running_bare())}
        for name, database in databases.items():
            log = folder / name
            service = stack.enter_context(running_service(log, DATABASE_URL=database))
            service.await_health(UP, timeout=20)
            urls[f"/health, {name}"] = f"{service.url}/health"
            urls[f"/accounts/10000, {name}"] = f"{service.url}/accounts/10000"

        loads: dict[str, list[Load]] = {name: [] for name in urls}
        progress = Progress("measurement", options.rounds * len(urls))
        for number in range(options.rounds):
            for index, (name, url) in enumerate(urls.items()):
                progress(number * len(urls) + index)
                loads[name].append(measure(url, options.connections, options.seconds))

    print(f"{'':28} {'requests/s':>10} {'/ bare':>7} {'50 %':>9} {'99 %':>9}")
    bare = [load.rate for load in loads["bare Starlette route"]]
    enough = True
    for name, rounds in loads.items():
        ratio = median(load.rate / base for load, base in zip(rounds, bare, strict=True))
        middle = sorted(rounds, key=lambda load: load.rate)[len(rounds) // 2]
        figures = f"{middle.rate:10.0f} {ratio:7.2f} {middle.half:>9} {middle.most:>9}"
        print(f"{name:28} {figures}")
        enough &= ratio >= REQUIRED or "/health" not in name
    if not enough:
        print(f"/health is under {REQUIRED:.2f} of the bare route")
    return 0 if enough else 1


if __name__ == "__main__":
    if sys.argv[1:] == ["serve-bare"]:
        serve_bare()
    else:
        sys.exit(main())

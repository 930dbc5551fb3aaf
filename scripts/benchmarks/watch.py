"""Measure the watching of many endpoints in one process: CPU, memory, threads, delays.

    scripts/bench watch [--endpoints N] [--interval S] [--seconds S] [--hung N] [--limit PERCENT]
                        [--program [PATH]]

Another process serves the endpoints, each on a port of its own. With --hung, N of them accept a
connection and never respond. The exit code is 1 if the CPU time exceeds --limit percent of one
core, or if an endpoint that responds was reported as unhealthy. With --program, `PATH watch -v` is
measured instead of `awatch()`, with a line for every probe; PATH defaults to the executable.

The floor is the cost of as many requests in a plain loop: over bare sockets, and by h11 without any
socket. Both are part of every probe.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from argparse import SUPPRESS
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import h11

from healthchecker._watch.awatch import awatch
from scripts.benchmarks.usage import Progress, at_least, parser, seconds

_EXECUTABLE = f"dist/{os.uname().machine}/healthchecker"
_LINE = re.compile(r"[^:]+:[^:]+:\S+ (?:probe )?(\w+): http://127\.0\.0\.1:(\d+)/")
_HEADERS = [("User-Agent", "b"), ("Accept", "*/*"), ("Connection", "close")]
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class _Endpoint(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(_RESPONSE)
        self.transport.close()


class _HungEndpoint(asyncio.Protocol):
    pass


async def serve(endpoints: int, hung: int) -> None:
    """Serve until standard input ends; the first line of output is the ports."""
    loop = asyncio.get_running_loop()
    ports = []
    for index in range(endpoints):
        protocol = _HungEndpoint if index < hung else _Endpoint
        server = await loop.create_server(protocol, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@dataclass
class Figures:
    """Counts between the start and the end of the measurement."""

    reports: Counter[bool] = field(default_factory=Counter)
    arrivals: dict[int, list[float]] = field(default_factory=dict)
    threads: int = 0

    def delays(self, interval: float) -> list[float]:
        """Return how late each report came, against the earliest beat of its endpoint."""
        late = []
        for times in self.arrivals.values():
            offsets = [
                (one - times[0]) - round((one - times[0]) / interval) * interval for one in times
            ]
            late += [offset - min(offsets) for offset in offsets]
        return sorted(late)


async def watch_all(
    ports: list[int], hung: set[int], interval: float, seconds: float
) -> tuple[Figures, float]:
    """Watch them all; count the reports of those that respond. Return the counts and CPU time."""
    figures = Figures()
    measuring = False

    async def follow(port: int) -> None:
        async with awatch(f"http://127.0.0.1:{port}/health", interval=interval) as reports:
            async for report in reports:
                if measuring and port not in hung:
                    figures.reports[bool(report)] += 1
                    figures.arrivals.setdefault(port, []).append(time.monotonic())

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(follow(port)) for port in ports]
        await asyncio.sleep(1.0 + 2 * interval)  # every endpoint's first observations
        measuring = True
        cpu = time.process_time()
        end = time.monotonic() + seconds
        progress = Progress("second", int(seconds))
        while time.monotonic() < end:
            progress(int(time.monotonic() - end + seconds))
            await asyncio.sleep(min(1.0, seconds))
            figures.threads = max(figures.threads, threading.active_count())
        cpu = time.process_time() - cpu
        for task in tasks:
            task.cancel()
    return figures, cpu


def watch_all_by(
    program: str, ports: list[int], hung: set[int], interval: float, seconds: float
) -> tuple[Figures, float, float]:
    """Do the same with the command; return also its peak memory in MiB."""
    figures = Figures()
    urls = [f"http://127.0.0.1:{port}/health" for port in ports]
    command = [program, "watch", "-v", f"--interval={interval}", *urls]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        begin = time.monotonic() + 1.0 + 2 * interval
        cpu_at_begin = 0.0
        progress = Progress("second", int(seconds))
        for line in process.stdout:
            now = time.monotonic()
            if now < begin:
                continue
            cpu, threads, memory = _state_of(process.pid)
            cpu_at_begin = cpu_at_begin or cpu
            if now >= begin + seconds:
                break
            progress(int(now - begin))
            figures.threads = max(figures.threads, threads)
            seen = _LINE.match(line)
            if seen and (port := int(seen[2])) not in hung:
                figures.reports[seen[1] == "healthy"] += 1
                figures.arrivals.setdefault(port, []).append(now)
        process.terminate()
    return figures, cpu - cpu_at_begin, memory


def _state_of(pid: int) -> tuple[float, int, float]:
    """Return the CPU seconds of a process, its threads, and its peak memory in MiB."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    state = dict(line.split(":\t", 1) for line in lines)
    cpu = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
    return cpu, int(state["Threads"]), int(state["VmHWM"].split()[0]) / 1024


def request_by_socket(port: int) -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        while connection.recv(4096):
            pass


def request_in_memory(port: int) -> None:
    connection = h11.Connection(h11.CLIENT)
    headers = [*_HEADERS, ("Host", f"127.0.0.1:{port}")]
    connection.send(h11.Request(method="GET", target="/health", headers=headers))
    connection.send(h11.EndOfMessage())
    connection.receive_data(_RESPONSE)
    while not isinstance(connection.next_event(), h11.EndOfMessage):
        pass


def cpu_of(request: Callable[[int], None], ports: list[int]) -> float:
    """Return the median seconds of CPU time for one request."""
    times = []
    for port in ports:
        start = time.thread_time()
        request(port)
        times.append(time.thread_time() - start)
    return median(times)


def main() -> int:
    made = parser(__doc__, "watch")
    made.add_argument("--endpoints", type=at_least(1), default=1000)
    made.add_argument("--interval", type=seconds, default=5.0)
    made.add_argument("--seconds", type=seconds, default=60.0)
    made.add_argument("--hung", type=at_least(0), default=0)
    made.add_argument("--limit", type=float, default=10.0)
    made.add_argument("--program", nargs="?", const=_EXECUTABLE)
    made.add_argument("--serve", action="store_true", help=SUPPRESS)
    args = made.parse_args()
    if args.hung >= args.endpoints:
        made.error(f"--hung {args.hung}: at least one of {args.endpoints} endpoints must respond")
    if args.program and not shutil.which(args.program):
        made.error(f"--program: there is no executable {args.program}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.serve:
        asyncio.run(serve(args.endpoints, args.hung))
        return 0
    command = [
        *(sys.executable, "-m", "scripts.benchmarks.watch"),
        "--serve",
        "--endpoints",
        str(args.endpoints),
        "--hung",
        str(args.hung),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        ports = json.loads(server.stdout.readline())
        given = (ports, set(ports[: args.hung]), args.interval, args.seconds)
        if args.program:
            figures, cpu, memory = watch_all_by(args.program, *given)
        else:
            figures, cpu = asyncio.run(watch_all(*given))
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rate = 100 * (args.endpoints - args.hung) / args.interval  # percent of a core per second
        floors = [
            rate * cpu_of(request, ports[args.hung :])
            for request in (request_by_socket, request_in_memory)
        ]
        server.communicate()
    percent = 100 * cpu / args.seconds
    observed = figures.reports.total()
    expected = (args.endpoints - args.hung) * args.seconds / args.interval
    delays = figures.delays(args.interval)
    print(f"endpoints            {args.endpoints}, interval {args.interval:g} s, {args.hung} hung")
    print(f"reports              {observed} in {args.seconds:g} s, {expected:.0f} expected")
    print(f"not healthy          {figures.reports[False]}")
    print(f"CPU                  {percent:.1f} % of a core, {1000 * cpu / observed:.2f} ms each")
    print(f"floor                {floors[0]:.1f} % sockets + {floors[1]:.1f} % h11")
    print(f"peak resident memory {memory:.0f} MiB")
    print(f"threads              {figures.threads}")
    print(
        f"largest delay        {1000 * delays[-1]:.0f} ms, median"
        f" {1000 * delays[len(delays) // 2]:.0f} ms"
    )
    good = figures.reports[False] == 0 and abs(observed - expected) <= args.endpoints
    return 0 if good and percent <= args.limit else 1


if __name__ == "__main__":
    sys.exit(main())

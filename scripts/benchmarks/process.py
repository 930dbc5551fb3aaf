"""What one check costs as a whole process: wall and CPU time, peak memory, page faults, size.

    scripts/bench process [--runs N] [--limits]

The programs check the same healthy server and take turns, run by run. Ratios are of the medians,
with those of the first and third quartile. --limits ends with exit code 1 where dist/healthchecker
does not keep the limits of the project.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import runpy
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

_HTTP = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n" + b'{"status":"UP"}'
# The gRPC server that the build warms up with; binary/ is no package to import from.
answer_grpc = runpy.run_path("binary/heap/build/servers.py")["answer_grpc"]

# Started afresh for each run, and small: the kernel counts the memory of the process that starts a
# program as the program's. Prints wall seconds, CPU seconds, KiB, page faults and the wait status.
_LAUNCHER = """
import os, sys, time
null = os.open(os.devnull, os.O_RDWR)
begin = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(2)])
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - begin
print([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, usage.ru_minflt, status])
"""


@dataclass(frozen=True, slots=True)
class Run:
    wall: float
    cpu: float
    rss: int
    faults: int


def serve(listener: socket.socket, kind: str, chain: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if kind == "https":
        context.load_cert_chain(chain)

    def answer(peer: socket.socket) -> None:
        with peer:
            try:
                if kind == "grpc":
                    answer_grpc(peer)
                    return
                connection = (
                    context.wrap_socket(peer, server_side=True) if kind == "https" else peer
                )
                with connection:
                    connection.recv(65536)
                    if kind == "slow":
                        threading.Event().wait(0.1)  # what the service needs for its answer
                    connection.sendall(_HTTP)
            except OSError:
                return

    while True:
        peer, _ = listener.accept()
        if kind == "slow":
            threading.Thread(target=answer, args=(peer,), daemon=True).start()
        else:
            answer(peer)


@contextmanager
def server(kind: str, chain: str = "") -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=serve, args=(listener, kind, chain), daemon=True
        )
        process.start()
        yield listener.getsockname()[1]
        process.kill()
        process.join()


def start(argv: list[str]) -> Run:
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _LAUNCHER, *argv], capture_output=True, text=True, check=True
    )
    wall, cpu, rss, faults, status = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"{argv} called a healthy server unhealthy: {done.stderr}")
    return Run(wall, cpu, rss, faults)


def quartiles(values: list[float]) -> tuple[float, float, float]:
    first, median, third = statistics.quantiles(values, n=4)
    return first, median, third


def take_turns(programs: dict[str, list[str]], runs: int) -> dict[str, list[Run]]:
    taken: dict[str, list[Run]] = {name: [] for name in programs}
    for _ in range(runs):
        for name, argv in programs.items():
            taken[name].append(start(argv))
    return taken


def ratio(ours: list[Run], theirs: list[Run], figure: str) -> tuple[float, str]:
    """Return the ratio of the medians, and it with its spread over the pairs of runs."""
    pairs = [
        getattr(one, figure) / getattr(other, figure)
        for one, other in zip(ours, theirs, strict=True)
    ]
    low, _, high = quartiles(pairs)
    medians = [statistics.median(getattr(run, figure) for run in runs) for runs in (ours, theirs)]
    value = medians[0] / medians[1]
    return value, f"{value:.2f} ({low:.2f} to {high:.2f})"


def go_helper(directory: Path) -> list[str]:
    if not shutil.which("go"):
        return []
    source = Path(__file__).with_name("gohelper.go")
    helper = directory / "gohelper"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(directory / "cache")}
    subprocess.run(["go", "build", "-o", str(helper), str(source)], check=True, env=environment)
    return [str(helper)]


def found(name: str) -> str:
    return shutil.which(name) or ""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--limits", action="store_true")
    options = parser.parse_args()
    ours, cold = "dist/healthchecker", "dist/healthchecker-cold"
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            directory / "chain.pem"
        )
        chain, ca = str(directory / "chain.pem"), str(directory / "ca.pem")
        with (
            server("http") as http,
            server("https", chain) as https,
            server("grpc") as grpc,
            server("slow") as slow,
        ):
            url, tls_url = f"http://127.0.0.1:{http}/health", f"https://127.0.0.1:{https}/health"
            programs = {
                "healthchecker": [ours, "--port", str(http)],
                "healthchecker-cold": [cold, "--port", str(http)],
                "curl": [found("curl"), "-fsS", "-o", os.devnull, url],
                "GNU wget": [found("wget"), "-q", "-O", os.devnull, url],
                "busybox wget": [found("busybox"), "wget", "-q", "-O", os.devnull, url],
                "Go helper": [*(go_helper(directory) or [""]), f"-port={http}"],
                "healthchecker gRPC": [ours, f"grpc://127.0.0.1:{grpc}"],
                "healthchecker https": [ours, "--cacert", ca, tls_url],
                "curl https": [found("curl"), "-fsS", "--cacert", ca, "-o", os.devnull, tls_url],
            }
            programs = {name: argv for name, argv in programs.items() if argv[0]}
            size = {name: Path(argv[0]).stat().st_size for name, argv in programs.items()}
            taken = take_turns(programs, options.runs)
            fifty = start([ours, *[f"http://127.0.0.1:{slow}/"] * 50])
    print(f"{'':20}{'wall ms':>22}{'CPU ms':>8}{'peak MiB':>10}{'faults':>8}{'size MB':>9}")
    for name, runs in taken.items():
        low, median, high = (1000 * value for value in quartiles([run.wall for run in runs]))
        print(
            f"{name:20}{median:8.2f} ({low:.2f} to {high:.2f})"
            f"{1000 * statistics.mean(run.cpu for run in runs):8.2f}"
            f"{max(run.rss for run in runs) / 1024:10.1f}"
            f"{statistics.median(run.faults for run in runs):8.0f}{size[name] / 1e6:9.1f}"
        )
    for peer in ("healthchecker-cold", "curl", "GNU wget", "busybox wget", "Go helper"):
        if peer in taken:
            _, wall = ratio(taken["healthchecker"], taken[peer], "wall")
            _, cpu = ratio(taken["healthchecker"], taken[peer], "cpu")
            print(f"healthchecker / {peer:20} wall {wall:24} CPU {cpu}")
    print(f"50 targets of 100 ms each: {1000 * fifty.wall:.0f} ms")
    return judge(taken, size["healthchecker"], fifty) if options.limits else 0


def judge(taken: dict[str, list[Run]], size: int, fifty: Run) -> int:
    ours = taken["healthchecker"]
    wall, wall_text = ratio(ours, taken["curl"], "wall")
    rss = max(run.rss for run in ours) / 1024
    cpu = statistics.mean(run.cpu for run in ours) / statistics.mean(r.cpu for r in taken["curl"])
    kept = {
        f"wall / curl {wall_text} <= 0.75": wall <= 0.75,
        f"CPU / curl {cpu:.2f} <= 0.75": cpu <= 0.75,
        f"peak {rss:.1f} MiB <= 16": rss <= 16,
        f"size {size / 1e6:.1f} MB <= 20": size <= 20e6,
        f"50 targets {1000 * fifty.wall:.0f} ms <= 300": fifty.wall <= 0.3,
    }
    if "Go helper" in taken:
        wall, wall_text = ratio(ours, taken["Go helper"], "wall")
        kept[f"wall / Go helper {wall_text} <= 1.8"] = wall <= 1.8
    for text, is_kept in kept.items():
        print(f"{'kept    ' if is_kept else 'NOT KEPT'}  {text}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

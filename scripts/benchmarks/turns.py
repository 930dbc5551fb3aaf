"""Whole processes, started in turns: their costs, and ratios, which a busy machine spares."""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from scripts.benchmarks.usage import Progress

# A new process for each run. Prints wall seconds, CPU seconds, page faults and the wait status.
_LAUNCHER = """
import os, sys, time
null = os.open(os.devnull, os.O_RDWR)
begin = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, null, fd) for fd in range(2)])
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - begin
print([wall, usage.ru_utime + usage.ru_stime, usage.ru_minflt, status])
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A command that checks a server."""

    name: str
    kind: str
    """The kind of its target; only programs of one kind can be compared."""
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    """The expected exit code."""

    @property
    def size(self) -> int:
        """Bytes of the executable and of the libraries that it loads, as ldd(1) lists them."""
        done = subprocess.run(["ldd", self.argv[0]], capture_output=True, text=True, check=False)
        files = [self.argv[0], *re.findall(r"(/\S+) \(0x", done.stdout)]
        return sum(Path(file).stat().st_size for file in files)


@dataclass(frozen=True, slots=True)
class Run:
    """The costs of one process: seconds, seconds and a count."""

    wall: float
    cpu: float
    faults: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of two medians, and the quartiles of the ratios of the pairs of runs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Taken:
    """All runs of one program."""

    program: Program
    runs: list[Run] = field(default_factory=list)

    def quartiles(self, figure: str) -> tuple[float, float, float]:
        low, median, high = statistics.quantiles(self._values(figure), n=4)
        return low, median, high

    def median(self, figure: str) -> float:
        return statistics.median(self._values(figure))

    @cached_property
    def peak_mib(self) -> float:
        """The peak memory of a few more runs, started by time(1), which is small.

        The kernel attributes the memory of the starting process to the program: started by Python,
        no program seems to need less than 8 MiB.
        """
        command = ["time", "--quiet", "-f", "%M", *self.program.argv]
        environment = {**os.environ, **self.program.environment}
        peaks = []
        for _ in range(5):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            peaks.append(int(done.stderr.split()[-1]))
        return max(peaks) / 1024

    def ratio(self, other: Taken, figure: str) -> Ratio:
        """Return this program's figure in units of the other one's."""
        pairs = [
            mine / theirs
            for mine, theirs in zip(self._values(figure), other._values(figure), strict=True)
        ]
        low, _, high = statistics.quantiles(pairs, n=4)
        return Ratio(self.median(figure) / other.median(figure), low, high)

    def _values(self, figure: str) -> list[float]:
        return [getattr(run, figure) for run in self.runs]


def start(program: Program) -> Run:
    """Run a program once; another exit code than the expected one is an error."""
    done = subprocess.run(
        [sys.executable, "-IS", "-c", _LAUNCHER, *program.argv],
        env={**os.environ, **program.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{program.name} cannot be started: {done.stderr.splitlines()[-1]}")
    wall, cpu, faults, status = json.loads(done.stdout)
    if os.waitstatus_to_exitcode(status) != program.code:
        command = " ".join(program.argv)
        output = done.stderr.strip() or "no message"
        raise SystemExit(f"{program.name} ends with another exit code: {command}: {output}")
    return Run(wall, cpu, faults)


def take_turns(programs: Sequence[Program], runs: int) -> list[Taken]:
    """Run all programs one after the other, `runs` times.

    The order changes: the caches that a program leaves are worth 9 % to the next one.
    """
    taken = [Taken(program) for program in programs]
    chance = random.Random(runs)
    progress = Progress(f"round of {len(programs)} program", runs)
    for number in range(runs):
        progress(number)
        for one in chance.sample(taken, len(taken)):
            one.runs.append(start(one.program))
    return taken

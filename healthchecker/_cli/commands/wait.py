"""`healthchecker wait`: check repeatedly until all targets are healthy; then run a command."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click

from healthchecker._cli import render
from healthchecker._cli.early import EarlyEnd
from healthchecker._cli.invocation import Invocation, Write, read_invocation
from healthchecker._cli.options import (
    DEADLINE,
    DOWN,
    LOG_TO,
    PROBE_OPTIONS,
    TARGETS,
    WAIT_INTERVAL,
)
from healthchecker._cli.parsing import Command
from healthchecker._cli.problems import cannot_run
from healthchecker._cli.process import (
    HEALTHY,
    STDERR,
    UNHEALTHY,
    Lifetime,
    use_small_thread_stacks,
    write,
)
from healthchecker._cli.table import Seen
from healthchecker._cli.terminal import REDRAW_INTERVAL, Terminal, can_redraw
from healthchecker._net.resolver import NOT_FOUND
from healthchecker._protocols.base import Prober
from healthchecker._protocols.registry import make_probers
from healthchecker._run.check import probe_all
from healthchecker._values.result import CheckResult, Phase, ProbeFailure, Reason

_TOO_LATE = ProbeFailure(Reason.TIMEOUT, "no check has finished")


@dataclass(frozen=True, slots=True)
class _Wait:
    """The command line of `wait`."""

    invocation: Invocation
    deadline: float
    """Seconds for all checks together."""
    interval: float
    """Seconds from the start of one check of all targets to the next."""
    down: bool
    """Whether to wait until no target can be reached."""
    command: tuple[str, ...]
    """The program to execute afterwards; empty for none."""


def _run(context: click.Context) -> int:
    settings = _Wait(
        read_invocation(context, TARGETS.of(context)),
        DEADLINE.of(context),
        WAIT_INTERVAL.of(context),
        DOWN.of(context),
        tuple(context.args),
    )
    screen = _Screen(settings.invocation, down=settings.down)
    with Lifetime(lambda cause: screen.end(lifetime.write, cause)) as lifetime:
        lifetime.end_after(settings.deadline)
        probers = screen.early.probers = make_probers(
            settings.invocation.targets, settings.invocation.options
        )
        if len(probers) > 1:
            use_small_thread_stacks()
        _wait(settings, probers, screen, lifetime)
        lifetime.is_decided()
        code = screen.end(lifetime.write, _TOO_LATE)
        if code == HEALTHY and settings.command:
            error = lifetime.become(settings.command)
            settings.invocation.output.print_problem(write, cannot_run(settings.command[0], error))
            return UNHEALTHY
        return code


def _wait(settings: _Wait, probers: Sequence[Prober], screen: _Screen, lifetime: Lifetime) -> None:
    """Check until all are healthy at the same time, or until the deadline."""
    timeout = settings.invocation.timeout
    start = time.monotonic()
    end = start + settings.deadline
    while start < end:
        left = end - start
        results = probe_all(probers, min(timeout, left), cancel=lifetime.cancel)
        if settings.down:
            results = [down(result) for result in results]
        now = time.monotonic()
        screen.update(lifetime.write, results, end - now, is_cut_short=left < timeout)
        if screen.is_healthy:
            return
        start = max(start + settings.interval, now)
        while (left := min(start, end) - now) > 0:
            lifetime.cancel.wait(min(left, REDRAW_INTERVAL) if screen.has_table else left)
            now = time.monotonic()
            screen.draw(lifetime.write, end - now)


_UNREACHABLE = (
    Reason.CONNECTION_REFUSED,
    Reason.CONNECTION_FAILED,
    Reason.MISSING,
)
_OUR_OWN_FAILURES = tuple(map(os.strerror, (errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)))
"""Of CONNECTION_FAILED, the causes on our side."""


def down(result: CheckResult) -> CheckResult:
    """Return the result of `wait --down`: healthy if the target cannot be reached.

    Once there is a connection, the target is up, whatever it responds. Other failures stay: if the
    name server does not work, or no permission or file descriptor is left, the state is unknown.
    """
    is_unreachable = (
        (result.reason in _UNREACHABLE and not result.detail.endswith(_OUR_OWN_FAILURES))
        or (result.reason is Reason.DNS_FAILURE and result.detail.endswith(NOT_FOUND))
        or (result.reason is Reason.TIMEOUT and result.phase is Phase.CONNECT)
    )
    if is_unreachable:
        detail = f"unreachable: {result.detail}"
        return replace(result, healthy=True, reason=Reason.OK, detail=detail)
    if result.healthy or result.phase in (Phase.TLS, Phase.RESPONSE):
        return replace(result, healthy=False, reason=Reason.REACHABLE)
    return result


class _Screen:
    """The last result of each target, and the output until the end."""

    def __init__(self, invocation: Invocation, *, down: bool) -> None:
        self._awaited = "still reachable" if down else "not healthy yet"
        self._output = invocation.output
        self.early = EarlyEnd(invocation.targets)
        self._results: list[CheckResult] = []
        self._seen = [Seen(target.label) for target in invocation.targets]
        self.is_healthy = False
        """Whether all targets were healthy when they were last checked."""
        self._terminal = Terminal(STDERR)
        self.has_table = can_redraw(STDERR) and not self._output.quiet
        """Whether a table is shown, which must be redrawn as time goes by."""

    def update(
        self, write: Write, results: Sequence[CheckResult], left: float, *, is_cut_short: bool
    ) -> None:
        """Add the results of all targets; `left` is the seconds to the deadline."""
        before: Sequence[CheckResult | None] = self._results or [None] * len(results)
        self.is_healthy = all(result.healthy for result in results)
        # A check that the deadline cut short is worth less than the previous failure.
        self._results = [
            old
            if is_cut_short and new.reason is Reason.TIMEOUT and old is not None and not old.healthy
            else new
            for old, new in zip(before, results, strict=True)
        ]
        now = time.monotonic()
        for seen, result in zip(self._seen, self._results, strict=True):
            seen.take(result, result.healthy, now)
        if self.has_table:
            self.draw(write, left)
        elif self._output.verbose and not self._output.json:
            for old, new in zip(before, self._results, strict=True):
                if old is None or (old.healthy, old.reason) != (new.healthy, new.reason):
                    write(STDERR, render.watch_line(new, changed=True, verbose=True))

    def draw(self, write: Write, left: float) -> None:
        """Show the table, if there is one, while there is something to wait for."""
        if self.has_table and not self.is_healthy:
            now = time.monotonic()
            waiting = sum(not seen.healthy for seen in self._seen)
            targets = f"{waiting} of {len(self._seen)} targets {self._awaited}"
            title = f"{max(left, 0):.0f} s left, {targets}"
            self._terminal.show(write, title, [seen.row(now) for seen in self._seen])

    def end(self, write: Write, cause: ProbeFailure) -> int:
        """Print the last result of each target; return the exit code.

        `cause` is the failure of targets that have none.
        """
        if self.has_table:
            self._terminal.clear(write)
        results = self._results or self.early.results(cause)
        self._output.print_results(write, self.is_healthy, results)
        return HEALTHY if self.is_healthy else UNHEALTHY


WAIT = Command(
    "wait",
    _run,
    TARGETS,
    (DEADLINE, WAIT_INTERVAL, DOWN, LOG_TO, *PROBE_OPTIONS),
    help="""Wait until all targets are healthy at the same time.

    Exits with 0 as soon as they are. At the deadline it prints the last result of each unhealthy
    target and exits with 1. On a terminal, standard error shows the targets in the meantime. With a
    COMMAND, it then executes it in place (exec), so the exit status is COMMAND's.
    """,
    becomes_command=True,
)

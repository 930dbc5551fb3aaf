"""`healthchecker watch`: report the changes of the targets' states until stopped."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TypeAlias

import click
from click.core import ParameterSource

from healthchecker._cli import render
from healthchecker._cli.invocation import Invocation, Write, read_invocation
from healthchecker._cli.options import (
    FAILURE_THRESHOLD,
    INITIAL_DELAY,
    PROBE_OPTIONS,
    TARGETS,
    TIMEOUT,
    WATCH_INTERVAL,
)
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import (
    HEALTHY,
    STDERR,
    STDOUT,
    UNHEALTHY,
    Lifetime,
    is_read,
    use_small_thread_stacks,
    write,
)
from healthchecker._cli.table import Seen
from healthchecker._cli.terminal import REDRAW_INTERVAL, Terminal, can_redraw
from healthchecker._values.result import CheckResult, Reason
from healthchecker._watch.many import watch_all
from healthchecker._watch.rule import Observation, WatchOptions, make_watch_options

Observations: TypeAlias = Iterator[tuple[int, Observation] | None]
"""Observations, each with the index of its target; None when it is time to draw."""

_NO_PROBE = "no probe has finished"


def _run(context: click.Context) -> int:
    """Show the observations until the output is no longer read; a signal ends the process."""
    invocation = read_invocation(context, TARGETS.of(context))
    settings = _read_settings(context, invocation.timeout)
    output = invocation.output
    has_table = can_redraw(STDOUT) and not (output.quiet or output.json or output.verbose)
    display = (_Table if has_table else _Lines)(invocation)
    with Lifetime(lambda _: display.end(lifetime.write)) as lifetime:
        lifetime.guard_file(STDOUT)
        if len(invocation.targets) > 1:
            use_small_thread_stacks()
        wake_every = REDRAW_INTERVAL if has_table else None
        observations = watch_all(
            invocation.targets, invocation.options, settings, lifetime.cancel, wake_every=wake_every
        )
        with closing(observations):
            display.show(observations, partial(write, cancel=lifetime.cancel))
    return UNHEALTHY


def _read_settings(context: click.Context, timeout: float) -> WatchOptions:
    """Return when to probe; if the timeout exceeds the interval, a default is changed."""
    interval = WATCH_INTERVAL.of(context)
    if timeout > interval:
        if TIMEOUT.source(context) is not ParameterSource.COMMANDLINE:
            timeout = interval
        elif WATCH_INTERVAL.source(context) is ParameterSource.ENVIRONMENT:
            interval = WATCH_INTERVAL.default_value(context)
    return make_watch_options(
        INITIAL_DELAY.of(context),
        interval,
        FAILURE_THRESHOLD.of(context),
        timeout,
    )


class _Display(ABC):
    """Shows the states of the targets."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._states: list[bool | None] = [None] * len(invocation.targets)
        """The last known state of each target; None while it is unknown."""

    @abstractmethod
    def show(self, observations: Observations, write: Write) -> None:
        """Show the observations until the output is no longer read."""

    def end(self, _write: Write) -> int:
        """Print the last message; return the exit code."""
        return HEALTHY if all(self._states) else UNHEALTHY

    def _take(self, index: int, observation: Observation) -> bool:
        """Add an observation of a target; return whether its state has changed."""
        report = observation.report
        changed = report is not None and report is not self._states[index]
        if changed:
            self._states[index] = report
        return changed


class _Lines(_Display):
    """A line for each change, or for each probe."""

    def show(self, observations: Observations, write: Write) -> None:
        output = self._invocation.output
        named_unknown = False
        for index, observation in filter(None, observations):
            changed = self._take(index, observation)
            if output.quiet:
                continue
            if changed or output.verbose:
                healthy = observation.result.healthy
                if not named_unknown:
                    unknown = output.unknown_variables(healthy)
                    write(STDERR, render.unknown_variables_line(unknown))
                    named_unknown = output.verbose or not healthy
                if not write(STDOUT, self._line(index, observation.result, changed=changed)):
                    break
            elif not is_read(STDOUT):
                break

    def _line(self, index: int, result: CheckResult, *, changed: bool) -> str:
        output = self._invocation.output
        if output.json:
            return render.watch_json_line(result, self._states[index], changed=changed)
        return render.watch_line(result, changed=changed, verbose=output.verbose)


class _Table(_Display):
    """A row for each target on a terminal."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__(invocation)
        self._seen = [Seen(target.label) for target in invocation.targets]
        self._results: list[CheckResult | None] = [None] * len(invocation.targets)
        self._terminal = Terminal(STDOUT)
        self._start = time.monotonic()

    def show(self, observations: Observations, write: Write) -> None:
        for observed in observations:
            if observed is not None:
                index, observation = observed
                self._take(index, observation)
                self._results[index] = observation.result
                now = time.monotonic()
                self._seen[index].take(observation.result, self._states[index], now)
            elif is_read(STDOUT):
                now = time.monotonic()
                rows = [seen.row(now) for seen in self._seen]
                self._terminal.show(write, self._title("watching", now), rows)
            else:
                break

    def end(self, write: Write) -> int:
        """Replace the table by a summary and the failures."""
        self._terminal.clear(write)
        now = time.monotonic()
        write(STDOUT, self._title("watched", now) + "\n")
        elapsed = now - self._start
        failures = [
            CheckResult(seen.target, False, Reason.TIMEOUT, _NO_PROBE, None, elapsed)
            if result is None
            else result
            for seen, result, state in zip(self._seen, self._results, self._states, strict=True)
            if not state
        ]
        code = super().end(write)
        self._invocation.output.print_results(write, code == HEALTHY, failures)
        return code

    def _title(self, verb: str, now: float) -> str:
        healthy = self._states.count(True)
        targets = f"{healthy} of {len(self._states)} targets healthy"
        return f"{verb} for {now - self._start:.0f} s, {targets}"


WATCH = Command(
    "watch",
    _run,
    TARGETS,
    (INITIAL_DELAY, WATCH_INTERVAL, FAILURE_THRESHOLD, *PROBE_OPTIONS),
    help="""Watch targets and report each change of state until stopped.

    Prints a line with a UTC timestamp for each change, or for every probe with -v. On a terminal,
    and without -v, a table shows the state of each target. gRPC targets are followed with the Watch
    RPC if they support it, and polled otherwise. On SIGTERM or SIGINT it exits with 0 if all
    targets were healthy when last seen, else with 1.
    """,
)

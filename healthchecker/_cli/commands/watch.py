"""`healthchecker watch`: report the changes of a target's state until stopped."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.core import ParameterSource

from healthchecker._cli import render
from healthchecker._cli.invocation import Invocation, read_invocation
from healthchecker._cli.options import (
    FAILURE_THRESHOLD,
    INITIAL_DELAY,
    ONE_TARGET,
    REQUEST_OPTIONS,
    TIMEOUT,
    WATCH_INTERVAL,
)
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, STDERR, STDOUT, UNHEALTHY, Lifetime, is_read, write
from healthchecker._net.deadline import Cancel
from healthchecker._probers.table import make_prober
from healthchecker._watch.follow import follow
from healthchecker._watch.rule import Observation, WatchOptions, make_watch_options
from healthchecker._watch.watch import Watch


def _run(context: click.Context) -> int:
    """Print what is observed until nobody reads it any more; a signal ends the process."""
    target = ONE_TARGET.of(context)
    asked = read_invocation(context, () if target is None else (target,))
    settings = _read_settings(context, asked.timeout)
    output = asked.output
    line = render.watch_json_line if output.json else render.watch_line
    state: bool | None = None
    named_unknown = False
    with Lifetime(lambda: HEALTHY if state else UNHEALTHY) as lifetime:
        for observation in _observe(asked, settings, lifetime.cancel):
            changed = observation.report is not None and observation.report is not state
            if changed:
                state = observation.report
            if output.quiet:
                continue
            if changed or output.verbose:
                text = line(observation.result, state, changed=changed)
                if not named_unknown:
                    unknown = output.unknown_variables(observation.result.healthy)
                    write(STDERR, render.unknown_variables_line(unknown), lifetime.cancel)
                    named_unknown = output.verbose or not observation.result.healthy
                if not write(STDOUT, text, lifetime.cancel):
                    break
            elif not is_read(STDOUT):
                break
    return UNHEALTHY


def _read_settings(context: click.Context, timeout: float) -> WatchOptions:
    """Return when to probe; of a timeout and a shorter interval, a default gives way."""
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


def _observe(asked: Invocation, settings: WatchOptions, cancel: Cancel) -> Iterator[Observation]:
    (target,) = asked.targets
    if target.scheme in ("grpc", "grpcs"):
        return follow(target, asked.options, settings, cancel=cancel)
    return Watch(make_prober(target, asked.options), settings, cancel=cancel, every_probe=True)


WATCH = Command(
    "watch",
    _run,
    ONE_TARGET,
    (INITIAL_DELAY, WATCH_INTERVAL, FAILURE_THRESHOLD, *REQUEST_OPTIONS),
    help="""Print each change of a target's state until stopped.

    Each change is a line on standard output, with the time in UTC; with -v every probe is. A gRPC
    target reports its changes itself (the Watch RPC); one that cannot is polled. Stopped by
    SIGTERM or SIGINT, the exit code is 0 if the target was last seen healthy, otherwise 1.
    """,
)

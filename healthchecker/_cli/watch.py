"""The commands that go on for a while: `watch` and `wait`."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from healthchecker._check import check_all
from healthchecker._cli import render
from healthchecker._cli.options import (
    EPILOG,
    HEALTHY,
    LAST_RESORT_AFTER,
    STDERR,
    STDOUT,
    THREAD_STACK_BYTES,
    UNHEALTHY,
    Duration,
    end_at,
    end_on_signal,
    option,
    output_options,
    request_options,
    say,
    settle,
    take_options,
    take_targets,
    write,
)
from healthchecker._net.deadline import Cancel
from healthchecker._probers.table import make_prober, make_probers
from healthchecker._result import CheckResult, Reason
from healthchecker._watch.follow import follow
from healthchecker._watch.rule import Observation, make_watch_options
from healthchecker._watch.watch import Watch

_CLEAR_LINE = "\r\x1b[K"
_USUAL_COLUMNS = 80


@click.command(epilog=EPILOG)
@click.argument("targets", metavar="[TARGET]", nargs=1, required=False, type=click.UNPROCESSED)
@option(
    "--initial-delay",
    type=Duration(zero=True),
    default="1s",
    show_default=True,
    help="Wait this long before the first probe.",
)
@option(
    "--interval",
    type=Duration(),
    default="5s",
    show_default=True,
    help="Probe once in this time; not shorter than the timeout.",
)
@option(
    "--failure-threshold",
    metavar="N",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="So many failures in a row make a healthy target unhealthy.",
)
@request_options(timeout_help="The one limit on each probe.")
@output_options
@click.pass_context
def watch(context: click.Context, /, **values: Any) -> int:
    """Print each change of a target's state until stopped.

    One line per change, with the time (UTC), on standard output; with -v one for every probe. A
    gRPC target tells of its changes itself (the RPC Watch); where it cannot, it is polled.
    Stopped by SIGTERM or SIGINT, the exit code is 0 if the target was healthy when last seen,
    else 1.
    """
    settle(context, values)
    target = values.pop("targets")
    values["targets"] = () if target is None else (target,)
    (parsed,) = take_targets(values)
    options = take_options(values)
    settings = make_watch_options(
        values["initial_delay"],
        values["interval"],
        values["failure_threshold"],
        values["timeout"],
        timeout_name="timeout",
    )

    def observe(cancel: Cancel) -> Iterator[Observation]:
        if parsed.scheme in ("grpc", "grpcs"):
            return follow(parsed, options, settings, cancel=cancel)
        return Watch(make_prober(parsed, options), settings, cancel=cancel).observations()

    return _report(context, values, observe)


def _report(
    context: click.Context,
    values: dict[str, Any],
    observe: Callable[[Cancel], Iterator[Observation]],
) -> int:
    """Print what is observed until nobody reads it any more; a signal ends the process."""
    state: bool | None = None
    cancel = end_on_signal(context, lambda: HEALTHY if state else UNHEALTHY)
    for observation in observe(cancel):
        changed = observation.report is not None and observation.report is not state
        if changed:
            state = observation.report
        if values["quiet"]:
            continue
        if changed or values["verbose"]:
            make = _json_line if values["output"] == "json" else _text_line
            if not write(STDOUT, make(observation.result, state, changed), cancel):
                break
        elif _nobody_reads(STDOUT):
            break
    return UNHEALTHY


def _nobody_reads(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text_line(result: CheckResult, _state: bool | None, changed: bool) -> str:
    line = (render.success_line if result.healthy else render.failure_line)(result)
    return f"{_now()} {'' if changed else 'probe '}{line}\n"


def _json_line(result: CheckResult, state: bool | None, changed: bool) -> str:
    shown = {
        "time": _now(),
        "healthy": state,
        "changed": changed,
        "check": render.cut(render.to_json(result)),
    }
    return json.dumps(shown) + "\n"


@click.command(epilog=EPILOG)
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=click.UNPROCESSED)
@option(
    "--deadline",
    type=Duration(),
    default="60s",
    show_default=True,
    help="Give up after this time.",
)
@option(
    "--interval",
    type=Duration(),
    default="1s",
    show_default=True,
    help="Check all targets once in this time.",
)
@request_options(timeout_help="The one limit on each check of a target.")
@output_options
@click.pass_context
def wait(context: click.Context, /, **values: Any) -> int:
    """Wait until all targets are healthy at the same time.

    The exit code is 0 as soon as they are, and 1 at the deadline, with what was last seen of each
    one that is not. On a terminal, standard error shows what is waited for.
    """
    settle(context, values)
    targets = take_targets(values)
    options = take_options(values)
    deadline, interval, timeout = values["deadline"], values["interval"], values["timeout"]
    start = time.monotonic()
    end = start + deadline
    results = [
        CheckResult(target.label, False, Reason.TIMEOUT, "not checked in time", None, deadline)
        for target in targets
    ]
    checked = False
    cancel = end_at(context, deadline + LAST_RESORT_AFTER, lambda: say(False, results, values))
    probers = make_probers(targets, options)
    if len(probers) > 1:
        threading.stack_size(THREAD_STACK_BYTES)
    show_status = os.isatty(STDERR) and not values["quiet"]
    while start < end:
        left = end - start
        seen = check_all(probers, min(timeout, left), cancel=cancel)
        for index, result in enumerate(seen):
            # A check that the deadline cut short says less than the one before.
            if not checked or left >= timeout or result.reason is not Reason.TIMEOUT:
                results[index] = result
        checked = True
        if all(result.healthy for result in seen):
            break
        now = time.monotonic()
        if show_status:
            write(STDERR, _status_line(seen, end - now))
        start = max(start + interval, now)
        cancel.wait(max(min(start, end) - now, 0.0))
    if show_status:
        write(STDERR, _CLEAR_LINE)
    healthy = all(result.healthy for result in results)
    say(healthy, results, values)
    return HEALTHY if healthy else UNHEALTHY


def _status_line(results: Sequence[CheckResult], left: float) -> str:
    """Return what is waited for, on a line of the terminal that the next one overwrites."""
    waiting = [result for result in results if not result.healthy]
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    first = waiting[0]
    text = f"waiting {max(left, 0):.0f} s for {first.target}{more}: {first.reason}: {first.detail}"
    try:
        columns = os.get_terminal_size(STDERR).columns
    except OSError:
        columns = 0
    return _CLEAR_LINE + render.escape(text, (columns or _USUAL_COLUMNS) - 1)

"""`healthchecker wait`: check again and again until all targets are healthy."""

from __future__ import annotations

import os
import time

import click

from healthchecker._check import probe_all
from healthchecker._cli import render
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import DEADLINE, REQUEST_OPTIONS, TARGETS, WAIT_INTERVAL
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import (
    HEALTHY,
    STDERR,
    UNHEALTHY,
    Lifetime,
    use_small_thread_stacks,
    write,
)
from healthchecker._probers.table import make_probers
from healthchecker._result import CheckResult, Reason

_USUAL_COLUMNS = 80


def _run(context: click.Context) -> int:
    asked = read_invocation(context, TARGETS.of(context))
    deadline, interval = DEADLINE.of(context), WAIT_INTERVAL.of(context)
    start = time.monotonic()
    end = start + deadline
    results = [
        CheckResult(target.label, False, Reason.TIMEOUT, "not checked in time", None, deadline)
        for target in asked.targets
    ]
    checked = False
    with Lifetime() as lifetime:
        lifetime.end_after(deadline, lambda: asked.output.print_results(False, results))
        probers = make_probers(asked.targets, asked.options)
        if len(probers) > 1:
            use_small_thread_stacks()
        shows_status = os.isatty(STDERR) and not asked.output.quiet
        while start < end:
            left = end - start
            seen = probe_all(probers, min(asked.timeout, left), cancel=lifetime.cancel)
            for index, result in enumerate(seen):
                # A check that the deadline cut short says less than the one before.
                if not checked or left >= asked.timeout or result.reason is not Reason.TIMEOUT:
                    results[index] = result
            checked = True
            if all(result.healthy for result in seen):
                break
            now = time.monotonic()
            if shows_status:
                write(STDERR, render.status_line(seen, end - now, _columns()))
            start = max(start + interval, now)
            lifetime.cancel.wait(max(min(start, end) - now, 0.0))
        if shows_status:
            write(STDERR, render.CLEAR_LINE)
        healthy = all(result.healthy for result in results)
        asked.output.print_results(healthy, results)
    return HEALTHY if healthy else UNHEALTHY


def _columns() -> int:
    try:
        return os.get_terminal_size(STDERR).columns or _USUAL_COLUMNS
    except OSError:
        return _USUAL_COLUMNS


WAIT = Command(
    "wait",
    _run,
    (TARGETS, DEADLINE, WAIT_INTERVAL, *REQUEST_OPTIONS),
    help="""Wait until all targets are healthy at the same time.

    The exit code is 0 as soon as they are, and 1 at the deadline, with the last result of each
    target that is not. On a terminal, standard error shows what is being waited for.
    """,
)

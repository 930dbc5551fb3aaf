"""`healthchecker check`, which is also what runs when no command is named."""

from __future__ import annotations

from collections.abc import Sequence

import click

from healthchecker._cli.early import EarlyEnd
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import (
    ANY,
    ATTEMPT_INTERVAL,
    ATTEMPTS,
    LOG_TO,
    ON_UNHEALTHY,
    PROBE_OPTIONS,
    TARGETS,
)
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import (
    HEALTHY,
    UNHEALTHY,
    Lifetime,
    use_small_thread_stacks,
)
from healthchecker._cli.signals import send
from healthchecker._protocols.registry import make_probers
from healthchecker._run.attempts import probe_repeatedly
from healthchecker._values.result import CheckResult, ProbeFailure, Reason


def _run(context: click.Context) -> int:
    invocation = read_invocation(context, TARGETS.of(context))
    any_is_enough = ANY.of(context)
    attempts, interval = ATTEMPTS.of(context), ATTEMPT_INTERVAL.of(context)
    reaction = ON_UNHEALTHY.of(context)

    early = EarlyEnd(invocation.targets)

    def report(healthy: bool, results: Sequence[CheckResult], *, interrupted: bool = False) -> int:
        # The signal first: an output that is not read must not keep it back.
        message = send(*reaction, attempts) if reaction and not healthy and not interrupted else ""
        invocation.output.print_results(lifetime.write, healthy, results)
        invocation.output.print_problem(lifetime.write, message)
        return HEALTHY if healthy else UNHEALTHY

    def end_early(cause: ProbeFailure) -> int:
        is_interrupted = cause.reason is Reason.INTERRUPTED
        return report(False, early.results(cause), interrupted=is_interrupted)

    with Lifetime(end_early) as lifetime:
        lifetime.end_after(attempts * invocation.timeout + (attempts - 1) * interval)
        probers = early.probers = make_probers(invocation.targets, invocation.options)
        if len(probers) > 1:
            use_small_thread_stacks()
        results = probe_repeatedly(
            probers,
            invocation.timeout,
            attempts=attempts,
            interval=interval,
            any_is_enough=any_is_enough,
            cancel=lifetime.cancel,
        )
        lifetime.is_decided()
        return report((any if any_is_enough else all)(results), results)


CHECK = Command(
    "check",
    _run,
    TARGETS,
    (ANY, ATTEMPTS, ATTEMPT_INTERVAL, ON_UNHEALTHY, LOG_TO, *PROBE_OPTIONS),
    help="Check targets once (the default command).",
)

"""`healthchecker list`: gRPC health's List."""

from __future__ import annotations

import time

import click

from healthchecker._cli import render
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import GRPC_OPTIONS, LOG_TO, REQUIRED_TARGET
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, STDOUT, UNHEALTHY, Lifetime
from healthchecker._protocols.base import Progress, failed
from healthchecker._protocols.grpc.list import list_services
from healthchecker._values.result import ProbeFailure


def _run(context: click.Context) -> int:
    invocation = read_invocation(context, (REQUIRED_TARGET.of(context),))
    (target,) = invocation.targets
    output = invocation.output
    progress = Progress(time.monotonic())

    def end_early(cause: ProbeFailure) -> int:
        result = failed(target.label, cause, progress)
        output.print_results(lifetime.write, False, [result])
        return UNHEALTHY

    with Lifetime(end_early) as lifetime:
        lifetime.end_after(invocation.timeout)
        listed = list_services(
            target, invocation.options, invocation.timeout, lifetime.cancel, progress
        )
        lifetime.is_decided()
        healthy = listed.check.healthy
        if output.json:
            unknown = output.unknown_variables(healthy)
            text = render.list_json_line(listed.check, listed.statuses, unknown)
            lifetime.write(STDOUT, text)
            output.log_failures(lifetime.write, healthy, [listed.check])
        else:
            if not output.quiet:
                lifetime.write(STDOUT, render.list_lines(listed.statuses))
            output.print_results(lifetime.write, healthy, [listed.check])
    return HEALTHY if healthy else UNHEALTHY


LIST = Command(
    "list",
    _run,
    REQUIRED_TARGET,
    (LOG_TO, *GRPC_OPTIONS),
    help="List the services of a gRPC server and their status.",
)

"""`healthchecker list`: gRPC health's List."""

from __future__ import annotations

import click

from healthchecker._cli import render
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import GRPC_OPTIONS, REQUIRED_TARGET
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, STDOUT, UNHEALTHY, Lifetime, write
from healthchecker._probers.grpc.list import list_services


def _run(context: click.Context) -> int:
    asked = read_invocation(context, (REQUIRED_TARGET.of(context),))
    (target,) = asked.targets
    output = asked.output
    with Lifetime() as lifetime:
        lifetime.end_after(asked.timeout, asked.print_overrun)
        listed = list_services(target, asked.options, asked.timeout, lifetime.cancel)
        if output.json:
            write(STDOUT, render.list_json_line(listed.check, listed.statuses))
        elif not output.quiet:
            write(STDOUT, render.list_lines(listed.statuses))
            output.print_results(listed.check.healthy, [listed.check])
    return HEALTHY if listed.check.healthy else UNHEALTHY


LIST = Command(
    "list",
    _run,
    (REQUIRED_TARGET, *GRPC_OPTIONS),
    help="List the services of a gRPC server; healthy when all are SERVING.",
)

"""`healthchecker list`: gRPC health's List."""

from __future__ import annotations

import click

from healthchecker._cli import render
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import GRPC_OPTIONS, REQUIRED_TARGET
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, STDOUT, UNHEALTHY, Lifetime
from healthchecker._protocols.grpc.list import list_services


def _run(context: click.Context) -> int:
    asked = read_invocation(context, (REQUIRED_TARGET.of(context),))
    (target,) = asked.targets
    output = asked.output
    with Lifetime() as lifetime:
        lifetime.end_after(asked.timeout, lambda: asked.print_overrun(lifetime.write))
        listed = list_services(target, asked.options, asked.timeout, lifetime.cancel)
        lifetime.is_decided()
        healthy = listed.check.healthy
        if output.json:
            unknown = output.unknown_variables(healthy)
            text = render.list_json_line(listed.check, listed.statuses, unknown)
            lifetime.write(STDOUT, text)
        elif not output.quiet:
            lifetime.write(STDOUT, render.list_lines(listed.statuses))
            output.print_results(lifetime.write, healthy, [listed.check])
    return HEALTHY if healthy else UNHEALTHY


LIST = Command(
    "list",
    _run,
    REQUIRED_TARGET,
    GRPC_OPTIONS,
    help="List the services of a gRPC server; healthy when all are SERVING.",
)

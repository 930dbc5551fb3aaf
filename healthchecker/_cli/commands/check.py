"""`healthchecker check`, which is also what runs when no command is named."""

from __future__ import annotations

import click

from healthchecker._check import probe_all
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.options import ANY, REQUEST_OPTIONS, TARGETS
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY, UNHEALTHY, Lifetime, use_small_thread_stacks
from healthchecker._probers.table import make_probers


def _run(context: click.Context) -> int:
    asked = read_invocation(context, TARGETS.of(context))
    any_is_enough = ANY.of(context)
    with Lifetime() as lifetime:
        lifetime.end_after(asked.timeout, lambda: asked.print_overrun(lifetime.write))
        probers = make_probers(asked.targets, asked.options)
        if len(probers) > 1:
            use_small_thread_stacks()
        results = probe_all(
            probers, asked.timeout, any_is_enough=any_is_enough, cancel=lifetime.cancel
        )
        lifetime.is_decided()
        healthy = (any if any_is_enough else all)(result.healthy for result in results)
        asked.output.print_results(lifetime.write, healthy, results)
    return HEALTHY if healthy else UNHEALTHY


CHECK = Command(
    "check", _run, TARGETS, (ANY, *REQUEST_OPTIONS), help="Check once. This is the default command."
)

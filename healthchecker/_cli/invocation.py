"""What a command was asked: one frozen value, from the command line and the environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click

from healthchecker._cli import render
from healthchecker._cli.options import (
    CHECK_OPTIONS,
    HOST,
    OUTPUT,
    PATH,
    PORT,
    QUIET,
    TIMEOUT,
    UNIX_SOCKET,
    VERBOSE,
)
from healthchecker._cli.process import STDERR, STDOUT, write
from healthchecker._options import CheckOptions, make_options
from healthchecker._probers.table import parse_target
from healthchecker._result import CheckResult, Reason
from healthchecker._target import Target, local_url


@dataclass(frozen=True, slots=True)
class Output:
    """What is printed, and in which form."""

    verbose: bool
    quiet: bool
    json: bool

    def print_results(self, healthy: bool, results: Sequence[CheckResult]) -> None:
        """Print the results of a command whose verdict is `healthy`."""
        if self.quiet:
            return
        if self.json:
            write(STDOUT, render.json_line(healthy, results))
            return
        if self.verbose:
            write(STDOUT, render.text_lines(results, healthy=True))
        if self.verbose or not healthy:
            write(STDERR, render.text_lines(results, healthy=False))


@dataclass(frozen=True, slots=True)
class Invocation:
    """What all commands are asked."""

    targets: tuple[Target, ...]
    options: CheckOptions
    timeout: float
    """Seconds for one check of a target."""
    output: Output

    def print_overrun(self) -> None:
        """Print that the command as a whole was not done in time."""
        detail = f"the check as a whole was not done within {self.timeout * 1000:.0f} ms"
        results = [
            CheckResult(target.label, False, Reason.TIMEOUT, detail, None, self.timeout)
            for target in self.targets
        ]
        self.output.print_results(False, results)


def read_invocation(context: click.Context, targets: Sequence[str]) -> Invocation:
    """Return what the command line and the environment ask for.

    Without any of `targets` it is the one of --host, --port and --path.
    """
    unix_socket = UNIX_SOCKET.of(context)
    if not targets:
        host = HOST.of(context) if unix_socket is None else "localhost"
        targets = (local_url(host, PORT.of(context), PATH.of(context)),)
    given = context.params
    return Invocation(
        targets=tuple(parse_target(target, unix_socket) for target in targets),
        options=make_options(
            **{option.name: given[option.name] for option in CHECK_OPTIONS if option.name in given}
        ),
        timeout=TIMEOUT.of(context),
        output=Output(VERBOSE.of(context), QUIET.of(context), OUTPUT.of(context)),
    )

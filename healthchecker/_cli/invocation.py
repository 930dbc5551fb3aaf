"""The request to a command: one frozen value, from the command line and the environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import click
from click.core import ParameterSource

from healthchecker._cli import render
from healthchecker._cli.environment import can_use, unknown_variables
from healthchecker._cli.log import append
from healthchecker._cli.options import (
    CHECK_OPTIONS,
    HOST,
    LOG_TO,
    OUTPUT,
    PATH,
    PORT,
    QUIET,
    TIMEOUT,
    UNIX_SOCKET,
    VARIABLES,
    VERBOSE,
)
from healthchecker._cli.parsing import given
from healthchecker._cli.process import STDERR, STDOUT
from healthchecker._protocols.registry import local_target, parse_target
from healthchecker._values.options import CheckOptions, make_options
from healthchecker._values.result import CheckResult
from healthchecker._values.target import Target

_CHECK_OPTION_NAMES = frozenset(option.name for option in CHECK_OPTIONS)

Write: TypeAlias = Callable[[int, str], object]
"""Writes a text to a file descriptor."""


class Output(NamedTuple):
    """How much is printed, and in which format."""

    verbose: bool
    quiet: bool
    json: bool
    log_to: str | None
    """The file to which failures are appended."""

    def print_results(self, write: Write, healthy: bool, results: Sequence[CheckResult]) -> None:
        """Print the results of a command whose verdict is `healthy`, and log the failures."""
        if self.json:
            write(STDOUT, render.json_line(healthy, results, self.unknown_variables(healthy)))
        elif not self.quiet:
            self._print_lines(write, healthy, results)
        self.log_failures(write, healthy, results)

    def log_failures(self, write: Write, healthy: bool, results: Sequence[CheckResult]) -> None:
        """Append the failures to the file of --log-to, if the verdict is not `healthy`."""
        if self.log_to is not None and not healthy:
            failures = render.text_lines(results, healthy=False)
            self.print_problem(write, append(self.log_to, failures))

    def _print_lines(self, write: Write, healthy: bool, results: Sequence[CheckResult]) -> None:
        if self.verbose:
            write(STDOUT, render.text_lines(results, healthy=True))
        if self.verbose or not healthy:
            unknown = render.unknown_variables_line(self.unknown_variables(healthy))
            lines = render.text_lines(results, healthy=False, verbose=self.verbose)
            write(STDERR, lines + unknown)

    def print_problem(self, write: Write, problem: str) -> None:
        """Print a failure beside the check itself; nothing if the text is empty."""
        if problem and not self.quiet:
            write(STDERR, f"healthchecker: {problem}\n")

    def unknown_variables(self, healthy: bool) -> list[str]:
        """Return the unknown variables to report: some mistakes show in no other way."""
        return [] if healthy and not self.verbose else unknown_variables(VARIABLES)


class Invocation(NamedTuple):
    """The values common to all commands."""

    targets: tuple[Target, ...]
    options: CheckOptions
    timeout: float
    """Seconds for one check of a target."""
    output: Output


def read_invocation(context: click.Context, targets: Sequence[str]) -> Invocation:
    """Return the values of the command line and the environment.

    Without any of `targets` it is the one of --host, --port and --path.
    """
    unix_socket = UNIX_SOCKET.of(context)
    return Invocation(
        targets=tuple(
            parse_target(target, _socket_for(target, unix_socket, context)) for target in targets
        )
        or (_local_target(unix_socket, context),),
        options=make_options(
            **{
                one.name: context.params[one.name]
                for one in given(context)
                if one.name in _CHECK_OPTION_NAMES
            }
        ),
        timeout=TIMEOUT.of(context),
        output=Output(
            VERBOSE.of(context),
            QUIET.of(context),
            OUTPUT.of(context),
            LOG_TO.of(context) if LOG_TO.name in context.params else None,
        ),
    )


def _local_target(unix_socket: str | None, context: click.Context) -> Target:
    host = HOST.of(context) if unix_socket is None else "localhost"
    return local_target(host, PORT.of(context), PATH.of(context), unix_socket)


def _socket_for(target: str, unix_socket: str | None, context: click.Context) -> str | None:
    """Return the Unix socket for a target; as a default it only applies to targets that can."""
    if unix_socket is None or UNIX_SOCKET.source(context) is ParameterSource.COMMANDLINE:
        return unix_socket
    return unix_socket if can_use(UNIX_SOCKET.name, (target,)) else None

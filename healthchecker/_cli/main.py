"""The command line: select the command, run it, and turn any outcome into one exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import click

from healthchecker._cli import render
from healthchecker._cli.commands.check import CHECK
from healthchecker._cli.commands.install import INSTALL
from healthchecker._cli.commands.licenses import LICENSES
from healthchecker._cli.commands.list import LIST
from healthchecker._cli.commands.wait import WAIT
from healthchecker._cli.commands.watch import WATCH
from healthchecker._cli.environment import unknown_variables
from healthchecker._cli.linked import version_text
from healthchecker._cli.options import VARIABLES
from healthchecker._cli.parsing import EPILOG, split_at_dashes
from healthchecker._cli.problems import usage_problem
from healthchecker._cli.process import HEALTHY, STDERR, STDOUT, UNHEALTHY, OutputError, write
from healthchecker._net.deadline import Cancelled
from healthchecker._net.stream import demand_resources
from healthchecker._protocols.registry import SCHEMES
from healthchecker._values.result import BadArgumentError, CheckResult, ProbeFailure, Reason
from healthchecker._version import VERSION

_NAME = "healthchecker"
_LONGEST_WRITE = 1.0  # seconds for an error message that is not read
_EXAMPLES = (
    "healthchecker --port 8080 --path /health",
    "healthchecker https://example.org/health --expect-json status=UP",
    "healthchecker wait --deadline 30s postgresql://db redis://cache",
)
_FORMS = ", ".join(dict.fromkeys(scheme.form for scheme in SCHEMES.values()))


class _Group(click.Group):
    """The whole program, for its help: it has the options of `check`."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] [TARGET]...")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] [TARGET]...", prefix="       ")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their use

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        CHECK.format_groups(ctx, formatter)
        with formatter.section("Other options"):
            records = (one.get_help_record(ctx) for one in self.get_params(ctx))
            formatter.write_dl([record for record in records if record is not None])
        self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in _EXAMPLES:
                formatter.write_text(example)
        super().format_epilog(ctx, formatter)


@click.group(
    cls=_Group,
    commands={
        str(command.name): command for command in (CHECK, WATCH, WAIT, LIST, INSTALL, LICENSES)
    },
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=f"""Check whether services are healthy. Exit code 0: healthy; 1: anything else.

    A TARGET is one of {_FORMS}. Several targets are checked in parallel. Without a TARGET,
    http://HOST:PORT/PATH is checked.
    """,
)
@click.version_option(VERSION, prog_name=_NAME, message=version_text())
def cli() -> None:
    """Do nothing: the group is used only for its help; `main` selects the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, 0 or 1. Never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    start = time.monotonic()
    context: click.Context | None = None
    try:
        # Not cli.main(): a variable of the environment would turn it into shell completion.
        path, command, rest = _select(arguments)
        with _make_context(command, path, rest) as context:
            code = command.invoke(context)
    except click.exceptions.Exit as end:
        return HEALTHY if end.exit_code == HEALTHY else UNHEALTHY
    except (click.UsageError, BadArgumentError) as error:
        _print_error(arguments, Reason.USAGE_ERROR, usage_problem(error, context), start)
    except OutputError as error:
        if str(error):
            write(STDERR, f"{_NAME}: {error}\n", seconds=_LONGEST_WRITE)
    except (KeyboardInterrupt, BrokenPipeError, Cancelled):
        pass
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an exit code
        reason, message = _explain(error)
        _print_error(arguments, reason, message, start)
    else:
        return HEALTHY if code == HEALTHY else UNHEALTHY
    return UNHEALTHY


def _make_context(command: click.Command, path: str, rest: list[str]) -> click.Context:
    """Parse the command line; --help and --version are printed here, and nothing else."""
    try:
        return command.make_context(path, rest)
    except OSError as error:
        raise OutputError(error) from error


def _select(arguments: list[str]) -> tuple[str, click.Command, list[str]]:
    """Return the name of the command, the command and its arguments; `check` needs no name."""
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help", "--version"):
        return _NAME, cli, arguments[:1]
    if first.isalpha():  # as the names of all commands
        if first in cli.commands:
            return f"{_NAME} {first}", cli.commands[first], arguments[1:]
        from difflib import get_close_matches  # noqa: PLC0415 - for this mistake only

        for meant in get_close_matches(first, cli.commands, 1, 0.7):
            raise click.UsageError(f"unknown command {first!r}; did you mean {meant}?")
    return _NAME, CHECK, list(arguments)


def _explain(error: Exception) -> tuple[Reason, str]:
    """Return the reason and the message for an exception: a lack of resources, or a bug."""
    try:
        if isinstance(error, MemoryError):
            return Reason.OUT_OF_RESOURCES, "out of memory"
        if isinstance(error, OSError):
            demand_resources(error)
        if isinstance(error, ProbeFailure):  # of a wait between probes, which the system denies
            raise error
    except ProbeFailure as failure:
        return failure.reason, failure.message
    return Reason.INTERNAL_ERROR, f"{type(error).__name__}: {error}"


def _print_error(arguments: Sequence[str], reason: Reason, message: str, start: float) -> None:
    """Print the error that prevents any check, as text or JSON."""
    result = CheckResult("", False, reason, message, None, time.monotonic() - start)
    unknown = unknown_variables(VARIABLES)
    if _wants_json(arguments):
        write(STDOUT, render.json_line(False, [result], unknown), seconds=_LONGEST_WRITE)
    else:
        text = f"{_NAME}: {reason}: {render.escape(message, 1000)}\n"
        write(STDERR, text + render.unknown_variables_line(unknown), seconds=_LONGEST_WRITE)


def _wants_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line, which may be invalid, demands JSON."""
    is_json = os.environ.get("HEALTHCHECKER_OUTPUT") == "json"
    own, _ = split_at_dashes(arguments)
    for index, argument in enumerate(own):
        if argument == "--output":
            is_json = own[index + 1 : index + 2] == ["json"]
        elif argument.startswith("--output="):
            is_json = argument == "--output=json"
    return is_json

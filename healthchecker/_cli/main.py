"""The command line: parse, call one function of the core, print, and one exit code."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
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
    end_at,
    grpc_options,
    option,
    output_options,
    request_options,
    say,
    settle,
    take_options,
    take_targets,
    usage_problem,
    write,
)
from healthchecker._cli.watch import wait, watch
from healthchecker._net.deadline import Cancelled
from healthchecker._probers.grpc.list import list_services
from healthchecker._probers.table import make_probers, parse_target
from healthchecker._result import BadArgumentError, CheckResult, Reason
from healthchecker._target import Target
from healthchecker._version import VERSION


class _Group(click.Group):
    """A group whose command `check` need not be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in {*self.commands, "--help", "--version"}:
            args = ["check", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] [TARGET]...")
        formatter.write_usage(ctx.command_path, "COMMAND [OPTIONS] [TARGET]...", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        check = self.commands["check"]
        check.format_options(click.Context(check, ctx.parent, ctx.info_name), formatter)
        self.format_commands(ctx, formatter)


@click.group(cls=_Group, epilog=EPILOG, add_help_option=True)
@click.version_option(VERSION, prog_name="healthchecker")
def cli() -> None:
    """Is this service healthy? Exit code 0 says yes, 1 says no.

    A TARGET is http://HOST, https://HOST, tcp://HOST:PORT, grpc://HOST:PORT[/SERVICE] or
    grpcs://HOST:PORT[/SERVICE]. Several are checked at the same time. Without one,
    http://HOST:PORT/PATH is asked.
    """


@cli.command(epilog=EPILOG)
@click.argument("targets", metavar="[TARGET]...", nargs=-1)
@option("--any", "any_is_enough", is_flag=True, help="One healthy target is enough.")
@request_options(timeout_help="The one limit on the whole check.")
@output_options
@click.pass_context
def check(context: click.Context, /, **values: Any) -> int:
    """Check once. This is the default command."""
    settle(context, values)
    targets = take_targets(values)
    options = take_options(values)
    timeout = values["timeout"]
    cancel = end_at(
        context, timeout + LAST_RESORT_AFTER, lambda: _say_overrun(targets, timeout, values)
    )
    probers = make_probers(targets, options)
    if len(probers) > 1:
        threading.stack_size(THREAD_STACK_BYTES)
    results = check_all(probers, timeout, any_is_enough=values["any_is_enough"], cancel=cancel)
    healthy = (any if values["any_is_enough"] else all)(result.healthy for result in results)
    say(healthy, results, values)
    return HEALTHY if healthy else UNHEALTHY


@cli.command("list", epilog=EPILOG)
@click.argument("targets", metavar="TARGET", nargs=1, type=click.UNPROCESSED)
@grpc_options
@output_options
@click.pass_context
def list_command(context: click.Context, /, **values: Any) -> int:
    """List the services that gRPC health knows; healthy when all are SERVING."""
    settle(context, values)
    target = parse_target(values.pop("targets"), values["unix_socket"])
    options = take_options(values)
    timeout = values["timeout"]
    cancel = end_at(
        context, timeout + LAST_RESORT_AFTER, lambda: _say_overrun([target], timeout, values)
    )
    listed = list_services(target, options, timeout, cancel)
    if values["output"] == "json":
        write(STDOUT, render.list_json_line(listed.check, listed.statuses))
    elif not values["quiet"]:
        write(STDOUT, render.list_lines(listed.statuses))
        say(listed.check.healthy, [listed.check], values)
    return HEALTHY if listed.check.healthy else UNHEALTHY


cli.add_command(watch)
cli.add_command(wait)


def _say_overrun(targets: Sequence[Target], timeout: float, values: dict[str, Any]) -> None:
    detail = f"the check as a whole was not done within {timeout * 1000:.0f} ms"
    results = [
        CheckResult(target.label, False, Reason.TIMEOUT, detail, None, timeout)
        for target in targets
    ]
    say(False, results, values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, 0 or 1. Never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    start = time.monotonic()
    try:
        # Not cli.main(), which also serves a shell's completion: another program, by environment.
        with cli.make_context("healthchecker", list(arguments)) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as end:
        return HEALTHY if end.exit_code == HEALTHY else UNHEALTHY
    except (click.UsageError, BadArgumentError) as error:
        _say_error(arguments, Reason.USAGE_ERROR, usage_problem(error), start)
    except (KeyboardInterrupt, BrokenPipeError, Cancelled):
        pass
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes an exit code
        message = f"{type(error).__name__}: {error}"
        _say_error(arguments, Reason.INTERNAL_ERROR, message, start)
    else:
        return HEALTHY if code == HEALTHY else UNHEALTHY
    return UNHEALTHY


def _say_error(arguments: Sequence[str], reason: Reason, message: str, start: float) -> None:
    """Say what kept us from checking anything, in the form that was asked for."""
    result = CheckResult("", False, reason, message, None, time.monotonic() - start)
    if _wants_json(arguments):
        write(STDOUT, render.json_line(False, [result]))
    else:
        write(STDERR, f"healthchecker: {reason}: {render.escape(message, 1000)}\n")


def _wants_json(arguments: Sequence[str]) -> bool:
    """Tell whether JSON was asked for by a command line that may not be readable as a whole."""
    asked = os.environ.get("HEALTHCHECKER_OUTPUT") == "json"
    for index, argument in enumerate(arguments):
        if argument == "--output":
            asked = arguments[index + 1 : index + 2] == ["json"]
        elif argument.startswith("--output="):
            asked = argument == "--output=json"
    return asked

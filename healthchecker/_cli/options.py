"""What the commands share: types of parameters, option groups, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click
from click.core import ParameterSource

from healthchecker._cli import render
from healthchecker._net.deadline import Cancel
from healthchecker._options import (
    MAX_SECONDS,
    CheckOptions,
    make_options,
    parse_duration,
)
from healthchecker._probers.table import parse_target
from healthchecker._result import BadArgumentError, CheckResult
from healthchecker._target import Target, local_url

F = TypeVar("F", bound=Callable[..., Any])

STDOUT = 1
STDERR = 2

HEALTHY = 0
UNHEALTHY = 1  # and everything else; 2 is reserved by Docker

LAST_RESORT_AFTER = 0.05
_AGAIN_AFTER = 0.02  # an alarm, too, may come just before the call that it is to interrupt
THREAD_STACK_BYTES = 512 * 1024  # fifty of the usual 8 MiB do not fit into a small container
EPILOG = (
    "Durations read 500ms, 2s, 1m or a bare number of seconds. Every option can be given as "
    "HEALTHCHECKER_<OPTION>; the command line wins. Exit code 0 is healthy, 1 everything else."
)

_MAX_PORT = 65535

# What cannot be said together. Of two, one of which comes from the environment, that one yields.
_CONTRADICTIONS = (
    ("quiet", "verbose"),
    ("quiet", "output"),
    ("unix_socket", "host"),
    ("unix_socket", "port"),
    ("insecure", "cacert"),
    ("targets", "host"),
    ("targets", "port"),
    ("targets", "path"),
)


class Port(click.ParamType[int]):
    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) <= _MAX_PORT):
            self.fail(f"{text!r} is not a port from 1 to {_MAX_PORT}", param, ctx)
        return int(text)


class Duration(click.ParamType[float]):
    """Seconds, from text such as `500ms`, `2s`, `1m` or a bare number."""

    name = "duration"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{value!r} is {error}", param, ctx)
        if seconds > MAX_SECONDS or (seconds == 0 and not self._zero):
            least = "from 0" if self._zero else "more than 0"
            self.fail(f"{value!r} is not {least} and at most 24h", param, ctx)
        return seconds


class Pair(click.ParamType[tuple[str, str]]):
    """Two texts with a separator between. The value may be a secret and is never shown."""

    envvar_list_splitter = "\n"

    def __init__(self, separator: str, form: str) -> None:
        self.name = form
        self._separator = separator
        self._form = form

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        first, separator, second = str(value).partition(self._separator)
        if not separator or not first.strip():
            self.fail(f"the value is not of the form '{self._form}'", param, ctx)
        return (first.strip(), second.strip() if self._separator == ":" else second)


class Credentials(Pair):
    """`U:P` of basic authentication; the password is taken as it is."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        user, _ = super().convert(value, param, ctx)
        return (user, str(value).partition(":")[2])


class Lines(click.ParamType[str]):
    """A text; the environment may hold several, one per line."""

    name = "text"
    envvar_list_splitter = "\n"


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Declare an option that can also be given as HEALTHCHECKER_<OPTION>."""
    long = next(name for name in names if name.startswith("--"))
    envvar = "HEALTHCHECKER_" + long.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(*names, envvar=envvar, **settings)


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _connection(timeout_help: str) -> Callable[[F], F]:
    return _all(
        option(
            "--unix-socket",
            metavar="PATH",
            help="Carry HTTP or gRPC over this Unix socket; @NAME is an abstract one.",
        ),
        option("--timeout", type=Duration(), default="2s", show_default=True, help=timeout_help),
        option(
            "--connect-timeout",
            type=Duration(),
            help="A tighter limit on look-up, connect and TLS.",
        ),
    )


def _metadata(function: F) -> F:
    return _all(
        option(
            "-H",
            "--header",
            "headers",
            metavar="'N: v'",
            type=Pair(":", "N: v"),
            multiple=True,
            help="Add an HTTP header or gRPC metadata; Host may be set. Repeatable.",
        ),
        option(
            "--basic-auth",
            metavar="U:P",
            type=Credentials(":", "U:P"),
            help="User and password of HTTP basic authentication.",
        ),
    )(function)


def _tls(function: F) -> F:
    return _all(
        option("--cacert", metavar="F", help="Authorities to trust, a PEM file."),
        option("--cert", metavar="F", help="Client certificate, a PEM file."),
        option("--key", metavar="F", help="Key of the client certificate, a PEM file."),
        option("--server-name", metavar="N", help="Name to verify in place of the host."),
        option("--insecure", is_flag=True, help="Do not verify the peer's certificate."),
        option(
            "--loopback-only",
            is_flag=True,
            help="Refuse a target or redirect that does not resolve to loopback only.",
        ),
    )(function)


def request_options(*, timeout_help: str) -> Callable[[F], F]:
    """Declare what to ask for and how to judge the answer."""
    return _all(
        option("--host", default="127.0.0.1", show_default=True, help="Host, without a TARGET."),
        option(
            "-p",
            "--port",
            "-port",
            type=Port(),
            default=80,
            show_default=True,
            help="Port, without a TARGET.",
        ),
        option("--path", default="/health", show_default=True, help="Path, without a TARGET."),
        _connection(timeout_help),
        option("--method", metavar="M", default="GET", show_default=True, help="HTTP method."),
        _metadata,
        option(
            "--status",
            metavar="LIST",
            default="200",
            show_default=True,
            help="Accepted HTTP status codes: 200,204 or 2xx or 200-399.",
        ),
        option(
            "--expect-json",
            metavar="PATH=VALUE",
            type=Pair("=", "PATH=VALUE"),
            multiple=True,
            help="Exact value at a dotted path of the JSON body. Repeatable.",
        ),
        option(
            "--expect-body",
            metavar="TEXT",
            type=Lines(),
            multiple=True,
            help="Text that the body contains. Repeatable.",
        ),
        option(
            "--expect-header",
            metavar="'N: v'",
            type=Pair(":", "N: v"),
            multiple=True,
            help="Exact value of a response header. Repeatable.",
        ),
        option(
            "--follow-redirects",
            is_flag=True,
            help="Follow at most 5 redirects on the same host; else a 3xx is unhealthy.",
        ),
        _tls,
    )


def grpc_options(function: F) -> F:
    """Declare the options of a gRPC call."""
    return _all(_connection("The one limit on the whole call."), _metadata, _tls)(function)


def output_options(function: F) -> F:
    """Declare what is said, and how."""
    return _all(
        option("-v", "--verbose", is_flag=True, help="Say something on success, too."),
        option("-q", "--quiet", is_flag=True, help="Say nothing; the exit code tells."),
        option(
            "--output",
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="Lines of text, or one JSON object.",
        ),
    )(function)


def settle(context: click.Context, values: dict[str, Any]) -> None:
    """Refuse contradicting options; where one of two comes from the environment, reset it."""
    for pair in _CONTRADICTIONS:
        given = [name for name in pair if name in values and _is_given(context, name, values)]
        if len(given) < len(pair):
            continue
        by_environment = [
            name
            for name in given
            if context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
        ]
        if len(by_environment) == 1:
            name = by_environment[0]
            parameter = next(one for one in context.command.params if one.name == name)
            values[name] = parameter.type_cast_value(
                context, parameter.get_default(context, call=True)
            )
        else:
            first, second = (_spelled(context, name) for name in given)
            raise click.UsageError(f"{first} contradicts {second}", context)


def _is_given(context: click.Context, name: str, values: dict[str, Any]) -> bool:
    if context.get_parameter_source(name) is ParameterSource.DEFAULT:
        return False
    if name == "output":
        return bool(values[name] != "text")
    return values[name] not in (None, False, ())


def _spelled(context: click.Context, name: str) -> str:
    for parameter in context.command.params:
        if parameter.name == name and isinstance(parameter, click.Option):
            return next(one for one in parameter.opts if one.startswith("--"))
    return "a TARGET"


def take_targets(values: dict[str, Any]) -> list[Target]:
    """Take the targets, or the one that --host, --port and --path stand for, out of `values`."""
    targets = values.pop("targets", ())
    host, port, path = values.pop("host"), values.pop("port"), values.pop("path")
    unix_socket = values.get("unix_socket")
    if not targets:
        if unix_socket is not None:
            host = "localhost"
        targets = (local_url(host, port, path),)
    return [parse_target(target, unix_socket) for target in targets]


def take_options(values: dict[str, Any]) -> CheckOptions:
    """Take the options of the check itself out of `values`."""
    names = (
        "connect_timeout",
        "method",
        "headers",
        "basic_auth",
        "status",
        "expect_json",
        "expect_body",
        "expect_header",
        "follow_redirects",
        "cacert",
        "cert",
        "key",
        "server_name",
        "insecure",
        "loopback_only",
        "unix_socket",
    )
    return make_options(**{name: values.pop(name) for name in names if name in values})


def usage_problem(error: click.UsageError | BadArgumentError) -> str:
    """Return the one line that names the option, the value and what is wrong."""
    if isinstance(error, BadArgumentError):
        name = {"headers": "header"}.get(error.argument, error.argument)
        option_name = name if name.isupper() else "--" + name.replace("_", "-")
        return f"{option_name}: {error.value!r}: {error.problem}"
    message = " ".join(error.format_message().split())
    if isinstance(error, click.BadParameter) and error.ctx and error.param and error.param.name:
        source = error.ctx.get_parameter_source(error.param.name)
        if source is ParameterSource.ENVIRONMENT:
            return f"{error.param.envvar}: {message}"
    return message


def say(healthy: bool, results: Sequence[CheckResult], values: dict[str, Any]) -> None:
    """Print results the way `output_options` ask for."""
    if values["quiet"]:
        return
    if values["output"] == "json":
        write(STDOUT, render.json_line(healthy, results))
        return
    if values["verbose"]:
        write(STDOUT, render.text_lines(results, healthy=True))
    if values["verbose"] or not healthy:
        write(STDERR, render.text_lines(results, healthy=False))


def write(fd: int, text: str, cancel: Cancel | None = None) -> bool:
    """Write to a standard stream, past all buffers; tell whether somebody takes it."""
    data = text.encode("utf-8", "backslashreplace")
    try:
        while data:
            if cancel is not None:
                cancel.wait_writable(fd)
            data = data[os.write(fd, data) :]
    except OSError:
        return False
    return True


def end_on_signal(
    context: click.Context, exit_code: Callable[[], int] = lambda: UNHEALTHY
) -> Cancel:
    """End the process at SIGTERM or SIGINT, whatever it is doing; there is nothing to clean up.

    Python runs a signal's handler between two byte codes. A signal that comes after the last of
    them and before the system call that waits would be heeded when the call is over, be it in an
    hour. So wait with what this returns, until the command is over: it is set by signals.
    """

    def end(_signal: int, _frame: object) -> NoReturn:
        os._exit(exit_code())

    cancel = Cancel()
    context.call_on_close(cancel.close)
    if threading.current_thread() is threading.main_thread():
        os.set_blocking(cancel.write_end, False)
        before = signal.set_wakeup_fd(cancel.write_end, warn_on_full_buffer=False)
        context.call_on_close(lambda: signal.set_wakeup_fd(before))
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
    return cancel


def end_at(context: click.Context, seconds: float, last_words: Callable[[], None]) -> Cancel:
    """As `end_on_signal`, and with exit code 1 when `seconds` have gone by, as a last resort.

    Probers end by themselves. This is for what is outside their reach, such as a certificate on a
    file system that hangs or a standard output that nobody reads.
    """

    def end(_signal: int, _frame: object) -> NoReturn:
        signal.signal(signal.SIGALRM, end_silently)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_AFTER, _AGAIN_AFTER)
        last_words()
        os._exit(UNHEALTHY)

    def end_silently(_signal: int, _frame: object) -> NoReturn:
        os._exit(UNHEALTHY)

    cancel = end_on_signal(context)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_AFTER)
        context.call_on_close(lambda: signal.setitimer(signal.ITIMER_REAL, 0))
    return cancel

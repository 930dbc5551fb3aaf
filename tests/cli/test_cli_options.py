"""The command line has the options of the library, and no command drops one that it takes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest
from click.core import ParameterSource

from healthchecker import BadArgumentError, check
from healthchecker._cli import options
from healthchecker._cli.commands import watch
from healthchecker._cli.invocation import read_invocation
from healthchecker._cli.main import cli
from healthchecker._cli.parsing import HEADINGS, Argument, Command, Option, split_at_dashes
from healthchecker._cli.problems import ExtraArgumentError
from healthchecker._protocols.registry import LEADS_TO_TLS, SCHEMES, applies
from healthchecker._values.options import OPTIONS as OPTIONS_OF_CHECK
from healthchecker._values.options import CheckOptions, OptionValues
from healthchecker._values.tls_options import TlsOptions

DECLARED = [one for one in vars(options).values() if isinstance(one, (Argument, Option))]
COMMANDS = [one for one in cli.commands.values() if isinstance(one, Command) and one.params]
"""Those that take anything."""
OPTIONS = [
    (command, one) for command in COMMANDS for one in command.params if isinstance(one, Option)
]
OF_CHECK = {one.name for one in options.CHECK_OPTIONS}
UNUSED = {name for name in OPTIONS_OF_CHECK if not applies(name, SCHEMES.values(), LEADS_TO_TLS)}
"""The options that no protocol takes yet: they are not in the help."""

SAMPLES = {
    "headers": "A: b",
    "expect_header": "A: b",
    "expect_json": "a=b",
    "basic_auth": "me:pass",
    "status": "204",
    "method": "POST",
    "server_name": "name",
    "output": "json",
    "port": "81",
    "on_unhealthy": "TERM:1",
    **dict.fromkeys(("failure_threshold", "attempts"), "7"),
    "cert_lifetime": "7d",
    **dict.fromkeys(("timeout", "connect_timeout", "initial_delay", "interval", "deadline"), "3s"),
    "max_age": "3s",
    "role": "primary",
}
"""A value of each option that does not accept every text."""


OF_ONE_KIND = {
    **dict.fromkeys(("send", "expect_reply"), "tcp://h:1"),
    "max_age": "file:///f",
    "login": "postgresql://me:pass@h",
    "role": "mongodb://h",
    "starttls": "smtp://h",
}
"""Targets for options that do not apply to HTTPS."""


def each(pairs: Sequence[tuple[Command, Option[Any]]]) -> pytest.MarkDecorator:
    """Run a test for each command and option."""
    return pytest.mark.parametrize(
        ("command", "option"), pairs, ids=[f"{command.name}-{one.name}" for command, one in pairs]
    )


def sample(option: Option[Any]) -> str:
    return "1" if option.is_flag else SAMPLES.get(option.name, "/x")


def on_command_line(option: Option[Any]) -> list[str]:
    return [option.long] if option.is_flag else [option.long, sample(option)]


def usable(command: Command, option: Option[Any]) -> list[str]:
    """Return a command line that the option applies to."""
    if command.name == "list":
        return ["grpcs://h:1"]
    if option in options.LOCAL_TARGET_OPTIONS:
        return []
    return [OF_ONE_KIND.get(option.name, "https://h")]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("HEALTHCHECKER_"):
            monkeypatch.delenv(name)


# The command line and the library


def test_the_command_line_has_the_options_of_the_library() -> None:
    assert OptionValues.__optional_keys__ - UNUSED == OF_CHECK
    fields = {*dataclasses.fields(CheckOptions), *dataclasses.fields(TlsOptions)}
    assert {field.name for field in fields} - {"tls"} == OptionValues.__optional_keys__


def test_every_declared_option_belongs_to_a_command() -> None:
    taken = {id(one) for command in COMMANDS for one in command.params}
    assert {one.name for one in DECLARED if id(one) not in taken} == UNUSED
    assert {type(one) for command in COMMANDS for one in command.params} == {Argument, Option}
    variables = {one.envvar for command in COMMANDS for one in command.params}
    assert variables - {None} == options.VARIABLES


def test_every_option_has_its_heading_in_the_help() -> None:
    assert {
        one.group for command in COMMANDS for one in command.params if isinstance(one, Option)
    } == set(HEADINGS)
    for command in COMMANDS:
        text = command.get_help(command.context_class(command, info_name="healthchecker"))
        assert "..." not in text.replace("[TARGET]...", "").replace("[ARG]...", "")
        assert all(len(line) <= 80 for line in text.splitlines())


class _Recorder(dict[str, Any]):
    """The values of a command line, and which of them were read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)


@pytest.fixture
def closed() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_reads_every_option_of_its_own(
    command: Command, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "write", lambda *_, **__: False)  # as if the reader had gone
    arguments = {
        "check": [f"--port={closed}"],
        "install": ["/nonexistent/place"],
        "list": [f"grpc://127.0.0.1:{closed}"],
        "wait": [f"--port={closed}", "--deadline=50ms"],
        "watch": [f"--port={closed}", "--initial-delay=0", "--failure-threshold=1"],
    }[str(command.name)]
    with command.make_context("healthchecker", arguments) as context:
        context.params = recorder = _Recorder(context.params)
        with contextlib.suppress(BadArgumentError):  # `install` of the Python form
            assert command.invoke(context) == 1
    assert {one.name for one in command.params} - recorder.read <= OF_CHECK


@each([pair for pair in OPTIONS if pair[1].name in OF_CHECK])
@pytest.mark.parametrize("by_environment", [False, True])
def test_every_option_of_a_check_reaches_it(
    command: Command, option: Option[Any], by_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = usable(command, option)
    (target,) = arguments
    if option.name == "key":
        arguments.append("--cert=/x")
    if by_environment:
        monkeypatch.setenv(str(option.envvar), sample(option))
    else:
        arguments += on_command_line(option)
    with command.make_context("healthchecker", arguments) as context:
        made = read_invocation(context, (target,)).options
    here, default = (made.tls, TlsOptions()) if hasattr(made.tls, option.name) else (made, None)
    assert getattr(here, option.name) != getattr(default or CheckOptions(), option.name)


@pytest.mark.parametrize("target", ["http://127.0.0.1:1", "tcp://127.0.0.1:1", "grpc://[::1]:1"])
@pytest.mark.parametrize(
    "option", [{"cacert": "x"}, {"cert": "x"}, {"server_name": "x"}, {"insecure": True}]
)
def test_tls_options_without_tls_are_refused(target: str, option: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentError, match=f"{min(option)}: .* only applies to TLS targets"):
        check(target, **option)


# Options that are not given cost nothing, and is what click would have made of it


def parsed(command: Command, arguments: list[str], *, by_click: bool) -> object:
    """Return the values and sources of a command line, or the mistake in it."""
    context = command.context_class(command, info_name="healthchecker")
    parse = click.Command.parse_args if by_click else type(command).parse_args
    try:
        with context:
            if by_click and command.name == "wait":  # the rest is the command that it becomes
                arguments, _ = split_at_dashes(arguments)
            rest = parse(command, context, list(arguments))
    except (click.UsageError, click.exceptions.Exit) as error:
        kind = type(error).__base__ if isinstance(error, ExtraArgumentError) else type(error)
        text = str(error)
        return kind, "extra" if "unexpected" in text and "argument" in text else text
    sources = {one.name: context.get_parameter_source(one.name) for one in command.params}
    return rest, context.params, sources


@each(OPTIONS)
@pytest.mark.parametrize("value", ["sample", "mistake", "nothing"])
@pytest.mark.parametrize("where", ["line", "environment", "both"])
def test_an_option_is_what_click_makes_of_it(
    command: Command, option: Option[Any], value: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert option.callback is None  # click would call it for a default, too
    text = {"sample": sample(option), "mistake": "\0", "nothing": ""}[value]
    arguments = usable(command, option)
    if where != "environment":
        arguments += [option.long] if option.is_flag else [f"{option.long}={text}"]
    if where != "line" and value != "mistake":
        monkeypatch.setenv(str(option.envvar), text)
    if where != "line" and value == "mistake":
        monkeypatch.setenv(str(option.envvar), "?")
    assert parsed(command, arguments, by_click=False) == parsed(command, arguments, by_click=True)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["tcp://a:1"],
        ["tcp://a:1", "tcp://b:2"],
        ["--", "--timeout"],
        ["--help"],
        ["-h"],
        ["--timeout=soon", "--help"],
        ["-vh"],
        ["--timeout"],
        ["--timeout", "1s", "--timeout", "3s"],
        ["-H", "A: 1", "-HB: 2", "grpc://a:1", "-v"],
        ["--nonsense"],
        ["-vx"],
        ["--verbose=1"],
        ["--verb"],
        [""],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("env", [{}, {"TARGET": "tcp://c:3\n\ntcp://d:4\n", "VERBOSE": "1"}])
def test_a_command_line_is_what_click_makes_of_it(
    command: Command,
    arguments: list[str],
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(f"HEALTHCHECKER_{name}", value)
    ours = parsed(command, arguments, by_click=False), capsys.readouterr()
    assert ours == (parsed(command, arguments, by_click=True), capsys.readouterr())


def test_only_given_options_are_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    processed: list[str] = []
    real = click.Parameter.handle_parse_result

    def handle(self: click.Parameter, *arguments: Any) -> Any:
        processed.append(self.name)
        return real(self, *arguments)

    monkeypatch.setattr(click.Parameter, "handle_parse_result", handle)
    monkeypatch.setenv("HEALTHCHECKER_CONNECT_TIMEOUT", "1s")
    parsed(COMMANDS[0], ["--port=81", "--path=/x"], by_click=False)
    assert processed == ["port", "path", "connect_timeout"]


# The environment gives defaults


def sources(command: str, arguments: list[str]) -> dict[str, ParameterSource | None]:
    context = cli.commands[command].make_context("healthchecker", arguments)
    return {one.name: context.get_parameter_source(one.name) for one in context.command.params}


HTTP_ONLY = {
    *("data", "http2", "match_body"),
    *("method", "status", "expect_json", "expect_body", "expect_header", "follow_redirects"),
}
TLS_ONLY = {"cacert", "cert", "key", "server_name", "insecure", "cert_lifetime"}
LOCAL = {"host", "port", "path"}
METADATA = {"headers", "basic_auth"}
REPLY_ONLY = {"send", "expect_reply"}
FILE_ONLY = {"max_age"}
DATABASE_ONLY = {"login", "role", "starttls"}
UNUSABLE = {
    "http://a": TLS_ONLY | REPLY_ONLY | FILE_ONLY | DATABASE_ONLY,
    "https://a": REPLY_ONLY | FILE_ONLY | DATABASE_ONLY,
    "grpc://a:1": HTTP_ONLY | TLS_ONLY | REPLY_ONLY | FILE_ONLY | DATABASE_ONLY,
    "grpcs://a:1": HTTP_ONLY | REPLY_ONLY | FILE_ONLY | DATABASE_ONLY,
    "tcp://a:1": HTTP_ONLY | TLS_ONLY | METADATA | FILE_ONLY | {"unix_socket"} | DATABASE_ONLY,
    "unix:///a": HTTP_ONLY | TLS_ONLY | METADATA | FILE_ONLY | {"unix_socket"} | DATABASE_ONLY,
    "postgresql://a": HTTP_ONLY | TLS_ONLY | METADATA | REPLY_ONLY | FILE_ONLY | {"proxy_protocol"},
    "rediss://a": HTTP_ONLY
    | METADATA
    | REPLY_ONLY
    | FILE_ONLY
    | {"proxy_protocol", "login", "starttls"},
    "file:///a": HTTP_ONLY - {"expect_body"}
    | TLS_ONLY
    | METADATA
    | REPLY_ONLY
    | {"unix_socket"}
    | DATABASE_ONLY
    | {"proxy_protocol"},
}


@pytest.mark.parametrize(("target", "unusable"), UNUSABLE.items())
@each([pair for pair in OPTIONS if pair[0].name == "check"])
def test_a_default_that_the_target_cannot_use_is_ignored(
    command: Command,
    option: Option[Any],
    target: str,
    unusable: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(str(option.envvar), sample(option))
    expected = option.name not in unusable | LOCAL
    source = sources("check", [target])[option.name]
    assert source is (ParameterSource.ENVIRONMENT if expected else ParameterSource.DEFAULT)
    if not expected:  # nor is it read
        monkeypatch.setenv(str(option.envvar), "?")
        assert sources("check", [target])[option.name] is ParameterSource.DEFAULT

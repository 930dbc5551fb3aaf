"""The command line has the options of the library, and no command drops one that it takes."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from healthchecker import BadArgumentError, check
from healthchecker._cli import options
from healthchecker._cli.commands import watch
from healthchecker._cli.main import cli
from healthchecker._cli.parsing import Argument, Command, Option
from healthchecker._options import CheckOptions, OptionValues, TlsOptions

DECLARED = [one for one in vars(options).values() if isinstance(one, (Argument, Option))]
COMMANDS = [one for one in cli.commands.values() if isinstance(one, Command)]


def test_the_command_line_has_the_options_of_the_library() -> None:
    names = {one.name for one in options.CHECK_OPTIONS}
    assert names == OptionValues.__optional_keys__
    fields = {*dataclasses.fields(CheckOptions), *dataclasses.fields(TlsOptions)}
    assert names == {field.name for field in fields} - {"tls"}


def test_every_declared_option_belongs_to_a_command() -> None:
    taken = {id(one) for command in COMMANDS for one in command.params}
    assert [one.name for one in DECLARED if id(one) not in taken] == []
    assert {type(one) for command in COMMANDS for one in command.params} == {Argument, Option}


@pytest.mark.parametrize("target", ["http://127.0.0.1:1", "tcp://127.0.0.1:1", "grpc://[::1]:1"])
@pytest.mark.parametrize(
    "option", [{"cacert": "x"}, {"cert": "x"}, {"server_name": "x"}, {"insecure": True}]
)
def test_tls_options_without_tls_are_refused(target: str, option: dict[str, Any]) -> None:
    with pytest.raises(BadArgumentError, match=f"{min(option)}: .* applies to TLS targets only"):
        check(target, **option)


class _Recorder(dict[str, Any]):
    """The values of a command line, and which of them were asked for."""

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
def test_a_command_reads_every_option_that_it_takes(
    command: Command, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "write", lambda *_: False)  # as if nobody read it any more
    arguments = {
        "check": [f"--port={closed}"],
        "list": [f"grpc://127.0.0.1:{closed}"],
        "wait": [f"--port={closed}", "--deadline=50ms"],
        "watch": [f"--port={closed}", "--initial-delay=0", "--failure-threshold=1"],
    }[str(command.name)]
    with command.make_context("healthchecker", arguments) as context:
        context.params = recorder = _Recorder(context.params)
        assert command.invoke(context) == 1
    assert recorder.read == {one.name for one in command.params}

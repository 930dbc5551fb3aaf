"""The man page lists every option of every command, with its own default."""

from __future__ import annotations

import re

import click
import pytest

from healthchecker._cli.main import cli
from release.command_line import DEFAULT
from release.man_page import man_page

PAGE = man_page("2026-11-24").replace("\\-", "-").replace("\\fR", "").replace("\\fB", "")


def part(start: str) -> str:
    """Return the text from a heading to the next one."""
    return re.split(r"^\.S[HS] ", PAGE.partition(f"\n{start}\n")[2], flags=re.MULTILINE)[0]


def shown_options(text: str) -> dict[str, str]:
    """Return the entries of a part by the long name of their option."""
    entries = {}
    for entry in text.split(".TP\n")[1:]:
        names = entry.partition("\n")[0]
        entries[re.findall(r"--[\w-]+", names)[0]] = entry.replace("\n", " ")
    return entries


def options_of(command: str) -> list[click.Option]:
    parameters = cli.commands[command].params
    return [one for one in parameters if isinstance(one, click.Option) and not one.hidden]


@pytest.mark.parametrize("command", cli.commands)
def test_every_option_is_shown_with_its_default(command: str) -> None:
    general = shown_options(part(".SH OPTIONS"))
    own = shown_options(part(f".SS {command}"))
    for option in options_of(command):
        long = next(name for name in option.opts if name.startswith("--"))
        entry = own.get(long) or general[long]
        assert all(name in entry for name in option.opts), entry
        default = f"The default is {option.default}." if option.show_default else ""
        assert entry.rstrip().endswith(default), entry
        assert ("The default is" in entry) == bool(default)


@pytest.mark.parametrize("command", sorted(set(cli.commands) - {DEFAULT}))
def test_options_that_do_not_apply_are_named(command: str) -> None:
    text = part(f".SS {command}").partition(".TP")[0]
    named = set(re.findall(r"--[\w-]+", text.partition("except ")[2]))
    taken = {name for option in options_of(command) for name in option.opts}
    if taken:
        assert "The options above apply" in text
        assert not named & taken
        assert len(named) == len(
            [option for option in options_of(DEFAULT) if not {*option.opts} & taken]
        )
    else:
        assert not named


def test_interval_of_watch() -> None:
    assert "The default is 1s." in shown_options(part(".SH OPTIONS"))["--interval"]
    assert "The default is 5s." in shown_options(part(".SS watch"))["--interval"]

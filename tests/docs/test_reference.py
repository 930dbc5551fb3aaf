"""The reference is complete: its tables are compared with the program."""

from __future__ import annotations

import re

import click
import pytest

from healthchecker import Reason
from healthchecker._cli.main import cli
from healthchecker._protocols.registry import SCHEMES
from tests.support.pages import REFERENCE, Page

PAGE = Page(REFERENCE)


def option_table(command: str, without: str | None = None) -> list[str]:
    known = set(cli.commands[without].params) if without else set()
    rows = []
    for option in cli.commands[command].params:
        if not isinstance(option, click.Option) or option in known:
            continue
        context = click.Context(cli.commands[command])
        names, text = option.get_help_record(context) or ("", "")
        text = re.sub(r"\s+\[default: .*\]$", "", text)
        default = option.default if option.show_default and not option.is_flag else ""
        rows.append(f"| `{names}` | {text} | {default} |".replace("[text|json]", r"[text\|json]"))
    return rows


@pytest.mark.parametrize(
    ("name", "command", "without"),
    [
        ("options", "check", None),
        ("watch options", "watch", "check"),
        ("wait options", "wait", "check"),
    ],
)
def test_option_tables_are_those_of_help(name: str, command: str, without: str | None) -> None:
    assert PAGE.table(name) == option_table(command, without)


@pytest.mark.parametrize("command", ["check", "watch", "wait", "list"])
def test_every_option_has_its_variable(command: str) -> None:
    options = [one for one in cli.commands[command].params if isinstance(one, click.Option)]
    assert len(options) > 10
    for option in options:
        long = next(name for name in option.opts if name.startswith("--"))
        assert option.envvar == "HEALTHCHECKER_" + long[2:].replace("-", "_").upper()


def test_reasons_are_all_there() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.section("Reasons"), re.MULTILINE)
    assert rows == [str(one) for one in Reason]


def documented_schemes(section: str) -> list[str]:
    """Return the schemes of each row of a table; `redis[s]://` stands for two."""
    schemes: list[str] = []
    for row in re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE):
        named = re.findall(r"`([a-z][a-z0-9+.-]*)(\[s\])?:", row)
        schemes += {f"{name}{s}" for name, optional in named for s in {"", optional.strip("[]")}}
    return schemes


def test_every_scheme_has_its_row_in_the_table_of_targets() -> None:
    documented = documented_schemes(PAGE.section("Targets"))
    assert sorted(documented) == sorted(SCHEMES)  # each once, and no other

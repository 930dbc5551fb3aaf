"""The reference matches the program: its tables, and the commands that it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from healthchecker import Reason
from healthchecker._cli.main import cli
from healthchecker._protocols.registry import SCHEMES
from tests.servers.accountservice import UP, running_service
from tests.support.forms import PYTHON, run
from tests.support.pages import REFERENCE, Page, examples

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


def test_default_ports_are_those_of_the_program() -> None:
    listed = re.findall(r"(\w+) (\d+)", " ".join(PAGE.table("ports")))
    ports = {name: scheme.default_port for name, scheme in SCHEMES.items() if scheme.default_port}
    assert {name: int(port) for name, port in listed} == ports


def test_shell_examples_do_what_is_shown(tmp_path: Path) -> None:
    shown_examples = examples(PAGE.block("In a shell", "console"))
    assert len(shown_examples) > 5
    with running_service(tmp_path / "log") as service:
        service.await_health(UP, timeout=10)
        port = service.url.rpartition(":")[2]
        for command, shown in shown_examples:
            program, *args = shlex.split(command.replace("6767", port))
            assert program == "healthchecker"
            done = subprocess.run(
                [sys.executable, "-m", program, *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=20,
            )
            printed = done.stdout.replace(port, "6767")
            assert without_times(printed) == without_times(shown), command


def without_times(text: str) -> str:
    return re.sub(r'(\(|elapsed_ms": |"[\w-]+": )[\d.]+(?= ms\)|[,}])', r"\1N", text)


def written_commands() -> list[str]:
    """Return the commands that stand in the text with nothing beside them."""
    return [
        line
        for line in re.findall(r"^    (healthchecker .*)$", PAGE.text, re.MULTILINE)
        if "  " not in line
    ]


@pytest.mark.parametrize("command", written_commands())
def test_commands_are_understood(command: str) -> None:
    """Their targets do not exist, which is not a usage error."""
    arguments = [word.replace("2m", "100ms") for word in shlex.split(command)[1:]]
    outcome = run(PYTHON, arguments, env={"HEALTHCHECKER_TIMEOUT": "100ms"})
    assert "usage_error" not in outcome.stderr
    assert outcome.stderr.startswith("unhealthy: ") or outcome.code == 0

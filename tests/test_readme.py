"""README.md tells the truth: its tables are those of the program, its commands do what it shows."""

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
from tests.servers.accountservice import UP, running_service
from tests.support import ROOT

README = (ROOT / "README.md").read_text()


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


def written_table(name: str) -> list[str]:
    match = re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", README, re.DOTALL)
    assert match, name
    return match[1].splitlines()


@pytest.mark.parametrize(
    ("name", "command", "without"),
    [
        ("options", "check", None),
        ("watch options", "watch", "check"),
        ("wait options", "wait", "check"),
    ],
)
def test_option_tables_are_those_of_help(name: str, command: str, without: str | None) -> None:
    assert written_table(name) == option_table(command, without)


@pytest.mark.parametrize("command", ["check", "watch", "wait", "list"])
def test_every_option_has_its_variable(command: str) -> None:
    options = [one for one in cli.commands[command].params if isinstance(one, click.Option)]
    assert len(options) > 10
    for option in options:
        long = next(name for name in option.opts if name.startswith("--"))
        assert option.envvar == "HEALTHCHECKER_" + long[2:].replace("-", "_").upper()


def test_reasons_are_all_there() -> None:
    section = README.partition("### Reasons")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [str(one) for one in Reason]


def test_shell_examples_do_what_is_shown(tmp_path: Path) -> None:
    block = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    assert block
    examples = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block[1], re.MULTILINE)
    assert len(examples) > 5
    with running_service(tmp_path / "log") as service:
        service.await_health(UP, timeout=10)
        port = service.url.rpartition(":")[2]
        for command, shown in examples:
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
            said = done.stdout.replace(port, "6767")
            assert without_times(said) == without_times(shown), command


def without_times(text: str) -> str:
    return re.sub(r'(\(|elapsed_ms": |"[\w-]+": )[\d.]+(?= ms\)|[,}])', r"\1N", text)

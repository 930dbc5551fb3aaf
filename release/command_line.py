"""What the man page and the completions need to know of the command line, read from click."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from healthchecker._cli.main import cli

DEFAULT = "check"
"""The command that need not be named."""

_FILE_METAVARS = ("FILE", "PATH", "DEST")


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a command."""

    names: tuple[str, ...]
    """As they are written, short ones first."""
    metavar: str
    """What stands for its value; empty where it takes none."""
    help: str
    choices: tuple[str, ...]
    takes_file: bool
    default: str

    @property
    def long_names(self) -> list[str]:
        return [name for name in self.names if name.startswith("--")]


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its options."""

    name: str
    usage: str
    summary: str
    help: str
    options: tuple[Option, ...]


def commands() -> list[Command]:
    """Return all commands, the default one first."""
    names = sorted(cli.commands, key=lambda name: (name != DEFAULT, name))
    return [_command(cli.commands[name]) for name in names]


def general_options() -> list[Option]:
    """Return the options accepted before a command."""
    context = click.Context(cli, info_name="healthchecker")
    return list(_options(cli, context))


def _command(command: click.Command) -> Command:
    context = click.Context(command, click.Context(cli, info_name="healthchecker"), command.name)
    return Command(
        name=str(command.name),
        usage=" ".join(command.collect_usage_pieces(context)),
        summary=command.get_short_help_str(limit=200),
        help=_text(command.help or ""),
        options=tuple(_options(command, context)),
    )


def _options(command: click.Command, context: click.Context) -> Iterator[Option]:
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        names = tuple(sorted(parameter.opts, key=lambda name: (name.startswith("--"), len(name))))
        has_value = not parameter.is_flag and not parameter.count
        metavar = parameter.make_metavar(context) if has_value else ""
        choices = metavar[1:-1].split("|") if "|" in metavar else ()  # [text|json]
        yield Option(
            names=names,
            metavar=metavar,
            help=_text(parameter.help or ""),
            choices=tuple(choices),
            takes_file=parameter.metavar in _FILE_METAVARS,
            default=str(parameter.default) if parameter.show_default else "",
        )


def _text(text: str) -> str:
    """Return a help text without the marks by which click keeps line breaks."""
    return text.replace("\b\n", "").strip()

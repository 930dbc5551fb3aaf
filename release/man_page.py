"""The man page healthchecker(1), made from click's commands.

man_page.py DATE    prints it; DATE (YYYY-MM-DD) is that of the version
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from healthchecker._cli.main import cli
from healthchecker._version import VERSION
from release.command_line import DEFAULT, Command, Option, commands, general_options

_FILES = (
    ".TP",
    ".I /etc/hosts, /etc/resolv.conf",
    "Names are resolved from these, within the timeout.",
    ".TP",
    ".I /etc/ssl/certs",
    "The CA certificates of the system; without any, those that are built in.",
)
_EXAMPLES = (
    "Check a port on this machine:",
    ".PP",
    r".B healthchecker \-\-port 8080 \-\-path /health",
    ".PP",
    "Check a field of the JSON body, and a gRPC service:",
    ".PP",
    r".B healthchecker \-\-expect\-json status=UP http://localhost:8080/health grpc://localhost:9090",
    ".PP",
    "Wait for a database, then execute the service:",
    ".PP",
    r".B healthchecker wait \-\-deadline 2m postgresql://db \-\- /app/server",
)


def man_page(date: str) -> str:
    """Return the page in the macros of man(7)."""
    check, *others = commands()
    lines = [
        f'.TH HEALTHCHECKER 1 "{date}" "healthchecker {VERSION}" "User Commands"',
        ".SH NAME",
        r"healthchecker \- check whether services are healthy",
        ".SH SYNOPSIS",
        rf"\fBhealthchecker\fR {_escaped(check.usage)}",
    ]
    for command in others:
        lines += [".br", rf"\fBhealthchecker {command.name}\fR {_escaped(command.usage)}"]
    lines += [".SH DESCRIPTION", *_paragraphs(str(cli.help))]
    lines += [".SH OPTIONS", *_options([*general_options(), *check.options])]
    lines += [".SH COMMANDS"]
    for command in (check, *others):
        lines += [f".SS {command.name}", *_paragraphs(command.help)]
        if command.name != DEFAULT:
            lines += [*_shared(command, check), *_options(differing_options(command, check))]
    lines += [
        ".SH EXIT STATUS",
        ".TP",
        ".B 0",
        "All targets are healthy.",
        ".TP",
        ".B 1",
        "Anything else: unhealthy, unreachable, timed out, or a usage error.",
        ".SH ENVIRONMENT",
        *_paragraphs(str(cli.epilog)),
        ".SH FILES",
        *_FILES,
        ".SH EXAMPLES",
        *_EXAMPLES,
        ".SH SEE ALSO",
        ".BR docker (1),",
        ".BR systemd.service (5)",
    ]
    return "\n".join(lines) + "\n"


def differing_options(command: Command, other: Command) -> list[Option]:
    """Return the options that another command lacks or has with another default or help."""
    return [option for option in command.options if option not in other.options]


def _shared(command: Command, other: Command) -> Iterator[str]:
    """Yield a sentence about the options that a command takes as another one does."""
    shared = [option for option in command.options if option in other.options]
    if any("--help" not in option.names for option in shared):
        names = {option.names for option in command.options}
        missing = [option.long_names[-1] for option in other.options if option.names not in names]
        exceptions = f", except {', '.join(missing)}" if missing else ""
        yield from _paragraphs(f"The options above apply{exceptions}.")


def _options(options: Iterable[Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(rf"\fB{_escaped(name)}\fR" for name in option.names)
        value = rf" \fI{_escaped(option.metavar)}\fR" if option.metavar else ""
        default = f" The default is {option.default}." if option.default else ""
        yield from (".TP", names + value, _escaped(option.help + default))


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of paragraphs; a section needs no macro before its first one."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.replace("\b", "").split()))


def _escaped(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    sys.stdout.write(man_page(sys.argv[1]))

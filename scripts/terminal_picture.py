"""A picture of a terminal in which commands are run, for README.md."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import sys
import tempfile
import termios
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path

from tests.servers.accountservice import UP, running_service
from tests.support import ROOT

PICTURE = ROOT / "docs/terminal.svg"
COLUMNS, _LINES = 112, 24
_EXECUTABLE = ROOT / f"dist/{os.uname().machine}/healthchecker"
HTTP, GRPC = "6767", "6768"
_COMMANDS = (
    "healthchecker --port 6767 --verbose",
    "healthchecker --port 6767 --path /accounts/9",
    "healthchecker -v --expect-json status=UP http://127.0.0.1:6767/health grpc://127.0.0.1:6768",
    "healthchecker wait http://127.0.0.1:6767/readyz grpc://127.0.0.1:6768 file:///run/worker.beat",
)
_SHOWN_TABLE = 5  # all targets have been probed a few times

_WIDTH, _HEIGHT, _MARGIN = 7.85, 18, 14  # of a character; around all lines
_STYLE = """\
text { font: 13px ui-monospace, monospace; white-space: pre; fill: #24292f }
rect { fill: #f6f8fa; stroke: #d0d7de }
.typed { font-weight: 700 } .c32 { fill: #1a7f37 } .c31 { fill: #cf222e }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } rect { fill: #161b22; stroke: #30363d }
  .c32 { fill: #3fb950 } .c31 { fill: #f85149 }
}"""
_COLOR = re.compile(r"\x1b\[(\d*)m([^\x1b]*)")
_REDRAWN = re.compile(r"\x1b\[\d*A\r\x1b\[J|\r\x1b\[J")


def run(argv: Sequence[str]) -> list[str]:
    """Run a program on a terminal; return its screen at the end, or its fifth table."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, COLUMNS, 0, 0))
        os.execve(argv[0], list(argv), {**os.environ, "TERM": "xterm"})
    output = ""
    tables: list[str] = []
    with suppress(OSError):  # the program ended
        while len(tables) <= _SHOWN_TABLE:
            output += os.read(terminal, 65536).decode()
            tables = _REDRAWN.split(output)[1:]
    os.kill(pid, signal.SIGKILL)  # later tables are not needed
    os.waitpid(pid, 0)
    os.close(terminal)
    seen = tables[_SHOWN_TABLE - 1] if tables else output
    return seen.replace("\r\n", "\n").splitlines()


def record(program: Sequence[str], http: str = HTTP, grpc: str = GRPC) -> list[str]:
    """Run all commands; return the lines on the terminal, commands prefixed with `$ `.

    accountservice listens on `http` and `grpc`, but the lines show the default ports.
    """
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        running_service(Path(folder) / "log", grpc=True, PORT=http, GRPC_PORT=grpc) as service,
    ):
        service.await_health(UP, timeout=20)
        for command in _COMMANDS:
            arguments = shlex.split(command.replace(HTTP, http).replace(GRPC, grpc))[1:]
            shown = run([*program, *arguments])
            lines.append(f"$ {command}")
            lines += [line.replace(http, HTTP).replace(grpc, GRPC) for line in shown]
    return lines


def picture(lines: Sequence[str]) -> str:
    """Return the SVG of a terminal with these lines."""
    width, height = COLUMNS * _WIDTH + 2 * _MARGIN, len(lines) * _HEIGHT + 2 * _MARGIN
    parts = [f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="6"/>']
    for index, line in enumerate(lines):
        kind = ' class="typed"' if line.startswith("$ ") else ""
        y = _MARGIN + index * _HEIGHT + 13
        parts.append(f'<text x="{_MARGIN}" y="{y}"{kind}>{_colored(line)}</text>')
    label = "A terminal: " + " / ".join(line for line in lines if line.startswith("$ "))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
        f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" '
        f'aria-label="{escape(label)}">\n'
        f"<style>\n{_STYLE}\n</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _colored(line: str) -> str:
    text = escape(line.partition("\x1b")[0], quote=False)
    for code, colored in _COLOR.findall(line):
        escaped = escape(colored, quote=False)
        text += f'<tspan class="c{code}">{escaped}</tspan>' if code else escaped
    return text


def main() -> None:
    if not _EXECUTABLE.exists():
        sys.exit(f"no {_EXECUTABLE}: run scripts/build-binary first")
    PICTURE.write_text(picture(record([str(_EXECUTABLE)])))


if __name__ == "__main__":
    main()

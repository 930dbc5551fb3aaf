"""Signals to another process: their names, and what becomes of one that is sent."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

_FIRST_REAL_TIME, _LAST_REAL_TIME = 34, 64
"""SIGRTMIN and SIGRTMAX of most programs (glibc) and of Docker; those of musl begin at 35."""
_REAL_TIME = re.compile(r"RT(MIN|MAX)(?:([+-])(\d{1,2}))?")
_NEVER_DELIVERED = (signal.SIGKILL, signal.SIGSTOP)
_INIT = 1
_NO_HANDLER = "it has no handler for that signal (use an init, such as docker run --init)"


def signal_number(word: str) -> int | None:
    """Return the number of a signal such as `TERM`, `SIGTERM`, `15` or `RTMIN+3`."""
    name = word.upper().removeprefix("SIG")
    if match := _REAL_TIME.fullmatch(name):
        start = _FIRST_REAL_TIME if match[1] == "MIN" else _LAST_REAL_TIME
        number = start + int((match[2] or "+") + (match[3] or "0"))
        return number if _FIRST_REAL_TIME <= number <= _LAST_REAL_TIME else None
    if name.isascii() and name.isdigit():
        number = int(name[:3])
        return number if 0 < number <= _LAST_REAL_TIME else None
    return next((one.value for one in signal.Signals if one.name == f"SIG{name}"), None)


def signal_name(number: int) -> str:
    """Return the name of a signal, as `kill -l` prints it."""
    if number >= _FIRST_REAL_TIME:
        return f"SIGRTMIN+{number - _FIRST_REAL_TIME}".removesuffix("+0")
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def send(number: int, pid: int, attempts: int) -> str:
    """Send the signal of --on-unhealthy; return the message about it.

    The kernel drops a signal to process 1 for which it has no handler, without an error.
    """
    name = signal_name(number)
    if pid == os.getpid():
        return f"{name} was not sent: process {pid} is healthchecker itself"
    if pid == _INIT and number in _NEVER_DELIVERED:
        return f"{name} was not sent: the kernel never delivers it to process 1; use TERM:1"
    drawback = _drawback(number, pid)
    try:
        os.kill(pid, number)
    except OSError as error:
        return f"cannot send {name} to process {pid}: {os.strerror(error.errno or 0)}"
    times = f"{attempts} failed attempt{'s' * (attempts > 1)}"
    return f"sent {name} to process {pid} after {times}{drawback}"


def _drawback(number: int, pid: int) -> str:
    """Return why a process will not receive a signal; nothing if it will, or if that is unknown."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
    masks = dict(re.findall(r"^(Sig\w+):\s*([0-9a-f]+)$", status, re.MULTILINE))

    def is_in(mask: str) -> bool:
        return bool(int(masks.get(mask, "0"), 16) >> (number - 1) & 1)

    if is_in("SigIgn"):
        return ", which ignores that signal"
    if pid == _INIT and "SigCgt" in masks and not is_in("SigCgt"):
        return f", which does not receive it: {_NO_HANDLER}"
    return ""

"""Variables and files in values: `${NAME}`, `${NAME:-DEFAULT}` and `${file:/PATH}`.

An inserted value may be a secret: it appears in no message here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from urllib.parse import quote

from healthchecker._net.deadline import Deadline
from healthchecker._net.unbounded import UnboundedCalls
from healthchecker._values.result import ProbeFailure
from healthchecker._values.target import Expanded

_MAX_FILE_BYTES = 64 * 1024
_FILE_SECONDS = 1.0
"""How long a file may take, as on a network file system that hangs."""

_REPLACED = re.compile(
    r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$(?:\{|[A-Z_][A-Z0-9_]))[^}])*))?\}"
    r"|\$\{file:(?P<file>/[^}$]*)\}"
    r"|(?P<wrong>\$\{|(?<!\$)\$[A-Z_][A-Z0-9_]+(?![A-Za-z0-9_]))",
    re.ASCII,
)
_NAME = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_AUTHORITY = re.compile(r"[^:/?#@]*://((?:[^/?#]*(?=@))?)([^/?#]*)", re.DOTALL)
_HALF_SCHEME = re.compile(r"[^:/?#@]*:/")
_DELIMITERS = re.compile("[/?#@]")
_PLACEHOLDER = "\0"  # no argument and no variable contains it

Encode = Callable[[str], str]


class ExpansionError(ValueError):
    """A value that cannot be expanded; the message completes one that names the option."""


def expand(text: str, escape: Encode | None = None) -> str:
    """Replace variables and files in the value of an option.

    `escape` is applied to inserted values. As in a shell, which the exec form of HEALTHCHECK does
    not have, a default also replaces an empty variable.
    """
    if "$" not in text:
        return text
    made = ""
    replaced: list[tuple[int, int, str]] = []
    for part, original in _parts(text):
        value = part if original is None or escape is None else escape(part)
        if original is not None:
            replaced.append((len(made), len(made) + len(value), original))
        made += value
    return Expanded.of(made, replaced) if replaced else made


def expand_target(text: str) -> str:
    """Replace variables and files in a TARGET.

    In the user info they are data and percent-encoded for the reader of the URL.
    """
    if "$" not in text:
        return text
    parts = list(_parts(text))
    if all(original is None for _, original in parts):
        return text
    authority = _AUTHORITY.match(
        "".join(part if original is None else _PLACEHOLDER for part, original in parts)
    )
    start, end = authority.span(1) if authority else (0, 0)
    end_of_host = authority.end() if authority else 0
    place = 0
    made: list[str] = []
    replaced: list[tuple[int, int, str]] = []
    for part, original in parts:
        if original is None:
            place += len(part)
            made.append(part)
            continue
        value = part
        if start <= place < end:
            is_user = ":" not in "".join(made).partition("://")[2]
            value = _as_user_info(part, original, is_user=is_user)
        else:
            is_host = end <= place < end_of_host
            _refuse_misplaced(part, original, "".join(made), is_host=is_host)
        place += len(_PLACEHOLDER)
        at = sum(map(len, made))
        replaced.append((at, at + len(value), original))
        made.append(value)
    return Expanded.of("".join(made), replaced)


def _refuse_misplaced(value: str, original: str, before: str, *, is_host: bool) -> None:
    """Refuse a value that would change where the host of the URL is: a mistyped password."""
    if is_host and _DELIMITERS.search(value):
        problem = "contains / ? # or @, but is not before an @"
        raise ExpansionError(f"{original} {problem}; use a variable for the whole URL")
    if _HALF_SCHEME.fullmatch(before) and value.startswith("/"):
        raise ExpansionError(f"{original} begins with /; write scheme:// before it")


def _as_user_info(value: str, original: str, *, is_user: bool) -> str:
    if is_user and ":" in value:
        raise ExpansionError(f"{original} contains a colon; use ${{USER}}:${{PASSWORD}}")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise ExpansionError(f"{original} is not text in UTF-8") from error


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield the parts of a text: as they are, or the value and how it was written."""
    at = 0
    for match in _REPLACED.finditer(text):
        if match.start() > at:
            yield text[at : match.start()], None
        at = match.end()
        if match["wrong"]:
            raise ExpansionError(_wrong(text[match.start() :]))
        if match["file"]:
            yield _content(match["file"]).rstrip("\r\n"), match[0]
        else:
            yield _value(match["name"], match["default"]).rstrip("\r\n"), f"${{{match['name']}}}"
    if at < len(text):
        yield text[at:], None


def _value(name: str, default: str | None) -> str:
    if default is not None:
        return os.environ.get(name) or default
    if name not in os.environ:
        raise ExpansionError(
            f"environment variable {name} is not set; use ${{{name}:-DEFAULT}} to give a default"
        )
    return os.environ[name]


def _wrong(text: str) -> str:
    """Return what to write instead; the name is shown only if it is that of a variable."""
    match = _NAME.match(text)
    name = match[1] if match and match[1] in os.environ else "NAME"
    if text.startswith("${"):
        shown = f"${{{name}...}}" if name != "NAME" else "${...}"
        return f"{shown} is not supported; use ${{{name}}}, ${{{name}:-DEFAULT}} or ${{file:/PATH}}"
    shown = f"${name}" if name != "NAME" else "$..."
    return f"{shown} is not replaced; use ${{{name}}}, or ${{X:-$}} for a dollar sign"


def _content(path: str) -> str:
    try:
        data = UnboundedCalls().call(lambda: _read(path), Deadline(_FILE_SECONDS))
    except OSError as error:
        raise ExpansionError(f"{path}: {os.strerror(error.errno or 0)}") from error
    except ProbeFailure as error:
        raise ExpansionError(f"{path}: not read within {_FILE_SECONDS:g} s") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ExpansionError(f"{path}: larger than {_MAX_FILE_BYTES} bytes")
    if b"\0" in data:
        raise ExpansionError(f"{path}: contains a NUL")
    return os.fsdecode(data)


def _read(path: str) -> bytes:
    """Return the start of a regular file, one byte more than the limit."""
    # A FIFO does not block; its type is only known when it is open.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ExpansionError(f"{path}: not a regular file")
        return file.read(_MAX_FILE_BYTES + 1)


def escape_backslashes(value: str) -> str:
    """Return a value for an option whose text has escapes."""
    return value.replace("\\", "\\\\")

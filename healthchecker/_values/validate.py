"""Verification of option values: each function takes a name and any value, and returns one to use.

An unusable value is a `BadArgumentError` that names the argument.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import MAX_UNIX_PATH, read_host, refuse_several
from healthchecker._values.text import encode, is_encodable

if TYPE_CHECKING:
    from healthchecker._values.expect.regex import Pattern

MAX_SECONDS = 24 * 3600.0
MAX_LIFETIME_SECONDS = 3650 * 24 * 3600.0

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
_FRAMING = ("content-length", "transfer-encoding")
_LINUX = sys.platform == "linux"
_NOT_SHOWN = "\N{HORIZONTAL ELLIPSIS}"  # shown instead of a value that may be a secret


def seconds(argument: str, value: object) -> float | None:
    """Accept a limit of up to a day, or None."""
    return None if value is None else check_seconds(argument, value)


def long_seconds(argument: str, value: object) -> float | None:
    """Accept a period of up to ten years, or None."""
    if value is None:
        return None
    return _seconds(argument, value, MAX_LIFETIME_SECONDS, "10 years")


def check_seconds(argument: str, value: object, *, zero: bool = False) -> float:
    """Return a number of seconds that is more than zero (or zero, if allowed) and at most a day."""
    return _seconds(argument, value, MAX_SECONDS, "24 hours", zero=zero)


def _seconds(
    argument: str, value: object, most: float, most_shown: str, *, zero: bool = False
) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadArgumentError(argument, value, "must be a number of seconds")
    if not (0 <= value <= most) or (value == 0 and not zero):
        least = "from 0" if zero else "more than 0"
        raise BadArgumentError(argument, value, f"must be {least} and at most {most_shown}")
    return float(value)


def flag(argument: str, value: object) -> bool:
    """Accept True or False; a text such as "false" would count as true."""
    if not isinstance(value, bool):
        raise BadArgumentError(argument, value, "must be True or False")
    return value


def text(argument: str, value: object) -> str:
    """Accept a text that has bytes in UTF-8."""
    if not isinstance(value, str):
        raise BadArgumentError(argument, value, "must be a string")
    if not is_encodable(value):
        raise BadArgumentError(
            argument, value, "contains a lone surrogate, which UTF-8 cannot encode"
        )
    return value


def optional_text(argument: str, value: object) -> str | None:
    """Accept a text or None."""
    return None if value is None else text(argument, value)


def texts(argument: str, value: object) -> tuple[str, ...]:
    """Accept one text or several."""
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable):
        raise BadArgumentError(argument, value, "must be a string or an iterable of strings")
    return tuple(text(argument, one) for one in value)


def required_texts(argument: str, value: object) -> tuple[str, ...]:
    """Accept one text or several, none of them empty: every body contains an empty text."""
    accepted = texts(argument, value)
    if "" in accepted:
        raise BadArgumentError(argument, "", "empty; expected text to look for")
    return accepted


def pattern(argument: str, text: str) -> Pattern:
    """Accept a regular expression."""
    # A private part of Python's `re` is needed for patterns only.
    from healthchecker._values.expect.regex import Pattern  # noqa: PLC0415

    if not text:
        raise BadArgumentError(argument, text, "empty; expected a regular expression")
    try:
        return Pattern(text)
    except ValueError as error:
        raise BadArgumentError(argument, text, str(error)) from error


def patterns(argument: str, value: object) -> tuple[Pattern, ...]:
    """Accept one regular expression or several."""
    return tuple(pattern(argument, one) for one in texts(argument, value))


def required_payload(argument: str, value: object) -> bytes | None:
    """Accept what `payload` accepts, unless it is empty: every reply contains that."""
    accepted = payload(argument, value)
    if accepted == b"":
        raise BadArgumentError(argument, "", "empty; expected text to look for")
    return accepted


def payload(argument: str, value: object) -> bytes | None:
    """Accept bytes, a text that is sent in UTF-8, or None."""
    if isinstance(value, str) and is_encodable(value):
        return encode(value)
    if value is None or isinstance(value, bytes):
        return value
    raise BadArgumentError(argument, _NOT_SHOWN, "must be bytes or a str without lone surrogates")


def method(argument: str, value: object) -> str:
    """Accept an HTTP method; "" stands for GET, or POST with data."""
    if value is None:
        return ""
    name = text(argument, value)
    if not _TOKEN.fullmatch(name) or name.upper() == "CONNECT":
        raise BadArgumentError(argument, name, "not an HTTP method such as GET or POST")
    return name.upper()


def path(argument: str, value: object) -> str | None:
    """Accept the path of a file, or None."""
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if name is not None and not isinstance(name, str):
        raise BadArgumentError(argument, value, "must be a path: a string or an os.PathLike")
    return optional_text(argument, name)


def unix_socket(argument: str, value: object) -> str | None:
    """Accept the path of a Unix socket, `@NAME` for an abstract one, or None."""
    name = path(argument, value)
    if name is None:
        return None
    if name in ("", "@") or "\0" in name:
        raise BadArgumentError(argument, name, "not a path or @NAME")
    if name.startswith("@") and not _LINUX:
        raise BadArgumentError(
            argument, name, "abstract sockets are only available on Linux; use a path"
        )
    if len(encode(name)) > MAX_UNIX_PATH:
        problem = f"path longer than {MAX_UNIX_PATH} bytes; try a relative path"
        raise BadArgumentError(argument, name, problem)
    refuse_several(argument, name)
    return name


def server_name(argument: str, value: object) -> str | None:
    """Accept the host name or address of a certificate, or None."""
    name = optional_text(argument, value)
    return None if name is None else read_host(argument, name)


def pairs(argument: str, value: object) -> Iterable[tuple[str, object]]:
    """Yield names and values, from a mapping or from pairs."""
    given = value.items() if isinstance(value, Mapping) else value
    problem = "must be a mapping or a sequence of (name, value) pairs"
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise BadArgumentError(argument, _NOT_SHOWN, problem)
    for pair in given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise BadArgumentError(argument, _NOT_SHOWN, problem)
        name, found = pair
        yield text(argument, name), found


def fields(argument: str, value: object) -> tuple[tuple[str, str], ...]:
    """Accept headers to send, from a mapping or from pairs."""
    accepted = [
        (field_name(argument, name), field_value(argument, name, found))
        for name, found in pairs(argument, value)
    ]
    for name, _ in accepted:
        if name.lower() in _FRAMING:
            raise BadArgumentError(argument, name, "is set by healthchecker; remove it")
    if [name.lower() for name, _ in accepted].count("host") > 1:
        raise BadArgumentError(argument, "Host", "may only be given once")
    return tuple(accepted)


def expected_fields(argument: str, value: object) -> tuple[tuple[str, str | None], ...]:
    """Accept headers to expect; the value None accepts any."""
    return tuple(
        (
            field_name(argument, name),
            None if found is None else field_value(argument, name, found),
        )
        for name, found in pairs(argument, value)
    )


_SEPARATOR = re.compile(r"[\s:=]")


def field_name(argument: str, name: str) -> str:
    """Accept the name of a header."""
    if not _TOKEN.fullmatch(name):
        word, *value = _SEPARATOR.split(name, maxsplit=1)
        shown = f"{word}..." if value else word  # the value may be a secret
        raise BadArgumentError(argument, shown, "not a header name such as X-Token")
    return name


def field_value(argument: str, name: str, value: object) -> str:
    """Accept the value of a header, which may be a secret and is not shown."""
    if not isinstance(value, str):
        raise BadArgumentError(argument, name, "value must be a string")
    if not _FIELD_VALUE.fullmatch(value):
        raise BadArgumentError(
            argument, name, "value contains a line feed or another control character"
        )
    return value.strip(" \t")


def credentials(argument: str, value: object) -> tuple[str, str] | None:
    """Accept a user and a password, or None."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and len(value) == 2:  # noqa: PLR2004 - a pair
        user, password = value
        if isinstance(user, str) and isinstance(password, str):
            if ":" in user:
                raise BadArgumentError(
                    argument, _NOT_SHOWN, "the user name must not contain a colon"
                )
            if not is_encodable(user + password):
                raise BadArgumentError(
                    argument, _NOT_SHOWN, "contains a lone surrogate, which UTF-8 cannot encode"
                )
            return (user, password)
    raise BadArgumentError(argument, _NOT_SHOWN, 'must be a pair such as ("user", "password")')


_ROLES = ("primary", "replica", "secondary")


def role(argument: str, value: object) -> str | None:
    """Accept the role of a server; "secondary" is another name for a replica."""
    name = optional_text(argument, value)
    if name is not None and name not in _ROLES:
        raise BadArgumentError(argument, name, f"not one of {', '.join(_ROLES)}")
    return "replica" if name == "secondary" else name

"""The types of options: from the text of an argument or a variable to a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from healthchecker._cli.problems import shown
from healthchecker._cli.signals import signal_number
from healthchecker._values.target import HIDDEN, MAX_PORT
from healthchecker._values.text import parse_duration, parse_escapes
from healthchecker._values.validate import MAX_SECONDS

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """click's own, which takes type parameters since 8.5 only."""

        def __class_getitem__(cls, _: object) -> type:
            return cls


_MAX_COUNT = 1_000_000
_MAX_DIGITS = 7  # of a number that is worth reading
_MAX_PID = 1 << 22  # PID_MAX_LIMIT of Linux


class Port(ParamType[int, object]):
    """A TCP port."""

    name = "port"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and 0 < int(text[:_MAX_DIGITS]) <= MAX_PORT):
            # mysql takes a password after -p: only a number is certain not to be one.
            quoted = shown(text) if text.lstrip("-").isdigit() else repr(HIDDEN)
            self.fail(f"{quoted} is not a port number (1 to {MAX_PORT})", param, ctx)
        return int(text)


class Duration(ParamType[float, object]):
    """Seconds, from text such as `500ms`, `2s`, `1m` or a bare number."""

    name = "duration"

    def __init__(self, *, zero: bool = False, most: float = MAX_SECONDS) -> None:
        self._zero = zero
        self._most = most

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{shown(value)} is {error}", param, ctx)
        if seconds > self._most or (seconds == 0 and not self._zero):
            least = "from 0" if self._zero else "more than 0"
            most = f"{self._most / 3600:.0f}h"
            self.fail(f"{shown(value)} is out of range ({least}, at most {most})", param, ctx)
        return seconds


class Count(ParamType[int, object]):
    """A number of times, 1 or more."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        text = str(value)
        if not (
            text.isascii() and text.isdigit() and 0 < int(text[: _MAX_DIGITS + 1]) <= _MAX_COUNT
        ):
            self.fail(f"{shown(text)} is not a number from 1 to {_MAX_COUNT}", param, ctx)
        return int(text)


class Flag(click.types.BoolParamType):
    """Whether an option without a value is given; in the environment it has a value."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bool:
        given = value if isinstance(value, bool) else self.str_to_bool(str(value))
        if given is None:
            self.fail(f"{shown(value)} is not a boolean (use 1 or 0)", param, ctx)
        return given


class Text(ParamType[str, object]):
    """A text."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        return value if isinstance(value, str) else str(value)  # as it is: it may be `Expanded`


class Lines(Text):
    """A text; a variable may hold several, one per line."""

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return _lines(rv)


class Escaped(ParamType[bytes, object]):
    """Bytes, from a text with escapes. It may hold a secret and is never shown."""

    name = "text"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bytes:
        try:
            return value if isinstance(value, bytes) else parse_escapes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Pair(ParamType[tuple[str, str], object]):
    """Two texts with a separator between. The value may be a secret and is never shown."""

    def __init__(self, separator: str, form: str, *, may_be_empty: bool = False) -> None:
        self.name = form
        self._may_be_empty = may_be_empty
        self._separator = separator
        self._form = form

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        first, separator, second = str(value).partition(self._separator)
        if not separator or not (first.strip() or self._may_be_empty):
            self.fail(f"expected '{self._form}'", param, ctx)
        return self.clean(first, second)

    def clean(self, first: str, second: str) -> tuple[str, str]:
        """Return the two without what does not belong to them."""
        return (first.strip(), second)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return _lines(rv)


class Field(Pair):
    """`NAME: VALUE`, a header or metadata; the white space around both does not count."""

    def __init__(self) -> None:
        super().__init__(":", "NAME: VALUE")

    def clean(self, first: str, second: str) -> tuple[str, str]:
        return (first.strip(), second.strip())


class ExpectedField(ParamType[tuple[str, str | None], object]):
    """`NAME: VALUE`, or `NAME` for a header with any value."""

    name = "NAME[: VALUE]"
    _with_value = Field()

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str | None]:
        if ":" in str(value):
            return self._with_value.convert(value, param, ctx)
        return (str(value).strip(), None)

    def split_envvar_value(self, rv: str) -> Sequence[str]:
        return _lines(rv)


class SignalToProcess(ParamType[tuple[int, int], object]):
    """`TERM:1`: a signal, with or without SIG or by its number, and the id of a process."""

    name = "SIGNAL:PID"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        word, _, pid = str(value).partition(":")
        number = signal_number(word)
        if number is None:
            problem = "unknown signal (expected TERM, HUP, RTMIN+3, ...)"
            self.fail(f"{shown(value)}: {problem}", param, ctx)
        if not (pid.isascii() and pid.isdigit() and 0 < int(pid[:10]) <= _MAX_PID):
            problem = "missing or invalid process id (expected SIGNAL:PID, such as TERM:1)"
            self.fail(f"{shown(value)}: {problem}", param, ctx)
        return (number, int(pid))


class Credentials(Pair):
    """`USER:PASSWORD` of basic authentication; both are taken as they are and may be empty."""

    def __init__(self) -> None:
        super().__init__(":", "USER:PASSWORD", may_be_empty=True)

    def clean(self, first: str, second: str) -> tuple[str, str]:
        return (first, second)


class OutputFormat(ParamType[bool, object]):
    """`text` or `json`: whether the output is JSON."""

    name = "format"
    _choice = click.Choice(["text", "json"])

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return self._choice.get_metavar(param, ctx)

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> bool:
        if value not in self._choice.choices:
            self.fail(f"{shown(value)} is neither 'text' nor 'json'", param, ctx)
        return value == "json"


def _lines(text: str) -> list[str]:
    """Return the lines that are not blank: a block of YAML ends with a line feed."""
    return [line for line in text.split("\n") if line.strip()]

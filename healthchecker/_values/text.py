"""From text to values that the command line and the library share: bytes, escapes, durations."""

from __future__ import annotations

import os
import re

FilePath = str | os.PathLike[str]

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(
    "".join(rf"(?:{_NUMBER}{unit}(?![a-z]))?" for unit in _UNITS) + "|" + _NUMBER, re.ASCII
)
_ESCAPE_OR_TEXT = re.compile(r"[^\\]+|\\x[0-9A-Fa-f]{2}|\\.?", re.DOTALL)
_ESCAPES = {r"\r": b"\r", r"\n": b"\n", r"\t": b"\t", r"\0": b"\0", r"\\": b"\\"}


def encode(text: str) -> bytes:
    """Return the bytes of a text of the command line or of the library.

    Python decodes bytes of a command line that are not UTF-8 to lone surrogates; they become those
    bytes again. Raises `UnicodeEncodeError` for other surrogates.
    """
    return text.encode("utf-8", "surrogateescape")


def is_encodable(text: str) -> bool:
    """Return whether `encode` accepts a text."""
    try:
        encode(text)
    except UnicodeEncodeError:
        return False
    return True


def parse_duration(text: str) -> float:
    """Return the seconds of `500ms`, `2s`, `1m30s`, `1h`, `7d` or a bare number."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError("not a duration (500ms, 2s, 1m30s, 1h, 7d, or seconds)")
    *amounts, seconds = match.groups()
    if seconds is not None:
        return float(seconds)
    return sum(
        float(amount or 0) * unit for amount, unit in zip(amounts, _UNITS.values(), strict=True)
    )


def parse_escapes(text: str) -> bytes:
    r"""Return the bytes of a text with the escapes `\r \n \t \0 \xNN \\`."""
    return b"".join(map(_unescape, _ESCAPE_OR_TEXT.findall(text)))


def _unescape(part: str) -> bytes:
    if not part.startswith("\\"):
        return encode(part)
    if len(part) == len(r"\xNN"):
        return bytes.fromhex(part[2:])
    if part not in _ESCAPES:
        raise ValueError(rf"{part} is not an escape such as \r \n \t \0 \xNN or \\")
    return _ESCAPES[part]

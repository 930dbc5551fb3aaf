"""How to check: the options of a check, from text or plain values to what probers use."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from healthchecker._values.expect.judge import (
    SWITCHING_PROTOCOLS,
    JsonExpectation,
    StatusSet,
    encode,
    expect_json,
    expect_json_at,
    parse_status,
)
from healthchecker._values.expect.regex import Pattern
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import MAX_UNIX_PATH, Scheme, read_host, refuse_several

MAX_SECONDS = 24 * 3600.0
MAX_LIFETIME_SECONDS = 3650 * 24 * 3600.0

REQUEST_OPTIONS = frozenset({"headers", "basic_auth"})
"""The options of a request that carries headers or metadata."""
HTTP_OPTIONS = REQUEST_OPTIONS | {
    "method",
    "data",
    "http2",
    "status",
    "expect_json",
    "expect_body",
    "match_body",
    "expect_header",
    "follow_redirects",
}
REPLY_OPTIONS = frozenset({"send", "expect_reply"})
"""The options of a target that answers in words."""
TLS_OPTIONS = frozenset({"cacert", "cert", "key", "server_name", "insecure", "cert_lifetime"})
SPECIAL_OPTIONS = {
    **dict.fromkeys(HTTP_OPTIONS, "HTTP"),
    **dict.fromkeys(REQUEST_OPTIONS, "HTTP and gRPC"),
    **dict.fromkeys(REPLY_OPTIONS, "TCP and Unix socket"),
    **dict.fromkeys(TLS_OPTIONS, "TLS"),
    "expect_body": "HTTP and file",
    "max_age": "file",
}
"""The options that not every target has a use for, and which targets have, in words."""

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|s|m|h|d)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}
_ESCAPE_OR_TEXT = re.compile(r"[^\\]+|\\x[0-9A-Fa-f]{2}|\\.?", re.DOTALL)
_ESCAPES = {r"\r": b"\r", r"\n": b"\n", r"\t": b"\t", r"\0": b"\0", r"\\": b"\\"}
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
_FRAMING = ("content-length", "transfer-encoding")
_LINUX = sys.platform == "linux"
_OK = StatusSet(((200, 200),), "200")
_HIDDEN = "\N{HORIZONTAL ELLIPSIS}"  # stands for what may be a secret


FilePath = str | os.PathLike[str]


class OptionValues(TypedDict, total=False):
    """The options as `check()` and `watch()` take them."""

    connect_timeout: float | None
    method: str | None
    data: str | bytes | None
    http2: bool
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    basic_auth: tuple[str, str] | None
    status: str | int | Iterable[str | int]
    expect_json: Mapping[str, object] | Iterable[str | tuple[str, object]]
    expect_body: str | Iterable[str]
    match_body: str | Iterable[str]
    expect_header: Mapping[str, str | None] | Iterable[tuple[str, str | None]]
    follow_redirects: bool
    send: str | bytes | None
    expect_reply: str | bytes | None
    max_age: float | None
    cacert: FilePath | None
    cert: FilePath | None
    key: FilePath | None
    server_name: str | None
    insecure: bool
    cert_lifetime: float | None
    loopback_only: bool
    unix_socket: FilePath | None


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How https and grpcs targets are verified, and by what we are known to them."""

    cacert: str | None = None
    """A PEM file of the authorities to trust, in place of the system's."""
    cert: str | None = None
    key: str | None = None
    server_name: str | None = None
    """The name to ask for and to verify, in place of the target's host."""
    insecure: bool = False
    cert_lifetime: float | None = None
    """Seconds for which the peer's certificate must be valid from now on."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Everything about a check but its target and its time limit; all values are verified."""

    connect_timeout: float | None = None
    """Seconds for look-up, connect and TLS together."""
    method: str = "GET"
    data: bytes | None = None
    """The body of the request."""
    http2: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    basic_auth: tuple[str, str] | None = None
    status: StatusSet = _OK
    expect_json: tuple[JsonExpectation, ...] = ()
    expect_body: tuple[str, ...] = ()
    match_body: tuple[Pattern, ...] = ()
    expect_header: tuple[tuple[str, str | None], ...] = ()
    follow_redirects: bool = False
    send: bytes | None = None
    expect_reply: bytes | None = None
    max_age: float | None = None
    """Seconds since a file changed."""
    tls: TlsOptions = TlsOptions()
    loopback_only: bool = False
    unix_socket: str | None = None


_DEFAULT = CheckOptions()


def usable_options(scheme: Scheme, *, follow_redirects: bool) -> frozenset[str]:
    """Return the special options that targets of a scheme have a use for."""
    may_follow = follow_redirects and "follow_redirects" in scheme.options
    # A redirect may lead from http to https.
    return scheme.options | TLS_OPTIONS if scheme.tls or may_follow else scheme.options


def not_applicable(name: str, scheme: str) -> BadArgumentError:
    """Return the error for a special option that no target has a use for."""
    problem = (
        f"applies to {SPECIAL_OPTIONS[name]} targets only; leave it out or check such a target"
    )
    return BadArgumentError(name, f"{scheme}://", problem)


def options_for(
    scheme: str, usable: Mapping[str, frozenset[str]], options: CheckOptions
) -> CheckOptions:
    """Return the options that mean something to targets of a scheme.

    `usable` names, for each scheme that is checked together with it, the special options that it
    has a use for. One that none of them has a use for is refused: it would be taken for a check
    that is made.
    """
    if options is _DEFAULT:  # as most are
        return options
    unused = {}
    for name in sorted(SPECIAL_OPTIONS.keys() - usable[scheme]):
        if _special(options, name) != _special(_DEFAULT, name):
            if not any(name in names for names in usable.values()):
                raise not_applicable(name, scheme)
            field = "tls" if name in TLS_OPTIONS else name
            unused[field] = getattr(_DEFAULT, field)
    return replace(options, **unused) if unused else options


def _special(options: CheckOptions, name: str) -> object:
    return getattr(options.tls if name in TLS_OPTIONS else options, name)


def make_options(**values: object) -> CheckOptions:
    """Verify option values (see `OptionValues`); raise `BadArgumentError` naming the first bad one.

    The parameters are not spelled out a second time: `check()` and the command line both come
    here with what their callers gave.
    """
    if not values:
        return _DEFAULT  # most checks are: nothing to verify
    return _make(OptionValues(**values))  # type: ignore[typeddict-item]


def _make(given: OptionValues) -> CheckOptions:
    unknown = set(given) - OptionValues.__optional_keys__
    if unknown:
        raise TypeError(f"unknown option: {min(unknown)}")
    data = _bytes("data", given.get("data"))
    method = _optional_text("method", given.get("method")) or ("GET" if data is None else "POST")
    if not _TOKEN.fullmatch(method) or method.upper() == "CONNECT":
        raise BadArgumentError("method", method, "not an HTTP method such as GET or POST")
    tls = TlsOptions(
        cacert=_path("cacert", given.get("cacert")),
        cert=_path("cert", given.get("cert")),
        key=_path("key", given.get("key")),
        server_name=_server_name("server_name", given.get("server_name")),
        insecure=_flag("insecure", given.get("insecure", False)),
        cert_lifetime=_long_time("cert_lifetime", given.get("cert_lifetime")),
    )
    if tls.key is not None and tls.cert is None:
        raise BadArgumentError("key", tls.key, "needs a certificate, too; give it by --cert")
    if tls.insecure and tls.cacert is not None:
        raise BadArgumentError(
            "cacert", tls.cacert, "cannot be combined with insecure; leave one out"
        )
    if tls.insecure and tls.cert_lifetime is not None:
        problem = "cannot be combined with insecure; leave one out"
        raise BadArgumentError("cert_lifetime", tls.cert_lifetime, problem)
    connect_timeout = given.get("connect_timeout")
    if connect_timeout is not None:
        connect_timeout = check_seconds("connect_timeout", connect_timeout)
    options = CheckOptions(
        connect_timeout=connect_timeout,
        method=method.upper(),
        data=data,
        http2=_flag("http2", given.get("http2", False)),
        headers=_fields("headers", given.get("headers", ())),
        basic_auth=_credentials("basic_auth", given.get("basic_auth")),
        status=parse_status(_status_list(given.get("status", "200"))),
        expect_json=_json_expectations("expect_json", given.get("expect_json", ())),
        expect_body=_texts("expect_body", given.get("expect_body", ())),
        match_body=_patterns("match_body", given.get("match_body", ())),
        expect_header=_expected_fields("expect_header", given.get("expect_header", ())),
        follow_redirects=_flag("follow_redirects", given.get("follow_redirects", False)),
        send=_bytes("send", given.get("send")),
        expect_reply=_bytes("expect_reply", given.get("expect_reply")),
        max_age=_long_time("max_age", given.get("max_age")),
        tls=tls,
        loopback_only=_flag("loopback_only", given.get("loopback_only", False)),
        unix_socket=_unix_socket(_path("unix_socket", given.get("unix_socket"))),
    )
    expects_body = options.expect_body or options.match_body or options.expect_json
    if options.method == "HEAD" and expects_body:
        raise BadArgumentError("method", method, "an answer to HEAD has no body to expect; use GET")
    asks_to_switch = any(name.lower() == "upgrade" for name, _ in options.headers)
    if not asks_to_switch and (SWITCHING_PROTOCOLS, SWITCHING_PROTOCOLS) in options.status.ranges:
        problem = "nobody answers 101 where no header Upgrade asks for it; add that header"
        raise BadArgumentError("status", options.status.text, problem)
    return options


def parse_duration(text: str) -> float:
    """Return the seconds that `500ms`, `2s`, `1m`, `1h`, `7d` or a bare number stand for."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("not a duration such as 500ms, 2s, 1m or a number of seconds")
    return float(match[1]) * _UNITS[match[2]]


def parse_escapes(text: str) -> bytes:
    r"""Return the bytes that a text with the escapes `\r \n \t \0 \xNN \\` stands for."""
    return b"".join(map(_unescape, _ESCAPE_OR_TEXT.findall(text)))


def _unescape(part: str) -> bytes:
    if not part.startswith("\\"):
        return encode(part)
    if len(part) == len(r"\xNN"):
        return bytes.fromhex(part[2:])
    if part not in _ESCAPES:
        raise ValueError(rf"{part} is not an escape such as \r \n \t \0 \xNN or \\")
    return _ESCAPES[part]


def check_seconds(argument: str, value: object, *, zero: bool = False) -> float:
    """Return a number of seconds that is more than zero (or zero, if allowed) and at most a day."""
    return _seconds(argument, value, MAX_SECONDS, "24 hours", zero=zero)


def _long_time(argument: str, value: object) -> float | None:
    if value is None:
        return None
    return _seconds(argument, value, MAX_LIFETIME_SECONDS, "10 years")


def _seconds(
    argument: str, value: object, most: float, most_words: str, *, zero: bool = False
) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadArgumentError(argument, value, "must be a number of seconds")
    if not (0 <= value <= most) or (value == 0 and not zero):
        least = "from 0" if zero else "more than 0"
        raise BadArgumentError(argument, value, f"must be {least} and at most {most_words}")
    return float(value)


def basic_authorization(credentials: tuple[str, str]) -> str:
    """Return the value of the header `Authorization` (RFC 7617)."""
    return "Basic " + b64encode(encode(":".join(credentials))).decode("ascii")


def _text(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadArgumentError(argument, value, "must be a string")
    if not _stands_for_bytes(value):
        raise BadArgumentError(argument, value, "has a lone surrogate; give what UTF-8 can encode")
    return value


def _stands_for_bytes(text: str) -> bool:
    try:
        encode(text)
    except UnicodeEncodeError:
        return False
    return True


def _optional_text(argument: str, value: object) -> str | None:
    return None if value is None else _text(argument, value)


def _texts(argument: str, value: object) -> tuple[str, ...]:
    """Take one text or several."""
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable):
        raise BadArgumentError(argument, value, "must be a string, or several")
    return tuple(_text(argument, one) for one in value)


def _patterns(argument: str, value: object) -> tuple[Pattern, ...]:
    """Take one regular expression or several."""
    patterns = []
    for text in _texts(argument, value):
        try:
            patterns.append(Pattern(text))
        except ValueError as error:
            raise BadArgumentError(argument, text, str(error)) from error
    return tuple(patterns)


def _bytes(argument: str, value: object) -> bytes | None:
    if isinstance(value, str) and _stands_for_bytes(value):
        return encode(value)
    if value is None or isinstance(value, bytes):
        return value
    # It may hold a secret.
    raise BadArgumentError(argument, _HIDDEN, "must be bytes or a string without lone surrogates")


def _flag(argument: str, value: object) -> bool:
    # A text such as "false" would count as true.
    if not isinstance(value, bool):
        raise BadArgumentError(argument, value, "must be True or False")
    return value


def _path(argument: str, value: object) -> str | None:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if path is not None and not isinstance(path, str):
        raise BadArgumentError(argument, value, "must be a path: a string or an os.PathLike")
    return _optional_text(argument, path)


def _pairs(argument: str, value: object) -> Iterable[tuple[str, object]]:
    """Yield names and values, from a mapping or from pairs."""
    pairs = value.items() if isinstance(value, Mapping) else value
    problem = "must be a mapping, or pairs of a name and a value"
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise BadArgumentError(argument, _HIDDEN, problem)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:  # noqa: PLR2004 - a pair
            raise BadArgumentError(argument, _HIDDEN, problem)
        name, found = pair
        yield _text(argument, name), found


def _fields(argument: str, value: object) -> tuple[tuple[str, str], ...]:
    fields = [
        (_field_name(argument, name), _field_value(argument, name, found))
        for name, found in _pairs(argument, value)
    ]
    for name, _ in fields:
        if name.lower() in _FRAMING:
            raise BadArgumentError(argument, name, "is set by --data alone; leave it out")
    if [name.lower() for name, _ in fields].count("host") > 1:
        raise BadArgumentError(argument, "Host", "can be given only once; leave one out")
    return tuple(fields)


def _expected_fields(argument: str, value: object) -> tuple[tuple[str, str | None], ...]:
    """Take names with their values, or with None where any value will do."""
    return tuple(
        (
            _field_name(argument, name),
            None if found is None else _field_value(argument, name, found),
        )
        for name, found in _pairs(argument, value)
    )


def _field_name(argument: str, name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise BadArgumentError(argument, name, "not a header name such as X-Token")
    return name


def _field_value(argument: str, name: str, value: object) -> str:
    # The value may be a secret: it is not shown.
    if not isinstance(value, str):
        raise BadArgumentError(argument, name, "its value must be a string")
    if not _FIELD_VALUE.fullmatch(value):
        raise BadArgumentError(
            argument, name, "its value may not have line feeds or other control characters"
        )
    return value.strip(" \t")


def _credentials(argument: str, value: object) -> tuple[str, str] | None:
    if value is None:
        return None
    if isinstance(value, (tuple, list)) and len(value) == 2:  # noqa: PLR2004 - a pair
        user, password = value
        if isinstance(user, str) and isinstance(password, str):
            if ":" in user:
                raise BadArgumentError(argument, _HIDDEN, "a user may not have a colon in it")
            if not _stands_for_bytes(user + password):
                raise BadArgumentError(
                    argument, _HIDDEN, "has a lone surrogate; give what UTF-8 can encode"
                )
            return (user, password)
    raise BadArgumentError(argument, _HIDDEN, 'must be a pair such as ("user", "password")')


def _status_list(value: object) -> str:
    """Return the text of a status such as 200, "2xx" or [200, 204]."""
    parts = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)):
            raise BadArgumentError("status", value, "must be codes such as 200, '2xx', [200, 204]")
    return ",".join(str(part) for part in parts)


def _json_expectations(argument: str, value: object) -> tuple[JsonExpectation, ...]:
    """Take texts such as `status=UP`, as the command line has them, or paths with their values."""
    texts: list[str] = []
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        given = list(value)
        texts = [one for one in given if isinstance(one, str)]
        value = [one for one in given if not isinstance(one, str)]
    return (
        *(expect_json(argument, text) for text in texts),
        *(expect_json_at(argument, path, wanted) for path, wanted in _pairs(argument, value)),
    )


def _server_name(argument: str, value: object) -> str | None:
    name = _optional_text(argument, value)
    return None if name is None else read_host(argument, name)


def _unix_socket(name: str | None) -> str | None:
    if name is None:
        return None
    if name in ("", "@") or "\0" in name:
        raise BadArgumentError("unix_socket", name, "not a path or @NAME")
    if name.startswith("@") and not _LINUX:
        raise BadArgumentError(
            "unix_socket", name, "abstract sockets exist on Linux only; give a path"
        )
    if len(encode(name)) > MAX_UNIX_PATH:
        raise BadArgumentError(
            "unix_socket",
            name,
            f"longer than {MAX_UNIX_PATH} bytes; a relative path may be shorter",
        )
    refuse_several("unix_socket", name)
    return name

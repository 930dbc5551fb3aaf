"""How to check: the options of a check, verified.

An option is declared here twice, as `OptionValues` (the parameter of the library) and as a field
of `CheckOptions` or `TlsOptions` (default, verification, documentation), and once more in
`_cli/options.py`. Which targets take it is up to the `Scheme.options` of each protocol.
"""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from healthchecker._values import validate
from healthchecker._values.expect.json_path import JsonExpectation, json_expectations
from healthchecker._values.expect.status import SWITCHING_PROTOCOLS, StatusSet, status_set
from healthchecker._values.field import option
from healthchecker._values.result import BadArgumentError
from healthchecker._values.text import FilePath, encode
from healthchecker._values.tls_options import NO_TLS, TlsOptions

if TYPE_CHECKING:
    from healthchecker._values.expect.regex import Pattern

_OK = StatusSet(((200, 200),), "200")


class OptionValues(TypedDict, total=False):
    """The options of a check, as `check()`, `watch()` and their relatives take them."""

    connect_timeout: float | None
    """Time limit for lookup, connect and TLS together, in seconds."""
    method: str | None
    """HTTP method; POST is the default if there is data."""
    data: str | bytes | None
    """Body of the HTTP request."""
    http2: bool
    """Whether to use HTTP/2; on http:// with prior knowledge."""
    proxy_protocol: bool
    """Whether to send a PROXY protocol v1 header first."""
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    """HTTP headers or gRPC metadata to send."""
    basic_auth: tuple[str, str] | None
    """User and password for HTTP basic authentication."""
    status: str | int | Iterable[str | int]
    """Accepted HTTP status codes, such as 200, "2xx" or [200, 204]."""
    expect_json: str | Mapping[str, object] | Iterable[str | tuple[str, object]]
    """Values at paths of the JSON body, or texts such as `n>=2`; `...` accepts any value."""
    expect_body: str | Iterable[str]
    """Texts that the body or the file must contain."""
    match_body: str | Iterable[str]
    """Regular expressions that must match in the body."""
    expect_header: Mapping[str, str | None] | Iterable[tuple[str, str | None]]
    """Headers that the response must have; the value None accepts any."""
    follow_redirects: bool
    """Whether to follow up to 5 redirects to the same host."""
    send: str | bytes | None
    """Data to send after connecting."""
    expect_reply: str | bytes | None
    """Data that the reply must contain."""
    max_age: float | None
    """Maximum time since the file was modified, in seconds."""
    starttls: bool
    """Whether to switch to TLS by the protocol's own command first."""
    login: bool
    """Whether to log in with the user and password of the target."""
    role: str | None
    """Role that the server must have: "primary", "replica" or "secondary"."""
    cacert: FilePath | None
    """PEM file with the CA certificates to trust instead of the system's."""
    cert: FilePath | None
    """PEM file with the client certificate."""
    key: FilePath | None
    """PEM file with the client certificate's key."""
    server_name: str | None
    """Name to request and to verify, instead of the target's host."""
    insecure: bool
    """Whether the server's certificate is accepted unverified."""
    cert_lifetime: float | None
    """Time from now for which the server's certificate must be valid, in seconds."""
    loopback_only: bool
    """Whether to refuse targets and redirects that resolve to anything but loopback."""
    unix_socket: FilePath | None
    """Unix socket to connect over; "@NAME" is an abstract one."""


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Everything about a check but its target and its time limit; all values are verified."""

    connect_timeout: float | None = option(
        None,
        validate.seconds,
        "Time limit for lookup, connect and TLS together",
        unit="seconds",
        for_every_target=True,
    )
    method: str = option(
        "GET", validate.method, "HTTP method; POST is the default if there is data"
    )
    data: bytes | None = option(None, validate.payload, "Body of the HTTP request")
    http2: bool = option(
        False, validate.flag, "Whether to use HTTP/2; on http:// with prior knowledge"
    )
    proxy_protocol: bool = option(
        False, validate.flag, "Whether to send a PROXY protocol v1 header first"
    )
    headers: tuple[tuple[str, str], ...] = option(
        (), validate.fields, "HTTP headers or gRPC metadata to send"
    )
    basic_auth: tuple[str, str] | None = option(
        None, validate.credentials, "User and password for HTTP basic authentication"
    )
    status: StatusSet = option(  # noqa: RUF009 - a field
        _OK, status_set, 'Accepted HTTP status codes, such as 200, "2xx" or [200, 204]', shown="200"
    )
    expect_json: tuple[JsonExpectation, ...] = option(
        (),
        json_expectations,
        "Values at paths of the JSON body, or texts such as `n>=2`; `...` accepts any value",
    )
    expect_body: tuple[str, ...] = option(
        (), validate.required_texts, "Texts that the body or the file must contain"
    )
    match_body: tuple[Pattern, ...] = option(
        (), validate.patterns, "Regular expressions that must match in the body"
    )
    expect_header: tuple[tuple[str, str | None], ...] = option(
        (),
        validate.expected_fields,
        "Headers that the response must have; the value None accepts any",
    )
    follow_redirects: bool = option(
        False, validate.flag, "Whether to follow up to 5 redirects to the same host"
    )
    send: bytes | None = option(None, validate.payload, "Data to send after connecting")
    expect_reply: bytes | None = option(
        None, validate.required_payload, "Data that the reply must contain"
    )
    max_age: float | None = option(
        None, validate.long_seconds, "Maximum time since the file was modified", unit="seconds"
    )
    starttls: bool = option(
        False, validate.flag, "Whether to switch to TLS by the protocol's own command first"
    )
    login: bool = option(
        False, validate.flag, "Whether to log in with the user and password of the target"
    )
    role: str | None = option(
        None, validate.role, 'Role that the server must have: "primary", "replica" or "secondary"'
    )
    tls: TlsOptions = NO_TLS
    loopback_only: bool = option(
        False,
        validate.flag,
        "Whether to refuse targets and redirects that resolve to anything but loopback",
        for_every_target=True,
    )
    unix_socket: str | None = option(
        None,
        validate.unix_socket,
        'Unix socket to connect over; "@NAME" is an abstract one',
        for_every_target=True,
    )


_DEFAULT = CheckOptions()

_FIELDS = {one.name: one for one in fields(CheckOptions) if one.name != "tls"}
_TLS_FIELDS = {one.name: one for one in fields(TlsOptions)}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    name: (_FIELDS.get(name) or _TLS_FIELDS[name]).metadata for name in OptionValues.__annotations__
}
"""What `option` declares of each option, in the order of `OptionValues`."""

TLS_OPTIONS = frozenset(_TLS_FIELDS)
"""The options of every target that uses TLS."""
FOR_EVERY_TARGET = frozenset(
    name for name, metadata in OPTIONS.items() if metadata["for_every_target"]
)
"""The options that no `Scheme` has to name."""


Function = TypeVar("Function", bound=Callable[..., Any])


def with_options_documented(function: Function) -> Function:
    """Add the list of options, with types, units, defaults and meanings, to a docstring."""
    if function.__doc__:  # not in an executable without docstrings
        indent = "" if sys.version_info >= (3, 13) else "    "  # the compiler of 3.13 removes it
        listed = "\n".join(
            f"{indent}{name}: {type_of(name)} = {metadata['shown']}\n{indent}    {meaning_of(name)}"
            for name, metadata in OPTIONS.items()
        )
        function.__doc__ = f"{function.__doc__.rstrip()}\n\n{indent}Options:\n\n{listed}\n"
    return function


def meaning_of(name: str) -> str:
    """Return a sentence about an option, with its unit."""
    metadata = OPTIONS[name]
    return (
        f"{metadata['meaning']}, in {metadata['unit']}."
        if metadata["unit"]
        else f"{metadata['meaning']}."
    )


def type_of(name: str) -> str:
    """Return the type of an option of the library, as it is written."""
    annotation = OptionValues.__annotations__[name]
    text = str(getattr(annotation, "__forward_arg__", annotation))
    return text.replace("FilePath", "str | os.PathLike[str]")


def given_options(options: CheckOptions) -> list[str]:
    """Return the names of the options that differ from their defaults."""
    if options is _DEFAULT:  # as most are
        return []
    return [
        *(name for name in _FIELDS if getattr(options, name) != getattr(_DEFAULT, name)),
        *(name for name in TLS_OPTIONS if getattr(options.tls, name) != getattr(NO_TLS, name)),
    ]


def without(options: CheckOptions, names: Iterable[str]) -> CheckOptions:
    """Return the options with some of them at their defaults."""
    unused = {"tls" if name in TLS_OPTIONS else name for name in names}
    if not unused:
        return options
    return replace(options, **{name: getattr(_DEFAULT, name) for name in unused})


def make_options(**values: object) -> CheckOptions:
    """Verify option values (see `OptionValues`); raise `BadArgumentError` naming the first bad one.

    The parameters are not repeated here: both `check()` and the command line pass on what they
    were given.
    """
    if not values:
        return _DEFAULT  # most checks are: nothing to verify
    verified: dict[str, Any] = {}
    tls: dict[str, Any] = {}
    for name, value in values.items():
        if name not in OPTIONS:
            raise TypeError(f"unknown option: {name}")
        into = tls if name in TLS_OPTIONS else verified
        into[name] = OPTIONS[name]["verify"](name, value)
    if tls:
        verified["tls"] = _consistent_tls(TlsOptions(**tls))
    if not verified.get("method"):
        verified["method"] = "GET" if verified.get("data") is None else "POST"
    return _consistent(CheckOptions(**verified))


def _consistent_tls(tls: TlsOptions) -> TlsOptions:
    """Refuse TLS options that contradict each other."""
    if tls.key is not None and tls.cert is None:
        raise BadArgumentError("key", tls.key, "also needs a certificate (cert=)")
    if tls.insecure:
        for name in ("cacert", "cert_lifetime"):
            value = getattr(tls, name)
            if value is not None:
                problem = "cannot be combined with insecure="
                raise BadArgumentError(name, value, problem)
    return tls


def _consistent(options: CheckOptions) -> CheckOptions:
    """Refuse options that contradict each other."""
    expects_body = options.expect_body or options.match_body or options.expect_json
    if options.method == "HEAD" and expects_body:
        problem = "a response to HEAD has no body; use GET"
        raise BadArgumentError("method", options.method, problem)
    upgrades = any(name.lower() == "upgrade" for name, _ in options.headers)
    if not upgrades and (SWITCHING_PROTOCOLS, SWITCHING_PROTOCOLS) in options.status.ranges:
        problem = "101 can only be expected when the request has an Upgrade header; add one"
        raise BadArgumentError("status", options.status.text, problem)
    return options


def basic_authorization(credentials: tuple[str, str]) -> str:
    """Return the value of the header `Authorization` (RFC 7617)."""
    return "Basic " + b64encode(encode(":".join(credentials))).decode("ascii")

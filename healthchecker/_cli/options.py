"""Every option and argument of the command line, each declared once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from healthchecker._cli.environment import variable_of
from healthchecker._cli.expansion import escape_backslashes
from healthchecker._cli.parsing import (
    HEADINGS,
    Argument,
    Option,
    flag,
    optional,
    repeatable,
    with_default,
)
from healthchecker._cli.types import (
    Count,
    Credentials,
    Duration,
    Escaped,
    ExpectedField,
    Field,
    Lines,
    OutputFormat,
    Port,
    SignalToProcess,
    Text,
)
from healthchecker._protocols.registry import LEADS_TO_TLS, SCHEMES, applies
from healthchecker._values.validate import MAX_LIFETIME_SECONDS

TARGETS: Argument[tuple[str, ...]] = Argument(
    ["targets"], metavar="[TARGET]...", nargs=-1, type=Lines(), envvar=variable_of("--target")
)
REQUIRED_TARGET: Argument[str] = Argument(
    ["targets"], metavar="TARGET", type=Lines(), envvar=variable_of("--target")
)
DESTINATION: Argument[str] = Argument(["destination"], metavar="DEST", type=click.UNPROCESSED)

# The target if none is named

HOST = with_default(
    "--host",
    type=click.STRING,
    default="127.0.0.1",
    help="Host to check when no TARGET is given.",
    conflicts_with=(TARGETS,),
    expands=True,
)
PORT = with_default(
    "-p",
    "--port",
    "-port",
    type=Port(),
    default="80",
    help="Port to check when no TARGET is given.",
    conflicts_with=(TARGETS,),
    expands=True,
)
PATH = with_default(
    "--path",
    type=Text(),
    default="/health",
    help="Path to request when no TARGET is given.",
    conflicts_with=(TARGETS,),
    expands=True,
)

# The options of the library's check(), under the same names

UNIX_SOCKET = optional(
    "--unix-socket",
    type=click.STRING,
    metavar="PATH",
    help="Connect through this Unix socket instead of TCP; @NAME for an abstract socket.",
    conflicts_with=(HOST, PORT),
    expands=True,
)
CONNECT_TIMEOUT = optional(
    "--connect-timeout",
    type=Duration(),
    help="Time limit for DNS lookup, connecting and the TLS handshake together.",
)
HEADERS = repeatable(
    "-H",
    "--header",
    "headers",
    metavar="'NAME: VALUE'",
    type=Field(),
    help="Add an HTTP header or gRPC metadata; may override Host. Repeatable.",
    expands=True,
)
BASIC_AUTH = optional(
    "--basic-auth",
    metavar="USER:PASSWORD",
    type=Credentials(),
    help="User and password for HTTP basic authentication.",
    expands=True,
)
STATUS = with_default(
    "--status",
    type=click.STRING,
    metavar="LIST",
    default="200",
    help="Accepted HTTP status codes: 200, 200,204, 2xx or 200-399.",
)
EXPECT_JSON = repeatable(
    "--expect-json",
    metavar="'PATH[=VALUE]'",
    type=Lines(),
    help="Require a JSON field such as status or checks[0].n; with = != < <= > >= or ~ (a regular "
    "expression), a value. Repeatable.",
)
EXPECT_BODY = repeatable(
    "--expect-body",
    metavar="TEXT",
    type=Lines(),
    help="Require this text in the response body or the file. Repeatable.",
)
MATCH_BODY = repeatable(
    "--match-body",
    metavar="REGEX",
    type=Lines(),
    help="Require the body to match this regular expression. Repeatable.",
)
EXPECT_HEADER = repeatable(
    "--expect-header",
    metavar="'NAME[: VALUE]'",
    type=ExpectedField(),
    help="Require a response header, and this exact value if one is given. Repeatable.",
)
METHOD = optional(
    "--method",
    type=click.STRING,
    metavar="METHOD",
    help="HTTP method. [default: GET, or POST with --data]",
    conflicts_with=(EXPECT_JSON, EXPECT_BODY, MATCH_BODY),
    conflicts_as="HEAD",
)
DATA = optional(
    "--data",
    type=click.STRING,
    metavar="TEXT",
    help="HTTP request body.",
    expands=True,
)
PROXY_PROTOCOL = flag(
    "--proxy-protocol",
    help="Send a PROXY protocol v1 header first, as HAProxy does.",
)
HTTP2 = flag(
    "--http2",
    help="Use HTTP/2: negotiated by ALPN on https://, with prior knowledge (h2c) on http://.",
)
FOLLOW_REDIRECTS = flag(
    "--follow-redirects",
    help="Follow up to 5 redirects on the same host; by default a 3xx status is unhealthy.",
)
SEND = optional(
    "--send",
    metavar="TEXT",
    type=Escaped(),
    help=r"Text to send to a tcp:, tls:, udp: or unix: target; escapes: \r \n \t \0 \xNN \\.",
    expands=True,
    escape=escape_backslashes,
)
EXPECT_REPLY = optional(
    "--expect-reply",
    metavar="TEXT",
    type=Escaped(),
    help="Require this text in the reply; same escapes as --send.",
)
MAX_AGE = optional(
    "--max-age",
    type=Duration(most=MAX_LIFETIME_SECONDS),
    help="Maximum age of the file's last modification.",
)
LOGIN = flag("--login", help="Log in with the user and password of the TARGET.")
ROLE = optional(
    "--role",
    type=click.STRING,
    metavar="ROLE",
    help="Require that the server is a primary, replica or secondary.",
)
STARTTLS = flag("--starttls", help="Switch to TLS by the protocol's own command first.")
CACERT = optional(
    "--cacert", type=click.STRING, metavar="FILE", help="PEM file of CA certificates to trust."
)
CERT = optional(
    "--cert", type=click.STRING, metavar="FILE", help="PEM file with the client certificate."
)
KEY = optional(
    "--key",
    type=click.STRING,
    metavar="FILE",
    help="PEM file with the private key of the client certificate.",
)
SERVER_NAME = optional(
    "--server-name",
    type=click.STRING,
    metavar="NAME",
    help="Name to verify in the certificate (and to send as SNI) instead of the host.",
)
INSECURE = flag(
    "--insecure", help="Do not verify the server's certificate.", conflicts_with=(CACERT,)
)
CERT_LIFETIME = optional(
    "--cert-lifetime",
    type=Duration(most=MAX_LIFETIME_SECONDS),
    help="Minimum remaining lifetime of the server's certificate.",
    conflicts_with=(INSECURE,),
)
LOOPBACK_ONLY = flag(
    "--loopback-only",
    help="Only connect to loopback addresses; refuse targets and redirects that resolve elsewhere.",
)

# Time limits and repetition

TIMEOUT = with_default(
    "--timeout",
    type=Duration(),
    default="2s",
    help="Time limit for one check of a target, from DNS lookup to the end of the response.",
)
ATTEMPTS = with_default(
    "--attempts",
    metavar="N",
    type=Count(),
    default="1",
    help="Number of attempts before a target counts as unhealthy.",
)
ATTEMPT_INTERVAL = with_default(
    "--interval", type=Duration(), default="1s", help="Time between attempts."
)
ON_UNHEALTHY = optional(
    "--on-unhealthy",
    type=SignalToProcess(),
    metavar="SIGNAL:PID",
    help="Send a signal when unhealthy; TERM:1 stops the container.",
)
ANY = flag("--any", "any_is_enough", help="Succeed if any target is healthy, instead of all.")
INITIAL_DELAY = with_default(
    "--initial-delay",
    type=Duration(zero=True),
    default="1s",
    help="Delay before the first probe.",
)
WATCH_INTERVAL = with_default(
    "--interval",
    type=Duration(),
    default="5s",
    help="Time between probes.",
)
FAILURE_THRESHOLD = with_default(
    "--failure-threshold",
    metavar="N",
    type=Count(),
    default="2",
    help="Consecutive failures before a target counts as unhealthy.",
)
DEADLINE = with_default(
    "--deadline", type=Duration(), default="60s", help="Give up after this long."
)
WAIT_INTERVAL = with_default(
    "--interval", type=Duration(), default="1s", help="Time between rounds of checks."
)

DOWN = flag("--down", help="Wait until no target can be reached, instead of until all are healthy.")

# Output

VERBOSE = flag("-v", "--verbose", help="Also print healthy results.")
OUTPUT = with_default(
    "--output",
    type=OutputFormat(),
    default="text",
    help="Output format.",
)
LOG_TO = optional(
    "--log-to",
    type=click.STRING,
    metavar="PATH",
    help="Append failures to this existing file too, such as /proc/1/fd/2.",
)
QUIET = flag(
    "-q",
    "--quiet",
    help="Print nothing.",
    conflicts_with=(VERBOSE, OUTPUT),
)

# Groups, in the order of the help

LOCAL_TARGET_OPTIONS = (HOST, PORT, PATH)
_CONNECTION = (UNIX_SOCKET, TIMEOUT, CONNECT_TIMEOUT)
_METADATA = (HEADERS, BASIC_AUTH)


def _usable(options: Iterable[Option[Any]]) -> tuple[Option[Any], ...]:
    """Return the options that the targets of some scheme take."""
    return tuple(one for one in options if applies(one.name, SCHEMES.values(), LEADS_TO_TLS))


_REQUEST: tuple[Option[Any], ...] = _usable((METHOD, DATA, HTTP2, PROXY_PROTOCOL, SEND, LOGIN))
_EXPECTATIONS: tuple[Option[Any], ...] = (
    STATUS,
    EXPECT_JSON,
    EXPECT_BODY,
    MATCH_BODY,
    EXPECT_HEADER,
    EXPECT_REPLY,
    MAX_AGE,
    *_usable((ROLE,)),
    FOLLOW_REDIRECTS,
)
_STARTTLS = _usable((STARTTLS,))
_TLS = (CACERT, CERT, KEY, SERVER_NAME, INSECURE, CERT_LIFETIME)
OUTPUT_OPTIONS = (VERBOSE, QUIET, OUTPUT)

PROBE_OPTIONS: tuple[Option[Any], ...] = (
    *LOCAL_TARGET_OPTIONS,
    *_CONNECTION,
    *_REQUEST,
    *_METADATA,
    *_EXPECTATIONS,
    *_STARTTLS,
    *_TLS,
    LOOPBACK_ONLY,
    *OUTPUT_OPTIONS,
)
"""The options of every command that checks targets of any kind."""
GRPC_OPTIONS = (*_CONNECTION, *_METADATA, *_TLS, LOOPBACK_ONLY, *OUTPUT_OPTIONS)
"""The options of a command that takes gRPC targets only."""

_TIMES = (
    *(TIMEOUT, CONNECT_TIMEOUT, ATTEMPTS, ATTEMPT_INTERVAL, DEADLINE, WAIT_INTERVAL, DOWN),
    *(INITIAL_DELAY, WATCH_INTERVAL, FAILURE_THRESHOLD),
)
_GROUPS: tuple[tuple[Option[Any], ...], ...] = (
    (*LOCAL_TARGET_OPTIONS, UNIX_SOCKET, *_REQUEST, *_METADATA),
    (*_EXPECTATIONS, ANY, LOOPBACK_ONLY),
    (*_STARTTLS, *_TLS),
    _TIMES,
    (*OUTPUT_OPTIONS, LOG_TO, ON_UNHEALTHY),
)
for _heading, _members in zip(HEADINGS, _GROUPS, strict=True):
    for _member in _members:
        _member.group = _heading

CHECK_OPTIONS: tuple[Option[Any], ...] = (
    UNIX_SOCKET,
    CONNECT_TIMEOUT,
    *_REQUEST,
    *_METADATA,
    *_EXPECTATIONS,
    *_STARTTLS,
    *_TLS,
    LOOPBACK_ONLY,
)
"""The options of the library's `check()`: those of `OptionValues`."""

VARIABLES = frozenset(
    str(one.envvar)
    for one in (
        *(
            TARGETS,
            ANY,
            ATTEMPTS,
            ON_UNHEALTHY,
            INITIAL_DELAY,
            WATCH_INTERVAL,
            FAILURE_THRESHOLD,
            DEADLINE,
            DOWN,
            LOG_TO,
        ),
        *PROBE_OPTIONS,
    )
)
"""The variables that some command takes defaults from."""

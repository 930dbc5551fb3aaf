"""What to check: parsing TARGET strings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import httpx

from healthchecker._values.result import BadArgumentError

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_MAX_NAME = 253
_MAX_LABEL = 63
_SCHEME = re.compile(r"[A-Za-z]*://")
_PLACE = re.compile(r"(\[[^]\s]*\]|[^:/?#\s]*)(:\d*(?![^/?#\s]))?([/?#]\S*)?")
_LOOKS_LIKE_HOST = re.compile(
    r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+(?=:\d)|\[[0-9A-Fa-f:.]+\])(:\d+)?(/[\w./-]*)?"
)
# an option, a URL, a header, or syntax of a shell
_SEVERAL = re.compile(r"\s(--?[A-Za-z]|[A-Za-z]+://|[\w-]+:\s|\|\||&&|\d?>)")
_LIST = re.compile(
    r"[,;]\s*[A-Za-z][A-Za-z0-9+.-]*:[/@]|^[^/?#]*://([^/?#]*@)?[^/?#@]*,[^/?#@]*([/?#]|$)"
)
_UNESCAPED = re.compile(
    r"[^:/?#]*://(?!(?:localhost|\d+\.\d+\.\d+\.\d+)[:/?#])[^/?#@\[]*?(:\d*|@[^/?#]*)?[/?#].*@",
    re.DOTALL,
)
"""An `@` after the authority: with a port or another `@`, the `/` may be part of a password."""
_QUERY_DELIMITERS = re.compile("[&=#]")
_PATH = re.compile(r"([^:/?#]*://[^/?#]*)([^#]*)", re.DOTALL)
HIDDEN = "..."
"""Shown in place of text that may be a secret."""
_NO_HOST = "not a host name such as db.example.org, or an IP address"
MAX_PORT = 65535
# Bytes of sun_path in unix(7) and unix(4), less the final NUL.
MAX_UNIX_PATH = 107 if sys.platform == "linux" else 103
_ANY_PORT = 80  # of a target over a Unix socket or at a path, where none is used


class Expanded(str):
    """A text in which `${NAME}` has been replaced, which knows where: those may be secrets."""

    __slots__ = ("replaced",)

    replaced: tuple[tuple[int, int, str], ...]
    """Start and end of each replacement, and what stood there."""

    @classmethod
    def of(cls, text: str, replaced: Iterable[tuple[int, int, str]]) -> Expanded:
        """Return the text with its replacements, in their order."""
        made = cls(text)
        made.replaced = tuple(replaced)
        return made

    def shown(self, start: int = 0) -> str:
        """Return the text after `start`, with the names of variables in place of their values."""
        parts: list[str] = []
        at = start
        for first, end, original in self.replaced:
            if end > start:
                parts += (self[at : max(first, at)], original)
                at = max(end, at)
        return "".join((*parts, self[at:]))


def trimmed(text: str) -> str:
    """Return the text without white space around it."""
    bare = text.strip()
    if not isinstance(text, Expanded) or len(bare) == len(text):
        return bare if type(text) is str else text
    skipped = len(text) - len(text.lstrip())
    return Expanded.of(
        bare,
        (
            (max(0, start - skipped), min(len(bare), max(0, end - skipped)), original)
            for start, end, original in text.replaced
        ),
    )


class Place(Enum):
    """What follows the scheme in a URL."""

    HOST = "a host, and a port perhaps"
    SOCKET = "the path of a Unix socket, or a name in the abstract namespace after `@`"
    FILE = "the path of a file"


@dataclass(frozen=True, slots=True)
class Scheme:
    """The syntax of targets with one URL scheme, and the options that apply to them."""

    form: str
    """How such a target is written, for messages."""
    default_port: int | None = None
    tls: bool = False
    has_path: bool = True
    has_query: bool = True
    place: Place = Place.HOST
    over_unix_socket: bool = True
    options: frozenset[str] = frozenset()
    """The names of the options that apply, besides those for every target and those of TLS."""


class Endpoint(NamedTuple):
    """Where to connect: a host and port, or the Unix socket that stands in for them."""

    host: str
    port: int
    unix_socket: str | None = None
    """A path, or a name in the abstract namespace after a leading `@`."""


class Target(NamedTuple):
    """One thing to check."""

    scheme: str
    tls: bool
    endpoint: Endpoint
    url: httpx.URL
    """Without credentials."""
    basic_auth: tuple[str, str] | None
    """The credentials given in the URL."""
    label: str
    """The target as it is shown: without secrets, with the Unix socket if there is one."""
    secrets: tuple[str, ...] = ()
    """What variables and files have put into the query, which the peer may repeat."""

    @property
    def path(self) -> str:
        """The decoded URL path; for file and socket targets, the local path."""
        return self.url.path

    @property
    def user(self) -> str:
        """The user of the URL; empty if there is none."""
        return self.basic_auth[0] if self.basic_auth else ""

    @property
    def password(self) -> str:
        """The password of the URL; empty if there is none."""
        return self.basic_auth[1] if self.basic_auth else ""


def read_target(text: str, schemes: Mapping[str, Scheme], unix_socket: str | None = None) -> Target:
    """Parse a TARGET with one of these schemes; raise `BadArgumentError` if it is invalid."""
    url = _read_url(text)
    scheme = schemes.get(url.scheme)
    if scheme is None:
        raise _refused(text, _meant(text, schemes))
    if not scheme.has_query and ("?" in text or "#" in text):
        problem = f"{url.scheme}:// takes no query or fragment; remove everything from ? or # on"
        # libpq has passwords there
        raise BadArgumentError("target", re.split("[?#]", shown_target(text))[0], problem)
    if "\0" in url.username + url.password or ("\0" in url.path and not scheme.has_query):
        raise _refused(text, "contains a NUL (%00); remove it")
    if unix_socket is not None and not scheme.over_unix_socket:
        raise _refused(text, f"{url.scheme}:// cannot be used with unix_socket=; remove it")
    if scheme.place is not Place.HOST:
        return _local_target(url, text, scheme)
    endpoint = _read_endpoint(url, text, scheme, unix_socket)
    if not scheme.has_path and (url.path not in ("", "/") or url.query):
        raise _refused(text, f"expected {scheme.form}")
    basic_auth = (url.username, url.password) if url.userinfo else None
    url, label = _without_secrets(url, text)
    return Target(
        scheme=url.scheme,
        tls=scheme.tls,
        endpoint=endpoint,
        url=url,
        basic_auth=basic_auth,
        label=label if unix_socket is None else f"{label} over {unix_socket}",
        secrets=_secrets_of_query(text) if isinstance(text, Expanded) else (),
    )


def _secrets_of_query(text: Expanded) -> tuple[str, ...]:
    """Return the values that replaced something in the query, or that the query came with."""
    start = text.find("?") + 1
    if not start:
        return ()
    values = (text[max(first, start) : end] for first, end, _ in text.replaced if end > start)
    return tuple(word for value in values for word in _QUERY_DELIMITERS.split(value) if word)


def _refused(text: str, problem: str) -> BadArgumentError:
    return BadArgumentError("target", shown_target(text), problem)


def _read_url(text: str) -> httpx.URL:
    if not text:
        raise _refused(text, "empty; expected a URL such as http://HOST")
    if not text.isprintable():
        raise _refused(text, unprintable(text, "URL"))
    if _SEVERAL.search(text):
        refuse_several("target", text, shown_target(text))
    if ("," in text or ";" in text) and _LIST.search(text):
        raise _refused(text, "looks like a list; pass each target separately")
    try:
        return httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        reason = f" ({error})" if shown_target(text) == text else ""
        raise _refused(text, f"not a URL such as http://HOST:PORT/PATH{reason}") from error


def _without_secrets(url: httpx.URL, text: str) -> tuple[httpx.URL, str]:
    """Return a URL without user info and fragment, and how it is shown."""
    label = str(url)
    # Only re-parse if something must be removed: saves 6 % of a check's instructions.
    if url.userinfo or "#" in text or label != text:
        url = url.copy_with(userinfo=b"", fragment=None)
        label = str(url)
    if isinstance(text, Expanded):
        path = _PATH.match(text)
        if path and "@" in path[2]:  # what precedes it may be a misplaced password
            label = f"{url.copy_with(raw_path=b'/')}{text.shown(path.start(2) + 1)}"
        elif "?" in text:
            label = f"{label.partition('?')[0]}?{text.shown(text.index('?') + 1)}"
        label = label.partition("#")[0]
    return url, label


def refuse_unescaped_password(text: str, schemes: Mapping[str, Scheme]) -> None:
    """Refuse a TARGET with an `@` after the authority, which may be that of an unescaped password.

    A URL parser finds the host `app` in `redis://app:7/x@db`; its author means the password `7/x`,
    which must be neither shown nor looked up. For text that people write, not for redirects.
    """
    match = _UNESCAPED.match(text)
    if match is None:
        return
    scheme = schemes.get(text.partition(":")[0].lower())
    may_have_at = scheme is None or scheme.place is not Place.HOST or scheme.has_query
    if match[1] is not None or not may_have_at:
        raise BadArgumentError(
            "target",
            shown_target(text),
            "has an @ after / or ?; in a password write / as %2F and ? as %3F, elsewhere @ as %40",
        )


def unprintable(text: str, kind: str) -> str:
    """Return the error message for a text with characters that cannot be printed."""
    if text[-1:] in ("\r", "\n"):
        name = "line feed (LF)" if text[-1] == "\n" else "carriage return (CR)"
        return f"ends with a {name}; remove it"
    return f"contains a character that is not allowed in a {kind}; encode it as %XX"


def _meant(text: str, schemes: Mapping[str, Scheme]) -> str:
    """Return the error message for a TARGET whose scheme is missing or unknown."""
    if _SCHEME.match(text):
        forms = dict.fromkeys(scheme.form for scheme in schemes.values())
        return f"unknown scheme; expected one of {', '.join(forms)}"
    if text.isdecimal():
        return "not a URL; did you mean http://127.0.0.1:PORT/health?"
    if text.startswith("/"):
        return "not a URL; did you mean http://127.0.0.1/PATH, file:///PATH or unix:///PATH?"
    if text.startswith("@"):
        return "not a URL; did you mean unix:@NAME?"
    shown = shown_target(text)
    if shown == text:
        return f"not a URL; did you mean http://{shown} or tcp://{shown}?"
    return "not a URL: no scheme such as http://"


def _read_endpoint(url: httpx.URL, text: str, scheme: Scheme, unix_socket: str | None) -> Endpoint:
    host = url.raw_host.decode("ascii").replace("%25", "%", 1)  # a zone, by RFC 6874
    if not _HOST.fullmatch(host):
        raise _refused(text, f"no valid host; expected {scheme.form}")
    port = scheme.default_port if url.port is None else url.port
    if unix_socket is not None:
        port = port or _ANY_PORT
    if port is None:
        raise _refused(text, f"missing port; expected {scheme.form}")
    if not 0 < port <= MAX_PORT:
        raise _refused(text, f"port out of range (1 to {MAX_PORT})")
    return Endpoint(host, port, unix_socket)


def _local_target(url: httpx.URL, text: str, scheme: Scheme) -> Target:
    path = url.path
    is_socket = scheme.place is Place.SOCKET
    is_abstract = is_socket and path.startswith("@") and path != "@"
    if url.netloc not in (b"", b"localhost") or not (is_abstract or path.startswith("/")):
        raise _refused(text, f"expected {scheme.form}")
    if is_socket and len(path.encode()) > MAX_UNIX_PATH:
        problem = f"path longer than {MAX_UNIX_PATH} bytes; use a symbolic link"
        raise _refused(text, problem)
    label = f"{url.scheme}:{path}" if is_abstract else f"{url.scheme}://{path}"
    if isinstance(text, Expanded) and "@" in path[1:]:  # what precedes it may be a password
        label = text.shown()
    return Target(
        scheme=url.scheme,
        tls=False,
        endpoint=Endpoint("localhost", _ANY_PORT, path if is_socket else None),
        url=url,
        basic_auth=None,
        label=label,
    )


def read_host(argument: str, text: str) -> str:
    """Return a host as a certificate names it: a name in ASCII without a final dot, or an address.

    Names in other scripts are encoded as in a TARGET, by IDNA 2008.
    """
    bare = text.removeprefix("[").removesuffix("]")
    try:
        url = httpx.URL(scheme="https", host=bare)
    except (httpx.InvalidURL, ValueError) as error:
        raise BadArgumentError(argument, text, _NO_HOST) from error
    host = url.raw_host.decode("ascii")
    name = certified_name(host)
    labels_fit = all(0 < len(label) <= _MAX_LABEL for label in name.split("."))
    if not _HOST.fullmatch(host) or not labels_fit or len(name) > _MAX_NAME:
        raise BadArgumentError(argument, text, _NO_HOST)
    return name


def certified_name(host: str) -> str:
    """Return the host name as it appears in certificates: no trailing dot, no IPv6 zone."""
    return host.partition("%")[0].removesuffix(".")


def local_url(host: str, port: int, path: str) -> str:
    """Return the URL of the plain form of a check: `--host`, `--port` and `--path`."""
    bare = host.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(bare):
        meant = (
            "pass a URL as a TARGET, not with --host"
            if "://" in host
            else "pass the port with --port"
        )
        raise BadArgumentError("host", host, f"{_NO_HOST}; {meant}")
    shown = path.shown() if isinstance(path, Expanded) else path
    if not path.startswith("/"):
        raise BadArgumentError("path", shown, "must begin with a slash, such as /health")
    if not path.isprintable():
        raise BadArgumentError("path", shown, unprintable(path, "path"))
    refuse_several("path", path, None if shown == path else shown)
    place = f"http://{f'[{bare}]' if ':' in bare else bare}:{port}"
    if not isinstance(path, Expanded):
        return f"{place}{path}"
    start = len(place)
    return Expanded.of(
        f"{place}{path}",
        ((start + first, start + end, original) for first, end, original in path.replaced),
    )


def refuse_several(argument: str, text: str, shown: str | None = None) -> None:
    """Reject a value that contains several arguments, as when shell quotes enclose both.

    The rest may be a secret, so only the first word is shown unless `shown` is given.
    """
    if _SEVERAL.search(text):
        raise BadArgumentError(
            argument,
            f"{text.split(maxsplit=1)[0]}{HIDDEN}" if shown is None else shown,
            "looks like several arguments in one; pass each separately",
        )


def shown_target(text: str) -> str:
    """Return a text that was given as a TARGET without what may be a secret.

    That is the user, password and fragment of a URL, also of a bad one, and all of a text that
    reads neither like a URL nor like a host: it may be part of another option's value.
    """
    scheme = _SCHEME.match(text)
    if isinstance(text, Expanded):
        text = text.shown()  # any of the replaced parts may be in a wrong place
    before, _, rest = text[scheme.end() if scheme else 0 :].rpartition("@")
    if scheme is not None:
        if "/" in before.partition("#")[0] and "#" in before:
            return scheme[0] + HIDDEN  # an @ of the fragment or of a password: unknown
        rest = rest.partition("#")[0]
        if not scheme[0].startswith("http"):
            rest = rest.partition("?")[0]  # databases take a password there
    if scheme is None:
        return rest if _LOOKS_LIKE_HOST.fullmatch(rest) or not text else HIDDEN
    place = _PLACE.match(rest)
    known = place[0] if place else ""
    return scheme[0] + known + (HIDDEN if len(known) < len(rest) else "")

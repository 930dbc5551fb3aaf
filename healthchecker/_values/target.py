"""What to check: a TARGET as text, and what it comes to."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import httpx

from healthchecker._values.result import BadArgumentError

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?")
_MAX_NAME = 253
_MAX_LABEL = 63
_SCHEME = re.compile(r"[A-Za-z]*://")
_PLACE = re.compile(r"(\[[^]\s]*\]|[^:/?#\s]*)(:\d*(?![^/?#\s]))?([/?#]\S*)?")
_HOST_AND_PORT = re.compile(
    r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+(?=:\d)|\[[0-9A-Fa-f:.]+\])(:\d+)?(/[\w./-]*)?"
)
_SEVERAL = re.compile(r"\s(--?[A-Za-z]|[A-Za-z]+://|[\w-]+:\s)")  # an option, a URL, a header
_HIDDEN = "..."
_NO_HOST = "not a host name such as db.example.org, or an IP address"
_MAX_PORT = 65535
# Bytes of sun_path in unix(7) and unix(4), less the final NUL.
MAX_UNIX_PATH = 107 if sys.platform == "linux" else 103
_ANY_PORT = 80  # of a target over a Unix socket or at a path, where none is used


class Place(Enum):
    """What stands after the scheme of a URL."""

    HOST = "a host, and a port perhaps"
    SOCKET = "the path of a Unix socket, or a name in the abstract namespace after `@`"
    FILE = "the path of a file"


@dataclass(frozen=True, slots=True)
class Scheme:
    """What the targets of one URL scheme look like, and which options they have a use for."""

    form: str
    """How such a target is written, for people."""
    default_port: int | None = None
    tls: bool = False
    has_path: bool = True
    has_query: bool = True
    place: Place = Place.HOST
    over_unix_socket: bool = True
    options: frozenset[str] = frozenset()
    """The names of options of a check, besides those that every target has a use for."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect: a host and port, or the Unix socket that stands in for them."""

    host: str
    port: int
    unix_socket: str | None = None
    """A path, or a name in the abstract namespace after a leading `@`."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to check."""

    scheme: str
    tls: bool
    endpoint: Endpoint
    url: httpx.URL
    """Without credentials."""
    basic_auth: tuple[str, str] | None
    """The credentials that stood in the URL."""
    label: str
    """What people are shown: without credentials, with the Unix socket if there is one."""

    @property
    def path(self) -> str:
        """The path of the URL, decoded; that on this machine, where the target is one."""
        return self.url.path

    @property
    def user(self) -> str:
        """The user of the URL; empty where there is none."""
        return self.basic_auth[0] if self.basic_auth else ""

    @property
    def password(self) -> str:
        """The password of the URL; empty where there is none."""
        return self.basic_auth[1] if self.basic_auth else ""


def read_target(text: str, schemes: Mapping[str, Scheme], unix_socket: str | None = None) -> Target:
    """Read a TARGET of one of these schemes; raise `BadArgumentError` when it is none."""
    shown = shown_target(text)
    if not text.isprintable():
        raise BadArgumentError("TARGET", shown, "has a character that no URL has; write it as %XX")
    refuse_several("TARGET", text, shown)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        reason = f" ({error})" if shown == text else ""
        problem = f"not a URL such as http://HOST:PORT/PATH{reason}"
        raise BadArgumentError("TARGET", shown, problem) from error
    scheme = schemes.get(url.scheme)
    if scheme is None:
        raise BadArgumentError("TARGET", shown, _meant(text, schemes))
    if not scheme.has_query and ("?" in text or "#" in text):
        shown = re.split("[?#]", shown)[0]  # libpq has passwords there
        raise BadArgumentError(
            "TARGET", shown, f"{url.scheme}:// takes nothing after ? or #; leave that out"
        )
    if "\0" in url.username + url.password or ("\0" in url.path and not scheme.has_query):
        raise BadArgumentError("TARGET", shown, "has a NUL (%00); leave it out")
    if unix_socket is not None and not scheme.over_unix_socket:
        raise BadArgumentError(
            "TARGET", shown, f"{url.scheme}:// does not go over a Unix socket; leave that out"
        )
    if scheme.place is not Place.HOST:
        return _local_target(url, shown, scheme)
    endpoint = _read_endpoint(url, shown, scheme, unix_socket)
    if not scheme.has_path and (url.path not in ("", "/") or url.query):
        raise BadArgumentError("TARGET", shown, f"not of the form {scheme.form}")
    basic_auth = (url.username, url.password) if url.userinfo else None
    label = str(url)
    if basic_auth or "#" in text or label != text:
        # Parses it anew, which a URL that is as it should be is spared: 0.94 of the instructions.
        url = url.copy_with(userinfo=b"", fragment=None)
        label = str(url)
    return Target(
        scheme=url.scheme,
        tls=scheme.tls,
        endpoint=endpoint,
        url=url,
        basic_auth=basic_auth,
        label=label if unix_socket is None else f"{label} over {unix_socket}",
    )


def _meant(text: str, schemes: Mapping[str, Scheme]) -> str:
    """Return what is to be said of a TARGET whose scheme is missing or not known."""
    if _SCHEME.match(text):
        forms = dict.fromkeys(scheme.form for scheme in schemes.values())
        return f"not a scheme that is known; a TARGET is one of {', '.join(forms)}"
    if text.isdecimal():
        return "not a URL; did you mean --port?"
    if text.startswith("/"):
        return "not a URL; did you mean --path, file:// or unix://?"
    if text.startswith("@"):
        return "not a URL; did you mean unix:@NAME?"
    shown = shown_target(text)
    if shown == text:
        return f"not a URL; did you mean http://{shown} or tcp://{shown}?"
    return "not a URL, which begins with a scheme such as http://"


def _read_endpoint(url: httpx.URL, shown: str, scheme: Scheme, unix_socket: str | None) -> Endpoint:
    host = url.raw_host.decode("ascii").replace("%25", "%", 1)  # a zone, by RFC 6874
    if not _HOST.fullmatch(host):
        raise BadArgumentError("TARGET", shown, f"has no usable host; the form is {scheme.form}")
    port = scheme.default_port if url.port is None else url.port
    if unix_socket is not None:
        port = port or _ANY_PORT
    if port is None:
        raise BadArgumentError("TARGET", shown, f"needs a port; the form is {scheme.form}")
    if not 0 < port <= _MAX_PORT:
        raise BadArgumentError("TARGET", shown, f"its port is not from 1 to {_MAX_PORT}")
    return Endpoint(host, port, unix_socket)


def _local_target(url: httpx.URL, shown: str, scheme: Scheme) -> Target:
    path = url.path
    is_socket = scheme.place is Place.SOCKET
    is_abstract = is_socket and path.startswith("@") and path != "@"
    if url.netloc not in (b"", b"localhost") or not (is_abstract or path.startswith("/")):
        raise BadArgumentError("TARGET", shown, f"not of the form {scheme.form}")
    if is_socket and len(path.encode()) > MAX_UNIX_PATH:
        problem = f"longer than {MAX_UNIX_PATH} bytes; make a symbolic link to it"
        raise BadArgumentError("TARGET", shown, problem)
    return Target(
        scheme=url.scheme,
        tls=False,
        endpoint=Endpoint("localhost", _ANY_PORT, path if is_socket else None),
        url=url,
        basic_auth=None,
        label=f"{url.scheme}:{path}" if is_abstract else f"{url.scheme}://{path}",
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
    """Return what a certificate has for a host: no final dot, and no zone of an address."""
    return host.partition("%")[0].removesuffix(".")


def local_url(host: str, port: int, path: str) -> str:
    """Return the URL of the plain form of a check: `--host`, `--port` and `--path`."""
    bare = host.removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(bare):
        meant = "a URL is a TARGET, without --host" if "://" in host else "a port goes to --port"
        raise BadArgumentError("host", host, f"{_NO_HOST}; {meant}")
    if not path.startswith("/"):
        raise BadArgumentError("path", path, "must begin with a slash, such as /health")
    if not path.isprintable():
        raise BadArgumentError("path", path, "has a character that no path has; write it as %XX")
    refuse_several("path", path)
    return f"http://{f'[{bare}]' if ':' in bare else bare}:{port}{path}"


def refuse_several(argument: str, text: str, shown: str | None = None) -> None:
    """Refuse what has more in it than it should, as where a shell's quotes are around both.

    What follows may be a secret; unless `shown` is what may be shown, that is the first word.
    """
    if _SEVERAL.search(text):
        raise BadArgumentError(
            argument,
            f"{text.split(maxsplit=1)[0]}{_HIDDEN}" if shown is None else shown,
            "is more than one; make each an argument of its own",
        )


def shown_target(text: str) -> str:
    """Return a text that was given as a TARGET without what may be a secret.

    That is the user and password of a URL, also of a bad one, and all of a text that reads
    neither like a URL nor like a host: it may be a part of what another option was meant to get.
    """
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() if scheme else 0 :].rpartition("@")[2]
    if scheme is None:
        return rest if _HOST_AND_PORT.fullmatch(rest) or not text else _HIDDEN
    place = _PLACE.match(rest)
    known = place[0] if place else ""
    return scheme[0] + known + (_HIDDEN if len(known) < len(rest) else "")

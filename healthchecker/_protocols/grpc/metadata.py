"""The headers of a call: those of gRPC and, from the options, metadata."""

from __future__ import annotations

import re
from base64 import b64decode

from healthchecker._values.options import CheckOptions, basic_authorization
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import Endpoint, Target

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_AUTHORITY = re.compile(r"[A-Za-z0-9._~-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", re.ASCII)
_RESERVED = (
    "connection",
    "content-length",
    "content-type",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)


def make_headers(target: Target, options: CheckOptions) -> list[tuple[str, str]]:
    """Return the headers of every call to a target; one that gRPC cannot send is refused.

    A header without a value removes the default one of that name. The path and the timeout are
    added for each call.
    """
    authority = _authority(target.endpoint)
    defaults = {
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity",
        "user-agent": "healthchecker",
    }
    auth = options.basic_auth or target.basic_auth
    if auth is not None:
        defaults["authorization"] = basic_authorization(auth)
    metadata = []
    for given_name, given_value in options.headers:
        name, value = given_name.lower(), given_value
        if name == "host":
            if not _AUTHORITY.fullmatch(value):
                raise BadArgumentError(
                    "header", given_name, "not a host and port such as example.org:443"
                )
            authority = value
            continue
        if name in _RESERVED or name.startswith("grpc-"):
            raise BadArgumentError("header", given_name, "is reserved by gRPC; remove it")
        if not _NAME.fullmatch(name):
            raise BadArgumentError(
                "header", given_name, "not a valid gRPC metadata name, such as x-token"
            )
        if not _VALUE.fullmatch(value):
            raise BadArgumentError(
                "header",
                given_name,
                "its value must be printable ASCII, or base64 if the name ends in -bin",
            )
        if name.endswith("-bin"):
            value = _base64(given_name, value)
        is_default = defaults.pop(name, None) is not None
        if value or not is_default:
            metadata.append((name, value))
    return [
        (":method", "POST"),
        (":scheme", "https" if target.tls else "http"),
        (":authority", authority),
        *defaults.items(),
        *metadata,
    ]


def _authority(endpoint: Endpoint) -> str:
    if endpoint.unix_socket is not None:
        return "localhost"  # like gRPC clients; some servers refuse a path
    host = endpoint.host.partition("%")[0]  # a zone has a meaning on this machine only
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def _base64(name: str, value: str) -> str:
    """Return the base64 of a binary header in the form of gRPC: without padding."""
    bare = value.rstrip("=")
    try:
        b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise BadArgumentError("header", name, "its value must be base64") from error
    return bare

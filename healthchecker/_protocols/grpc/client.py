"""Calls over the network: the client for a target, and the I/O of one call."""

from __future__ import annotations

import math
import ssl
from typing import Generic, Self, TypeVar

from healthchecker._net.deadline import Deadline
from healthchecker._net.stream import Stream
from healthchecker._net.tls import TlsClient
from healthchecker._protocols.base import Progress, connect
from healthchecker._protocols.grpc.codec import encode_check_request
from healthchecker._protocols.grpc.metadata import make_headers
from healthchecker._protocols.grpc.rpc import Call, Method
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import BadArgumentError, ProbeFailure, Reason
from healthchecker._values.target import Scheme, Target

T = TypeVar("T")

MAX_SERVICE_BYTES = 8 * 1024

_OPTIONS = frozenset({"headers", "basic_auth", "proxy_protocol"})
_FORM = "grpc[s]://HOST:PORT[/SERVICE]"
SCHEMES = {
    "grpc": Scheme(_FORM, options=_OPTIONS),
    "grpcs": Scheme(_FORM, tls=True, options=_OPTIONS),
}

# Small, because the deadline is checked before each read, and a hostile peer can make this much
# data cost 30 ms. A much larger buffer would also be mapped and unmapped each time.
_READ_SIZE = 4 * 1024


def service_of(target: Target) -> str:
    """Return the service in a target; the empty name means the whole server."""
    return target.url.path.removeprefix("/")


class Client:
    """Makes calls to the health service of one target, each on a connection of its own."""

    def __init__(self, target: Target, options: CheckOptions) -> None:
        """Raise `BadArgumentError` for a target or options that gRPC cannot use."""
        if target.scheme not in SCHEMES:
            raise BadArgumentError(
                "target", target.label, "not a gRPC target such as grpc://HOST:PORT"
            )
        if target.url.query:
            raise BadArgumentError(
                "target",
                target.label,
                "gRPC targets take no query string; remove everything after the ?",
            )
        self.service = service_of(target)
        if len(self.service.encode()) > MAX_SERVICE_BYTES:
            raise BadArgumentError(
                "target",
                target.label,
                f"service name longer than {MAX_SERVICE_BYTES} bytes",
            )
        self.label = target.label
        self._endpoint = target.endpoint
        self._options = options
        self._headers = make_headers(target, options)
        self._tls = TlsClient(options.tls, "h2") if target.tls else None

    def call(self, method: Method[T], deadline: Deadline, progress: Progress) -> OpenCall[T]:
        """Connect and send the request.

        The request carries the time left as its timeout, unless the call streams.
        """
        if self._tls is not None:
            self._tls.read_files(deadline, progress.enter)
        stream = connect(self._endpoint, self._options, deadline, progress, self._tls)
        try:
            headers = [(":path", f"/grpc.health.v1.Health/{method.name}"), *self._headers]
            if not method.streams:
                headers.append(("grpc-timeout", f"{math.ceil(deadline.remaining() * 1000)}m"))
            request = encode_check_request(self.service)
            return OpenCall(stream, Call(method, headers, request), tls=bool(self._tls))
        except BaseException:
            stream.close()
            raise


class OpenCall(Generic[T]):
    """A `Call`, and the stream that carries it."""

    def __init__(self, stream: Stream, call: Call[T], *, tls: bool) -> None:
        self._stream = stream
        self._call = call
        self._only_handshake_done = tls
        self._send()

    @property
    def is_over(self) -> bool:
        """Whether the call itself has ended, with OK or not."""
        return self._call.is_over

    def response(self) -> T:
        """Wait for the end of a call that does not stream; return its one message."""
        while not self._call.is_over:
            self._receive()
        if self._call.failure is not None:
            raise self._call.failure
        return self._call.messages.popleft()

    def next_message(self) -> T:
        """Wait for the next message of a call that streams."""
        while not self._call.messages:
            if self._call.failure is not None:
                raise self._call.failure
            self._receive()
        return self._call.messages.popleft()

    def wait_for_sign_of_life(self) -> None:
        """Return when the peer has sent anything that shows it alive; else the deadline passes."""
        call = self._call
        call.request_sign_of_life()
        self._send()
        while not (call.has_shown_life or call.messages or call.is_over):
            self._receive()

    def extend(self, deadline: Deadline) -> None:
        """Continue under another deadline."""
        self._stream.extend(deadline)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _receive(self) -> None:
        try:
            data = self._stream.read(_READ_SIZE)
        except ProbeFailure as failure:
            cut = isinstance(failure.__cause__, (ssl.SSLEOFError, ConnectionError))
            if cut and self._only_handshake_done:
                # With TLS 1.3 the server verifies a client certificate after our side of the
                # handshake, and may not send an alert. One that accepts it sends SETTINGS.
                raise ProbeFailure(
                    Reason.TLS_FAILURE,
                    "the peer closed the connection right after the TLS handshake; "
                    "it may require a (different) client certificate",
                ) from failure
            raise
        self._only_handshake_done = False
        self._call.feed(data)
        if not self._call.is_over:
            self._send()

    def _send(self) -> None:
        data = self._call.bytes_to_send()
        if data:
            self._stream.write(data)

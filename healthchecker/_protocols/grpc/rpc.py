"""One RPC as a state machine: bytes in; messages, an outcome and bytes to send out. No I/O.

Like h11, it has neither a socket nor a clock: the caller that feeds it does the waiting.
Sources: PROTOCOL-HTTP2.md of gRPC, and RFC 9113.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from healthchecker._protocols.grpc.codec import (
    STATUS_CODES,
    MessageReader,
    decode_check_response,
    decode_list_response,
    encode_message,
)
from healthchecker._protocols.h2_connection import (
    ClientConnection,
    Data,
    End,
    Event,
    Response,
    SettingsAcknowledged,
    Trailers,
)
from healthchecker._protocols.reply import CodecError
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse

T = TypeVar("T")

_MAX_MESSAGE_SHOWN = 200
_HTTP_OK = b"200"
_UNAVAILABLE = (b"429", b"502", b"503", b"504")
_CONTENT_TYPE = re.compile(rb"application/grpc(?:[+;]|$)")
_STATUS_CODE = re.compile(rb"\d{1,3}")

_REASONS = {
    "NOT_FOUND": Reason.UNKNOWN_SERVICE,
    "UNIMPLEMENTED": Reason.UNIMPLEMENTED,
    "UNAVAILABLE": Reason.NOT_SERVING,
    "DEADLINE_EXCEEDED": Reason.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Method(Generic[T]):
    """An RPC of grpc.health.v1.Health."""

    name: str
    decode: Callable[[bytes], T]
    """Decodes one message of the response; raises `CodecError`."""
    max_size: int
    """The most bytes in a message."""
    streams: bool = False
    """Whether the server streams messages rather than sending exactly one."""


CHECK = Method("Check", decode_check_response, 64 * 1024)
LIST = Method("List", decode_list_response, 256 * 1024)
WATCH = Method("Watch", decode_check_response, 64 * 1024, streams=True)


class Call(Generic[T]):
    """The client's side of one RPC on an HTTP/2 connection of its own.

    Send `bytes_to_send()` at first and after each `feed()`, until `is_over`.
    """

    def __init__(
        self, method: Method[T], headers: Sequence[tuple[str, str]], request: bytes
    ) -> None:
        self.messages: deque[T] = deque()
        """The messages received; take them from the left. Those of a stream count in spite of a
        `failure`; the one of another call is its response only when that is over without one."""
        self.failure: ProbeFailure | None = None
        """Why the call failed."""
        self.is_over = False
        """Whether nothing more will follow: the call has failed, or has ended with OK."""
        self._method = method
        self._reader = MessageReader(method.max_size)
        self._unacknowledged = 1
        fields = [(name.encode(), value.encode()) for name, value in headers]
        self._connection = ClientConnection(
            fields, encode_message(request), ends_at_goaway=method.streams
        )

    def bytes_to_send(self) -> bytes:
        """Return the bytes to send to the peer now; each is returned once."""
        return self._connection.bytes_to_send()

    def feed(self, data: bytes) -> None:
        """Take what the peer has sent; no bytes mean that it sends no more.

        Any bytes lead to a state, never to an exception. The work is proportional to the length
        of `data`, so feed small pieces if there is a time limit.
        """
        if self.is_over:
            return
        if not data:
            self._fail(_invalid("connection closed before the call completed"))
            return
        self._connection.feed(data)
        try:
            for event in self._connection.events():
                self._handle(event)
                if self.is_over:
                    return
        except CodecError as error:
            self._fail(_invalid(str(error)))
        except ProbeFailure as failure:
            self._fail(failure)

    def request_sign_of_life(self) -> None:
        """Send SETTINGS, to which an intact peer responds; see `has_shown_life`.

        PING would be the usual means, but gRPC servers close connections with more than two of
        them in five minutes unless they are configured otherwise.
        """
        self._connection.request_sign_of_life()
        self._unacknowledged += 1

    @property
    def has_shown_life(self) -> bool:
        """Whether the peer has acknowledged all SETTINGS."""
        return self._unacknowledged == 0

    def _handle(self, event: Event) -> None:
        if isinstance(event, Data):
            self._take_data(event.data)
        elif isinstance(event, Response):
            self._begin(dict(event.fields))
            if event.is_all:
                self._end(dict(event.fields))
        elif isinstance(event, Trailers):
            self._end(dict(event.fields))
        elif isinstance(event, End) and not self.is_over:
            self._fail(_invalid("missing trailers (no gRPC status)"))
        elif isinstance(event, SettingsAcknowledged):
            self._unacknowledged = max(self._unacknowledged - 1, 0)

    def _take_data(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            if self.messages and not self._method.streams:
                raise CodecError("more than one message")
            self.messages.append(self._method.decode(message))

    def _begin(self, headers: dict[bytes, bytes]) -> None:
        """Take the start of the response; that of a call that failed immediately is its end."""
        status = headers.get(b":status", b"")
        content_type = headers.get(b"content-type", b"").lower()
        is_grpc = _CONTENT_TYPE.match(content_type) is not None
        if status != _HTTP_OK and not (is_grpc and b"grpc-status" in headers):
            self._fail(_failure_of_http(status))
        elif not is_grpc:
            found = f"content-type is {_text(content_type)}" if content_type else "no content-type"
            self._fail(_invalid(f"not gRPC: {found}"))

    def _end(self, trailers: dict[bytes, bytes]) -> None:
        """Take the outcome of the call from its trailers."""
        code = trailers.get(b"grpc-status")
        if code is None or not _STATUS_CODE.fullmatch(code):
            self._fail(_invalid("no gRPC status in the trailers"))
            return
        number = int(code)
        if number == 0:
            self._end_with_ok()
            return
        name = STATUS_CODES[number] if number < len(STATUS_CODES) else str(number)
        message = unquote_to_bytes(trailers.get(b"grpc-message", b"")).decode(errors="replace")
        self._fail(_failure_of_status(name, message[:_MAX_MESSAGE_SHOWN]))

    def _end_with_ok(self) -> None:
        self._reader.finish()
        if self._method.streams:
            self._fail(_invalid(f"the server closed the {self._method.name} stream"))
        elif not self.messages:
            self._fail(_invalid("gRPC status OK without a message"))
        self.is_over = True

    def _fail(self, failure: ProbeFailure) -> None:
        """End the call; only the first failure is kept."""
        if not self.is_over:
            self.failure = failure
            self.is_over = True


def _failure_of_status(name: str, message: str) -> ProbeFailure:
    return UnexpectedResponse(
        _REASONS.get(name, Reason.UNEXPECTED_STATUS),
        f"gRPC status {name}" + (f": {message}" if message else ""),
        name,
    )


def _failure_of_http(status: bytes) -> ProbeFailure:
    """Return the meaning of an HTTP status that is sent instead of a gRPC response.

    Proxies report in this way that the server is unavailable. gRPC gives every HTTP status a
    meaning (http-grpc-status-mapping.md), but any other one suggests that the peer is not gRPC.
    """
    if status in _UNAVAILABLE:
        return _failure_of_status(
            "UNAVAILABLE", f"HTTP status {_text(status)} instead of a gRPC response"
        )
    return ProbeFailure(
        Reason.INVALID_RESPONSE,
        f"HTTP status {_text(status)}: not a gRPC server?",
        int(status),
    )


def _text(data: bytes) -> str:
    return data[:_MAX_MESSAGE_SHOWN].decode("ascii", "replace")


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)

"""One RPC as a state machine: bytes in; messages, an outcome and bytes to send out. No I/O.

The only module that knows h2. Like h11, it has neither a socket nor a clock: whoever feeds it does
the waiting. Sources: PROTOCOL-HTTP2.md of gRPC, and RFC 9113.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from healthchecker._protocols.grpc.codec import (
    DATA,
    GOAWAY,
    MAX_FRAME_SIZE,
    STATUS_CODES,
    FrameReader,
    MessageReader,
    decode_check_response,
    decode_goaway,
    decode_list_response,
    encode_message,
    frame_type,
)
from healthchecker._protocols.h2_message import h2_message
from healthchecker._protocols.reply import CodecError
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse

T = TypeVar("T")

MAX_IDLE_FRAMES = 1000
"""How many frames may come without any part of a message; an answer needs about five."""
MAX_IDLE_BYTES = 32 * 1024
"""How long those frames may be together, and a list of headers when it is decoded. The worst that
h2 does with them takes 50 ms (headers made of nothing but table sizes) or 6 MiB (thousands of kinds
of settings)."""

_STREAM_ID = 1
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
    """Reads one message of the answer; raises `CodecError`."""
    max_size: int
    """Bytes of the longest message that is taken."""
    streams: bool = False
    """Whether messages come until the server has enough of it, instead of exactly one."""


CHECK = Method("Check", decode_check_response, 64 * 1024)
LIST = Method("List", decode_list_response, 256 * 1024)
WATCH = Method("Watch", decode_check_response, 64 * 1024, streams=True)


# The headers are our own and `metadata.py` has verified what is not.
_CONFIGURATION = H2Configuration(client_side=True, validate_outbound_headers=False)


class _Encoder(hpack.Encoder):
    """Sends headers as they are: Huffman's code saves 60 bytes, but costs a tenth of a call."""

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman)


class Call(Generic[T]):
    """The client's side of one RPC on an HTTP/2 connection of its own.

    Send `bytes_to_send()` at first and after each `feed()`, until `is_over`.
    """

    def __init__(
        self, method: Method[T], headers: Sequence[tuple[str, str]], request: bytes
    ) -> None:
        self.messages: deque[T] = deque()
        """What has come so far; take messages from its left. They count in spite of a `failure`,
        except for the one of a call that does not stream: it is an answer once that is over."""
        self.failure: ProbeFailure | None = None
        """Why the call did not end well."""
        self.is_over = False
        """Whether nothing more will come: the call has failed, or has ended with OK."""
        self._method = method
        self._frames = FrameReader()
        self._reader = MessageReader(method.max_size)
        self._idle_frames = self._idle_bytes = 0
        self._unacknowledged = 1
        self._h2 = H2Connection(_CONFIGURATION)
        self._h2.encoder = _Encoder()
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_IDLE_BYTES,
            },
        )
        self._h2.decoder.max_header_list_size = MAX_IDLE_BYTES
        self._h2.initiate_connection()
        self._h2.send_headers(_STREAM_ID, headers)
        self._h2.send_data(_STREAM_ID, encode_message(request), end_stream=True)

    def bytes_to_send(self) -> bytes:
        """Return what the peer is to be sent now, and forget it."""
        return self._h2.data_to_send()

    def feed(self, data: bytes) -> None:
        """Take what the peer has sent; nothing means that it sends no more.

        Whatever comes, it ends in a state and never in an exception. The work is in proportion to
        the length of `data`, so feed it small pieces where there is a limit in time.
        """
        if self.is_over:
            return
        if not data:
            self._fail(_invalid("connection closed before the call was over"))
            return
        try:
            for frame in self._frames.feed(data):
                self._take(frame)
                if self.is_over:
                    return
        except CodecError as error:
            self._fail(_invalid(str(error)))
        except H2Error as error:
            self._fail(_invalid(h2_message(str(error))))

    def ask_for_sign_of_life(self) -> None:
        """Send what an intact peer reacts to; see `has_shown_life`.

        That is the acknowledgement of empty SETTINGS (RFC 9113, section 6.5.3). PING would be the
        usual means, but gRPC servers put an end to connections with more than two of them in five
        minutes unless they are told otherwise.
        """
        self._h2.update_settings({})
        self._unacknowledged += 1
        self._idle_frames = self._idle_bytes = 0

    @property
    def has_shown_life(self) -> bool:
        """Whether the peer has reacted to all that it was asked."""
        return self._unacknowledged == 0

    def _take(self, frame: bytes) -> None:
        self._idle_frames += 1
        self._idle_bytes += len(frame)
        if self._idle_frames > MAX_IDLE_FRAMES:
            self._fail(_invalid(f"more than {MAX_IDLE_FRAMES} frames without a message"))
            return
        if self._idle_bytes > MAX_IDLE_BYTES and frame_type(frame) != DATA:  # with a part of one
            self._fail(_invalid(f"more than {MAX_IDLE_BYTES} bytes without a message"))
            return
        if frame_type(frame) == GOAWAY:
            # For h2 the connection ends here, but a call under way may still be finished. One that
            # has no end would keep the server from stopping.
            last_stream_id, code, debug = decode_goaway(frame)
            if code != ErrorCodes.NO_ERROR or last_stream_id < _STREAM_ID or self._method.streams:
                said = f" ({_text(debug)})" if debug else ""
                self._fail(
                    _reset(f"the peer ends the connection: GOAWAY {_error_name(code)}{said}")
                )
        else:
            for event in self._h2.receive_data(frame):
                self._handle(event)

    def _handle(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self._take_data(event)
        elif isinstance(event, ResponseReceived):
            self._begin(dict(event.headers))
            if event.stream_ended:
                self._end(dict(event.headers))
        elif isinstance(event, TrailersReceived):
            self._end(dict(event.headers))
        elif isinstance(event, StreamEnded) and not self.is_over:
            self._fail(_invalid("no trailers, so no gRPC status"))
        elif isinstance(event, StreamReset):
            name = _error_name(event.error_code)
            if event.remote_reset:
                self._fail(_reset(f"the peer resets the call: {name}"))
            else:
                self._fail(_invalid(f"not valid HTTP/2: {name}"))
        elif isinstance(event, SettingsAcknowledged):
            self._unacknowledged = max(self._unacknowledged - 1, 0)

    def _take_data(self, event: DataReceived) -> None:
        if event.data:
            self._idle_frames = self._idle_bytes = 0
        for message in self._reader.feed(event.data):
            if self.messages and not self._method.streams:
                raise CodecError("more than one message")
            self.messages.append(self._method.decode(message))
        self._h2.acknowledge_received_data(event.flow_controlled_length, _STREAM_ID)

    def _begin(self, headers: dict[bytes, bytes]) -> None:
        """Take the beginning of the answer; of a call that failed at once it is the end, too."""
        status = headers.get(b":status", b"")
        content_type = headers.get(b"content-type", b"").lower()
        is_grpc = _CONTENT_TYPE.match(content_type) is not None
        if status != _HTTP_OK and not (is_grpc and b"grpc-status" in headers):
            self._fail(_failure_of_http(status))
        elif not is_grpc:
            self._fail(
                _invalid(f"not gRPC: the content type is {_text(content_type) or 'missing'}")
            )

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
        said = unquote_to_bytes(trailers.get(b"grpc-message", b"")).decode(errors="replace")
        self._fail(_failure_of_status(name, said[:_MAX_MESSAGE_SHOWN]))

    def _end_with_ok(self) -> None:
        self._reader.finish()
        if self._method.streams:
            self._fail(_invalid(f"the server ended the {self._method.name} call"))
        elif not self.messages:
            self._fail(_invalid("gRPC status OK without a message"))
        self.is_over = True

    def _fail(self, failure: ProbeFailure) -> None:
        """End the call; what follows from a failure does not hide it."""
        if not self.is_over:
            self.failure = failure
            self.is_over = True


def _failure_of_status(name: str, said: str) -> ProbeFailure:
    return UnexpectedResponse(
        _REASONS.get(name, Reason.UNEXPECTED_STATUS),
        f"gRPC status {name}" + (f": {said}" if said else ""),
        name,
    )


def _failure_of_http(status: bytes) -> ProbeFailure:
    """Return what an HTTP status means that comes instead of a gRPC answer.

    Proxies say in this way that the server is away. gRPC gives every HTTP status a meaning
    (http-grpc-status-mapping.md), but any other one is rather a sign that no gRPC is spoken here.
    """
    if status in _UNAVAILABLE:
        return _failure_of_status("UNAVAILABLE", f"HTTP status {_text(status)}, and no answer")
    return ProbeFailure(
        Reason.INVALID_RESPONSE,
        f"HTTP status {_text(status)}, which no gRPC answer has",
        int(status) if _STATUS_CODE.fullmatch(status) else None,
    )


def _text(data: bytes) -> str:
    return data[:_MAX_MESSAGE_SHOWN].decode("ascii", "replace")


def _error_name(code: int) -> str:
    try:
        return ErrorCodes(code).name
    except ValueError:
        return str(code)


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)


def _reset(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.CONNECTION_RESET, message)

"""One request on an HTTP/2 connection of its own, for HTTP and for gRPC. No I/O.

Bytes in; events, failures and bytes to send out. Source: RFC 9113. With one stream, which the
client opens and the server ends, little of the protocol is left. The library h2, which serves both
sides and many streams, takes five times as many instructions, more than the rest of a gRPC check.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from healthchecker._protocols.h2_coding import Fields, FieldsDecoder, encode_fields
from healthchecker._protocols.h2_fields import check_response, check_trailers, content_length
from healthchecker._protocols.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    ErrorCode,
    FrameReader,
    check_priority,
    decode_goaway,
    decode_increment,
    decode_settings,
    encode_frame,
    encode_settings,
    error_name,
    frame_content,
    frame_flags,
    frame_payload,
    frame_stream_id,
    frame_type,
    invalid,
)
from healthchecker._protocols.reply import CodecError
from healthchecker._values.result import ProbeFailure, Reason

MAX_IDLE_FRAMES = 1000
"""The most frames that may arrive without any data in them; a response needs about five."""
MAX_IDLE_BYTES = 32 * 1024
"""The most bytes in those frames, and in a list of headers when it is decoded. The worst that a
peer can make of them takes 160 ms: interim responses that refer to a long field."""

_STREAM_ID = 1
"""The stream of the one request."""
_CONNECTION = 0
_WINDOW = 2**16 - 1
"""The window of both sides at the beginning, for the stream and for the connection."""
_MAX_HEADERS_FRAMES = 64
"""The most frames of one block of headers."""
_OF_A_STREAM = (DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION)
_OF_AN_OPEN_STREAM = (DATA, HEADERS, WINDOW_UPDATE, CONTINUATION)
_OF_THE_CONNECTION = (SETTINGS, PING, GOAWAY)
_PING_SIZE, _RST_STREAM_SIZE, _INCREMENT_SIZE = 8, 4, 4
_MAX_DEBUG_SHOWN = 200
_INTERIM = b"1"
_WITHOUT_CONTENT = (b"204", b"304")

# Of all settings, those that are not the defaults.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + encode_settings(
    {ENABLE_PUSH: 0, MAX_HEADER_LIST_SIZE: MAX_IDLE_BYTES}
)


class Response(NamedTuple):
    """The start of the final response."""

    fields: Fields
    """`:status`, three digits, and the header fields."""
    is_all: bool
    """Whether the response ends here."""


class Data(NamedTuple):
    """A part of the content, which may be empty."""

    data: bytes


class Trailers(NamedTuple):
    """The fields after the content."""

    fields: Fields


class End(NamedTuple):
    """The end of the response. Nothing counts that follows."""


class SettingsAcknowledged(NamedTuple):
    """The peer has taken SETTINGS of ours."""


Event = Response | Data | Trailers | End | SettingsAcknowledged


class ClientConnection:
    """The client's side of one request. Send `bytes_to_send()` at first and after `events()`."""

    def __init__(
        self,
        headers: Fields,
        body: bytes,
        *,
        has_content: bool = True,
        ends_at_goaway: bool = False,
    ) -> None:
        """Begin the request, whose header names are in lower case.

        `has_content` is whether the response may have content, as it has none after HEAD.
        `ends_at_goaway` is for a response without an end, which would keep a server from stopping.
        """
        self._has_content = has_content
        self._ends_at_goaway = ends_at_goaway
        self._frames = FrameReader()
        self._decoder = FieldsDecoder(MAX_IDLE_BYTES)
        self._idle_frames = self._idle_bytes = 0
        self._blocks: list[bytes] = []
        """The parts of a block of headers that has begun, one for each frame."""
        self._ends = False
        """Whether these headers end the response."""
        self._has_response = self._has_ended = False
        self._missing: int | None = None
        """The bytes of the content that are still to come, if its length is known."""
        self._receive_window = _WINDOW
        self._connection_window = self._stream_window = self._initial_window = _WINDOW
        self._unsent = memoryview(body)
        self._out = bytearray(_PREFACE)
        self._send_headers(encode_fields(headers), 0 if body else END_STREAM)
        self._send_body()

    def bytes_to_send(self) -> bytes:
        """Return the bytes to send to the peer now; each is returned once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def feed(self, data: bytes) -> None:
        """Take what the peer has sent. The work on it is done in `events`."""
        self._frames.feed(data)

    def events(self) -> Iterator[Event]:
        """Yield the events of the frames that are complete; raise `ProbeFailure` at a bad one.

        The work between two events is bounded. Data that was yielded counts as read.
        """
        try:
            for frame in () if self._has_ended else self._frames:
                self._count(frame)
                yield from self._take(frame)
                if self._has_ended:
                    return
        except CodecError as error:
            raise ProbeFailure(Reason.INVALID_RESPONSE, str(error)) from error

    def request_sign_of_life(self) -> None:
        """Send empty SETTINGS, which an intact peer acknowledges (RFC 9113, section 6.5.3)."""
        self._out += encode_settings({})
        self._idle_frames = self._idle_bytes = 0

    # Sending

    def _send_headers(self, block: bytes, flags: int) -> None:
        kind = HEADERS
        while len(block) > MAX_FRAME_SIZE:
            self._out += encode_frame(kind, flags, _STREAM_ID, block[:MAX_FRAME_SIZE])
            block = block[MAX_FRAME_SIZE:]
            kind, flags = CONTINUATION, 0
        self._out += encode_frame(kind, flags | END_HEADERS, _STREAM_ID, block)

    def _send_body(self) -> None:
        """Send as much of the body as the peer's windows allow."""
        while self._unsent:
            size = min(self._stream_window, self._connection_window, MAX_FRAME_SIZE)
            if size <= 0:
                return
            part, self._unsent = bytes(self._unsent[:size]), self._unsent[size:]
            self._stream_window -= len(part)
            self._connection_window -= len(part)
            flags = 0 if self._unsent else END_STREAM
            self._out += encode_frame(DATA, flags, _STREAM_ID, part)

    # Receiving

    def _count(self, frame: bytes) -> None:
        self._idle_frames += 1
        self._idle_bytes += len(frame)
        if self._idle_frames > MAX_IDLE_FRAMES:
            raise CodecError(f"more than {MAX_IDLE_FRAMES} frames without data")
        if self._idle_bytes > MAX_IDLE_BYTES and frame_type(frame) != DATA:
            raise CodecError(f"more than {MAX_IDLE_BYTES} bytes without data")

    def _take(self, frame: bytes) -> Iterator[Event]:
        """Yield the events of one frame."""
        kind, stream_id = frame_type(frame), frame_stream_id(frame)
        if self._blocks and (kind != CONTINUATION or stream_id != _STREAM_ID):
            raise invalid("a frame interrupting the headers")
        if kind in (_OF_THE_CONNECTION if stream_id else _OF_A_STREAM):
            raise invalid("a frame on the wrong stream")
        if stream_id not in (_STREAM_ID, _CONNECTION) and kind in _OF_AN_OPEN_STREAM:
            raise invalid("a frame on a stream that is not open")
        if kind in (HEADERS, CONTINUATION):
            yield from self._take_headers(frame)
        elif kind == DATA:
            yield from self._take_data(frame)
        elif kind == SETTINGS:
            yield from self._take_settings(frame)
        else:
            self._take_other(frame)

    def _take_headers(self, frame: bytes) -> Iterator[Event]:
        if (frame_type(frame) == HEADERS) == bool(self._blocks):
            raise invalid("an unexpected frame")
        if self._blocks:
            self._blocks.append(frame_payload(frame))
        else:
            self._blocks.append(frame_content(frame))
            self._ends = bool(frame_flags(frame) & END_STREAM)
        if len(self._blocks) > _MAX_HEADERS_FRAMES:
            raise invalid("too many continuation frames")
        if frame_flags(frame) & END_HEADERS:
            fields = self._decoder.decode(b"".join(self._blocks))
            self._blocks.clear()
            yield from (self._take_trailers if self._has_response else self._begin)(fields)

    def _begin(self, fields: Fields) -> Iterator[Event]:
        """Take the start of the response, or an interim one."""
        status = check_response(fields)
        if status.startswith(_INTERIM):
            if self._ends:
                raise invalid("an interim response that ends the stream")
            return
        self._has_response = True
        if not self._has_content:
            self._missing = 0
        elif status not in _WITHOUT_CONTENT:
            self._missing = content_length(fields)
        yield Response(fields, self._ends)
        if self._ends:
            yield self._end()

    def _take_trailers(self, fields: Fields) -> Iterator[Event]:
        check_trailers(fields)
        if not self._ends:
            raise invalid("trailers that do not end the stream")
        yield Trailers(fields)
        yield self._end()

    def _take_data(self, frame: bytes) -> Iterator[Event]:
        if not self._has_response:
            raise invalid("data before headers")
        data = frame_content(frame)
        ends = bool(frame_flags(frame) & END_STREAM)
        self._take_from_window(len(frame_payload(frame)))
        if data:
            self._idle_frames = self._idle_bytes = 0
        if self._missing is not None:
            self._missing -= len(data)
            if self._missing < 0 or (ends and self._missing):
                raise invalid("a body that does not match its content-length")
        yield Data(data)
        if ends:
            yield self._end()

    def _take_from_window(self, size: int) -> None:
        """Count received data; renew the windows of stream and connection when half is used."""
        self._receive_window -= size
        if self._receive_window < 0:
            raise invalid("more data than the flow control window allows")
        if self._receive_window <= _WINDOW // 2:
            increment = (_WINDOW - self._receive_window).to_bytes(_INCREMENT_SIZE, "big")
            for stream_id in (_STREAM_ID, _CONNECTION):
                self._out += encode_frame(WINDOW_UPDATE, 0, stream_id, increment)
            self._receive_window = _WINDOW

    def _end(self) -> End:
        if self._missing:
            raise invalid("a body that does not match its content-length")
        self._has_ended = True
        return End()

    def _take_settings(self, frame: bytes) -> Iterator[Event]:
        if frame_flags(frame) & ACK:
            frame_payload(frame, 0)
            yield SettingsAcknowledged()
            return
        for kind, value in decode_settings(frame_payload(frame)):
            if kind == INITIAL_WINDOW_SIZE:
                self._stream_window += value - self._initial_window
                self._initial_window = value
                self._check_windows()
        self._out += encode_frame(SETTINGS, ACK, _CONNECTION, b"")
        self._send_body()

    def _take_other(self, frame: bytes) -> None:
        """Take a frame that leads to no event; one of an unknown type has no meaning."""
        kind, stream_id = frame_type(frame), frame_stream_id(frame)
        if kind == PING:
            payload = frame_payload(frame, _PING_SIZE)
            if not frame_flags(frame) & ACK:
                self._out += encode_frame(PING, ACK, _CONNECTION, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream_id, decode_increment(frame_payload(frame, _INCREMENT_SIZE)))
        elif kind == RST_STREAM:
            code = int.from_bytes(frame_payload(frame, _RST_STREAM_SIZE), "big")
            if stream_id == _STREAM_ID:
                raise _reset(f"the peer reset the stream: {error_name(code)}")
        elif kind == GOAWAY:
            self._take_goaway(frame)
        elif kind == PRIORITY:
            check_priority(frame_payload(frame), stream_id)
        elif kind == PUSH_PROMISE:
            raise invalid("a pushed stream")

    def _widen(self, stream_id: int, increment: int) -> None:
        if stream_id == _STREAM_ID:
            self._stream_window += increment
        else:
            self._connection_window += increment
        self._check_windows()
        self._send_body()

    def _check_windows(self) -> None:
        if max(self._stream_window, self._connection_window) > MAX_WINDOW:
            raise invalid("a flow control window that is too large")

    def _take_goaway(self, frame: bytes) -> None:
        last_stream_id, code, debug = decode_goaway(frame)
        is_accepted = code == ErrorCode.NO_ERROR and last_stream_id >= _STREAM_ID
        if is_accepted and not self._ends_at_goaway:
            return  # the peer completes this request, and accepts no further ones
        text = debug[:_MAX_DEBUG_SHOWN].decode("ascii", "replace")
        raise _reset(
            f"the peer closed the connection: GOAWAY {error_name(code)}"
            + (f" ({text})" if text else "")
        )


def _reset(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.CONNECTION_RESET, message)

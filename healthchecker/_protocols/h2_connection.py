"""One request on an HTTP/2 connection of its own, for HTTP and for gRPC. No I/O.

Bytes in; events, failures and bytes to send out. Source: RFC 9113. h2 does most of the work; this
module bounds what a peer can make it do, and cuts the bytes into frames first, since h2 takes
GOAWAY for the end although a request that was accepted before goes on (section 6.8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import hpack
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings
from hpack.hpack import encode_integer
from hpack.table import HeaderTable
from hyperframe.frame import SettingsFrame

from healthchecker._protocols.h2_message import h2_message
from healthchecker._protocols.reply import CodecError
from healthchecker._values.result import ProbeFailure, Reason

Fields = Sequence[tuple[str | bytes, str | bytes]]

STREAM_ID = 1
"""The stream of the one request."""
MAX_FRAME_SIZE = 16 * 1024
"""The longest frame payload that a peer may send (RFC 9113's SETTINGS_MAX_FRAME_SIZE)."""
MAX_IDLE_FRAMES = 1000
"""The most frames that may arrive without any data in them; a response needs about five."""
MAX_IDLE_BYTES = 32 * 1024
"""The most bytes in those frames, and in a list of headers when it is decoded. The worst that h2
does with them takes 50 ms (headers made of nothing but table sizes) or 6 MiB (thousands of kinds
of settings)."""

DATA, SETTINGS, GOAWAY = 0x00, 0x04, 0x07
"""Frame types (RFC 9113, section 6)."""

_INDEXED, _NOT_INDEXED, _NEVER_INDEXED = 0x80, 0x00, 0x10
_INDEX_BITS, _LENGTH_BITS = 4, 7
_STATIC_TABLE = HeaderTable.STATIC_TABLE_MAPPING
_NOT_IN_TABLE: tuple[int, dict[bytes, int]] = (0, {})
_SHORT = 126
"""The longest text whose length is one byte."""
_FRAME_HEADER = 9
_MIN_GOAWAY = 8
_MAX_DEBUG_SHOWN = 200
_MAX_STATUS_SHOWN = 20
_STATUS = re.compile(rb"[1-9]\d\d")
_SWITCHING_PROTOCOLS = b"101"
_NO_CONTENT = ((b":status", b"204"), (b":status", b"304"))
_CONTENT_LENGTH = b"content-length"

# The length of a frame has the same limit by default.
_SETTINGS = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: MAX_IDLE_BYTES}
_SETTINGS_FRAME = SettingsFrame(settings={int(code): value for code, value in _SETTINGS.items()})
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS_FRAME.serialize()

# The headers that are sent are our own, or have been verified.
_CONFIGURATION = H2Configuration(client_side=True, validate_outbound_headers=False)


class ClientConnection:
    """The client's side of one request. Send `bytes_to_send()` at first and after `events()`."""

    def __init__(self, headers: Fields, body: bytes, *, ends_at_goaway: bool = False) -> None:
        """Begin the request.

        `ends_at_goaway` is for a response without an end, which would keep a server from stopping.
        """
        self._ends_at_goaway = ends_at_goaway
        self._frames = FrameReader()
        self._idle_frames = self._idle_bytes = 0
        self._h2 = H2Connection(_CONFIGURATION)
        self._h2.encoder = _Encoder()
        self._h2.decoder = self._decoder = _Decoder(MAX_IDLE_BYTES)
        self._h2.local_settings = Settings(
            client=True,
            initial_values=_SETTINGS,
        )
        self._h2.initiate_connection()
        self._h2.clear_outbound_data_buffer()  # it would also send each default
        self._preface = _PREFACE
        self._h2.send_headers(STREAM_ID, headers, end_stream=not body)
        self._unsent = memoryview(body)
        self._send_body()

    def bytes_to_send(self) -> bytes:
        """Return the bytes to send to the peer now; each is returned once."""
        preface, self._preface = self._preface, b""
        return preface + self._h2.data_to_send()

    def feed(self, data: bytes) -> None:
        """Take what the peer has sent. The work on it is done in `events`."""
        self._frames.feed(data)

    def events(self) -> Iterator[Event]:
        """Yield the events of the frames that are complete; raise `ProbeFailure` at a bad one.

        The work between two events is bounded. Data that was yielded counts as read.
        """
        try:
            for frame in self._frames:
                self._count(frame)
                if frame_type(frame) == GOAWAY:
                    self._take_goaway(frame)
                else:
                    for event in self._h2.receive_data(frame):
                        self._take(event)
                        yield event
        except CodecError as error:
            raise _invalid(str(error)) from error
        except H2Error as error:
            raise _invalid(h2_message(str(error))) from error

    def request_sign_of_life(self) -> None:
        """Send empty SETTINGS, which an intact peer acknowledges (RFC 9113, section 6.5.3)."""
        self._h2.update_settings({})
        self._idle_frames = self._idle_bytes = 0

    @property
    def hidden_fields(self) -> Fields:
        """The header fields of the response that h2 must not see."""
        return self._decoder.hidden

    def _count(self, frame: bytes) -> None:
        self._idle_frames += 1
        self._idle_bytes += len(frame)
        if self._idle_frames > MAX_IDLE_FRAMES:
            raise _invalid(f"more than {MAX_IDLE_FRAMES} frames without data")
        if self._idle_bytes > MAX_IDLE_BYTES and frame_type(frame) != DATA:
            raise _invalid(f"more than {MAX_IDLE_BYTES} bytes without data")

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            if event.data:
                self._idle_frames = self._idle_bytes = 0
            self._h2.acknowledge_received_data(event.flow_controlled_length, STREAM_ID)
        elif isinstance(event, (ResponseReceived, InformationalResponseReceived)):
            _check_status(dict(event.headers or ()).get(b":status", b""))
        elif isinstance(event, StreamReset):
            name = error_name(event.error_code)
            if event.remote_reset:
                raise _reset(f"the peer reset the stream: {name}")
            raise _invalid(f"not valid HTTP/2: {name}")
        elif isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            self._send_body()

    def _take_goaway(self, frame: bytes) -> None:
        last_stream_id, code, debug = decode_goaway(frame)
        is_accepted = code == ErrorCodes.NO_ERROR and last_stream_id >= STREAM_ID
        if is_accepted and not self._ends_at_goaway:
            return  # the peer completes this request, and accepts no further ones
        text = debug[:_MAX_DEBUG_SHOWN].decode("ascii", "replace")
        raise _reset(
            f"the peer closed the connection: GOAWAY {error_name(code)}"
            + (f" ({text})" if text else "")
        )

    def _send_body(self) -> None:
        """Send as much of the body as the peer's window allows."""
        while self._unsent:
            size = min(
                self._h2.local_flow_control_window(STREAM_ID), self._h2.max_outbound_frame_size
            )
            if size <= 0:
                return
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            self._h2.send_data(STREAM_ID, bytes(part), end_stream=not self._unsent)


class _Encoder(hpack.Encoder):
    """Sends headers by the static table alone (RFC 7541, appendix A), in the one block there is.

    A dynamic table and Huffman coding would save 100 bytes, but cost a fifth of the instructions of
    a check.
    """

    def encode(self, headers: Any, _huffman: bool = False) -> bytes:
        block = bytearray()
        for header in headers:
            name, value = header
            index, values = _STATIC_TABLE.get(name, _NOT_IN_TABLE)
            if value in values:
                block.append(_INDEXED | values[value])
                continue
            start = encode_integer(index, _INDEX_BITS)
            is_secret = isinstance(header, hpack.NeverIndexedHeaderTuple)
            start[0] |= _NEVER_INDEXED if is_secret else _NOT_INDEXED
            block += start
            for text in (value,) if index else (name, value):
                size = len(text)
                block += encode_integer(size, _LENGTH_BITS) if size > _SHORT else bytes((size,))
                block += text
        return bytes(block)


class _Decoder(hpack.Decoder):
    """Hides the length of the content that a 204 or 304 does not have.

    It is no error (RFC 9110, section 8.6), but h2 would miss the body.
    """

    hidden: Fields = ()

    def decode(self, data: bytes, raw: bool = False) -> Any:
        fields: Any = super().decode(data, raw)
        if any(field in fields for field in _NO_CONTENT):
            self.hidden = [(name, value) for name, value in fields if name == _CONTENT_LENGTH]
            return [field for field in fields if field[0] != _CONTENT_LENGTH]
        return fields


class FrameReader:
    """Cuts a byte stream into HTTP/2 frames, header included. Iterate after each `feed`."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._knows_peer = False

    def feed(self, data: bytes) -> None:
        self._data += data

    def __iter__(self) -> Iterator[bytes]:
        """Yield the frames that are complete; raise `CodecError` for anything else than HTTP/2."""
        while len(self._data) >= _FRAME_HEADER:
            size = int.from_bytes(self._data[:3], "big")
            if not self._knows_peer:
                self._check_preface()
            if size > MAX_FRAME_SIZE:
                raise CodecError(f"frame too large: {size} bytes (limit {MAX_FRAME_SIZE})")
            end = _FRAME_HEADER + size
            if len(self._data) < end:
                return
            frame = bytes(self._data[:end])
            del self._data[:end]
            yield frame

    def _check_preface(self) -> None:
        """Check that a connection begins with SETTINGS (RFC 9113, section 3.4)."""
        if self._data.startswith(b"HTTP/"):
            raise CodecError("the peer speaks HTTP/1, not HTTP/2")
        if frame_type(self._data) != SETTINGS or self._data[0]:
            raise CodecError("the peer does not speak HTTP/2")
        self._knows_peer = True


def frame_type(frame: bytes | bytearray) -> int:
    """Return the type of an HTTP/2 frame (RFC 9113, section 4.1)."""
    return frame[3]


def decode_goaway(frame: bytes) -> tuple[int, int, bytes]:
    """Return the last stream id, the error code and the debug data of a GOAWAY frame."""
    body = frame[_FRAME_HEADER:]
    if len(body) < _MIN_GOAWAY:
        raise CodecError("truncated GOAWAY frame")
    last_stream_id = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
    return last_stream_id, int.from_bytes(body[4:8], "big"), body[8:]


def error_name(code: ErrorCodes | int | None) -> str:
    """Return the name of an HTTP/2 error code (RFC 9113, section 7), or its number."""
    try:
        return ErrorCodes(code or 0).name
    except ValueError:
        return str(code)


def _check_status(status: bytes) -> None:
    """Check what h2 does not: that the status is one (RFC 9113, sections 8.3.2 and 8.6)."""
    if not _STATUS.fullmatch(status):
        text = status[:_MAX_STATUS_SHOWN].decode("ascii", "replace")
        raise _invalid(f"not valid HTTP/2: expected a :status from 100 to 999, got {text!r}")
    if status == _SWITCHING_PROTOCOLS:
        raise _invalid("not valid HTTP/2: status 101, which HTTP/2 does not have")


def _invalid(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.INVALID_RESPONSE, message)


def _reset(message: str) -> ProbeFailure:
    return ProbeFailure(Reason.CONNECTION_RESET, message)

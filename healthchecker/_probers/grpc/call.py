"""The probe for grpc:// and grpcs:// targets: Check, List and Watch of grpc.health.v1.

The only module that knows h2.
"""

from __future__ import annotations

import math
import re
import ssl
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar
from urllib.parse import unquote

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

from healthchecker._net.deadline import Cancel, Deadline
from healthchecker._net.stream import Stream
from healthchecker._net.tls import make_context
from healthchecker._options import REQUEST_OPTIONS, CheckOptions
from healthchecker._probers.grpc.codec import (
    GOAWAY,
    MAX_FRAME_SIZE,
    STATUS_CODES,
    CodecError,
    FrameReader,
    MessageReader,
    decode_check_response,
    decode_goaway,
    decode_list_response,
    encode_check_request,
    encode_message,
    frame_type,
)
from healthchecker._probers.prober import Healthy, Prober, Progress, connect
from healthchecker._result import (
    BadArgumentError,
    CheckResult,
    Phase,
    ProbeFailure,
    Reason,
    UnexpectedAnswer,
)
from healthchecker._target import Endpoint, Scheme, Target

T = TypeVar("T")

MAX_SERVICE_BYTES = 8 * 1024
MAX_CHECK_BYTES = 64 * 1024
MAX_LIST_BYTES = 256 * 1024
MAX_IDLE_FRAMES = 1000
"""How many frames may come without any part of a message; an answer needs about five."""
KEEPALIVE_INTERVAL = 30.0
"""Seconds without a message after which a watched server is asked for a sign of life."""

_FORM = "grpc[s]://HOST:PORT[/SERVICE]"
_STREAM_ID = 1
_READ_SIZE = 64 * 1024
_MAX_MESSAGE_SHOWN = 200
_HTTP_OK = b"200"

_METADATA_NAME = re.compile(r"[0-9a-z_.-]+")
_METADATA_VALUE = re.compile(r"[\x20-\x7e]*")
_AUTHORITY = re.compile(r"[A-Za-z0-9._~-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?", re.ASCII)
_CONTENT_TYPE = re.compile(rb"application/grpc(?:[+;]|$)")
_STATUS_CODE = re.compile(rb"\d{1,3}")
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

_REASONS = {
    "NOT_FOUND": Reason.UNKNOWN_SERVICE,
    "UNIMPLEMENTED": Reason.UNIMPLEMENTED,
    "UNAVAILABLE": Reason.NOT_SERVING,
    "DEADLINE_EXCEEDED": Reason.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class ListResult:
    """What a server said of all its services."""

    check: CheckResult
    """Healthy when at least one service is listed and every one is SERVING."""
    statuses: dict[str, str]
    """The serving status by service name, in the order of names; "" is the whole server."""


def list_services(
    target: Target, options: CheckOptions, timeout: float, cancel: Cancel | None = None
) -> ListResult:
    """Ask for the state of every service (RPC `List`), within `timeout` seconds.

    A server without that RPC, an older one, is a result with the reason `unimplemented`. Raises
    `Cancelled` when `cancel` is set meanwhile.
    """
    prober = _ListProber(target, options)
    check = prober.probe(timeout, cancel)
    return ListResult(check, prober.statuses)


def watch_service(
    target: Target, options: CheckOptions, timeout: float, cancel: Cancel | None = None
) -> Iterator[CheckResult]:
    """Follow a service (RPC `Watch`): a result at once, and one for each message after it.

    The connection and the first message have `timeout` seconds together. Afterwards a server that
    is silent is asked for a sign of life every `KEEPALIVE_INTERVAL`, and has `timeout` seconds for
    it. The iterator ends after the result that says why the call broke; after `unimplemented` it
    must not be tried again (health.proto). Each result's `elapsed` is the wait for it.

    Raises `BadArgumentError` at once, and `Cancelled` from the iterator when `cancel` is set.
    Closing the iterator closes the connection.
    """
    return _WatchProber(target, options, timeout).results(cancel)


class GrpcProber(Prober):
    """Asks for the state of one service, or of the whole server (RPC `Check`)."""

    SCHEMES: ClassVar = {
        "grpc": Scheme(_FORM, options=REQUEST_OPTIONS),
        "grpcs": Scheme(_FORM, tls=True, options=REQUEST_OPTIONS),
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        if target.scheme not in self.SCHEMES:
            raise BadArgumentError("TARGET", target.label, "not a gRPC target")
        if target.url.query:
            raise BadArgumentError("TARGET", target.label, "gRPC has no query")
        if len(target.service.encode()) > MAX_SERVICE_BYTES:
            raise BadArgumentError(
                "TARGET", target.label, f"a service name of more than {MAX_SERVICE_BYTES} bytes"
            )
        self._headers = _make_headers(target, options)
        self._context = make_context(options.tls, "h2") if target.tls else None
        self._subject = f"service {target.service}" if target.service else "the server"

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        request = encode_check_request(self._target.service)
        with closing(
            self._call("Check", request, decode_check_response, deadline, progress)
        ) as call:
            return self._judge(call.only_message())

    def _call(
        self,
        method: str,
        request: bytes,
        decode: Callable[[bytes], T],
        deadline: Deadline,
        progress: Progress,
        *,
        max_size: int = MAX_CHECK_BYTES,
        endless: bool = False,
    ) -> _Call[T]:
        """Connect and send the request; tell the server its time, unless the call is `endless`."""
        stream = connect(self._target.endpoint, self._options, deadline, progress, self._context)
        try:
            headers = [
                (":method", "POST"),
                (":scheme", "https" if self._target.tls else "http"),
                (":path", f"/grpc.health.v1.Health/{method}"),
                *self._headers,
            ]
            if not endless:
                headers.append(("grpc-timeout", f"{math.ceil(deadline.remaining() * 1000)}m"))
            return _Call(
                stream,
                deadline,
                headers,
                request,
                reader=MessageReader(max_size),
                decode=decode,
                endless=endless,
            )
        except BaseException:
            stream.close()
            raise

    def _judge(self, status: str) -> Healthy:
        if status != "SERVING":
            unknown = status == "SERVICE_UNKNOWN"
            raise UnexpectedAnswer(
                Reason.UNKNOWN_SERVICE if unknown else Reason.NOT_SERVING,
                f"{self._subject} is {status}",
                status,
            )
        return Healthy(status, f"{self._subject} is {status}")


class _ListProber(GrpcProber):
    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        if target.service:
            raise BadArgumentError("TARGET", target.label, "a list is of all services")
        self.statuses: dict[str, str] = {}

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        with closing(
            self._call(
                "List", b"", decode_list_response, deadline, progress, max_size=MAX_LIST_BYTES
            )
        ) as call:
            self.statuses = dict(sorted(call.only_message().items()))
        if not self.statuses:
            raise UnexpectedAnswer(Reason.UNKNOWN_SERVICE, "the server lists no service")
        bad = [(name, status) for name, status in self.statuses.items() if status != "SERVING"]
        if bad:
            name, status = bad[0]
            first = f"service {name}" if name else "the server"
            more = f", and {len(bad) - 1} more are not SERVING" if len(bad) > 1 else ""
            raise UnexpectedAnswer(Reason.NOT_SERVING, f"{first} is {status}{more}", status)
        return Healthy("SERVING", f"{len(self.statuses)} listed, all SERVING")


class _WatchProber(GrpcProber):
    """Its first probe makes the call; each one waits for the next message of it."""

    def __init__(self, target: Target, options: CheckOptions, timeout: float) -> None:
        super().__init__(target, options)
        self._timeout = timeout
        self._watch: _Call[str] | None = None
        self._broken = False

    def results(self, cancel: Cancel | None) -> Iterator[CheckResult]:
        try:
            yield self.probe(self._timeout, cancel)
            while not self._broken:
                yield self.probe(math.inf, cancel)
        finally:
            if self._watch is not None:
                self._watch.close()

    def _ask(self, deadline: Deadline, progress: Progress) -> Healthy:
        self._broken = True  # unless a message comes
        if self._watch is None:
            request = encode_check_request(self._target.service)
            self._watch = self._call(
                "Watch", request, decode_check_response, deadline, progress, endless=True
            )
            status = self._watch.next_message()
        else:
            progress.enter(Phase.RESPONSE)
            deadline.wait_any([], 0.0)  # a peer that never pauses must not hide a Cancel
            status = self._next(self._watch, deadline)
        if status is None:
            raise _invalid("the server ended the Watch call")
        self._broken = False
        return self._judge(status)

    def _next(self, watch: _Call[str], deadline: Deadline) -> str | None:
        """Wait for a message as long as the server is alive."""
        while True:
            watch.extend(deadline.tightened(KEEPALIVE_INTERVAL))
            try:
                return watch.next_message()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT or watch.ended:
                    raise
            watch.extend(deadline.tightened(self._timeout))
            try:
                watch.demand_sign_of_life()
            except ProbeFailure as failure:
                if failure.reason is not Reason.TIMEOUT:
                    raise
                raise ProbeFailure(
                    Reason.TIMEOUT, f"no sign of life: {failure.message}"
                ) from failure


class _Call(Generic[T]):
    """One RPC on a connection of its own: one request, and the messages that answer it."""

    def __init__(
        self,
        stream: Stream,
        deadline: Deadline,
        headers: list[tuple[str, str]],
        request: bytes,
        *,
        reader: MessageReader,
        decode: Callable[[bytes], T],
        endless: bool,
    ) -> None:
        self._stream = stream
        self._deadline = deadline
        self._frames = FrameReader()
        self._reader = reader
        self._decode = decode
        self._endless = endless
        self._messages: deque[T] = deque()
        self._failure: ProbeFailure | None = None
        self.ended = False
        """Whether nothing more will come, be it because of a failure."""
        self._tls = (":scheme", "https") in headers
        self._heard = False
        self._idle_frames = 0
        self._unacknowledged = 1
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_SIZE,
                SettingCodes.MAX_HEADER_LIST_SIZE: H2Connection.DEFAULT_MAX_HEADER_LIST_SIZE,
            },
        )
        self._h2.initiate_connection()
        self._h2.send_headers(_STREAM_ID, headers)
        self._h2.send_data(_STREAM_ID, encode_message(request), end_stream=True)
        self._flush()

    def only_message(self) -> T:
        """Return the answer to a unary call, which has ended with OK after exactly one message."""
        message = self.next_message()
        if message is None:
            raise _invalid("gRPC status OK without a message")
        if self.next_message() is not None:
            raise _invalid("more than one message")
        return message

    def next_message(self) -> T | None:
        """Return the next message, or None when the call has ended with OK."""
        while not self._messages:
            if self._failure is not None:
                raise self._failure
            if self.ended:
                return None
            self._receive()
        return self._messages.popleft()

    def demand_sign_of_life(self) -> None:
        """Return when the peer has reacted in any way that counts; else the deadline passes.

        What is asked for is the acknowledgement of empty SETTINGS (RFC 9113, section 6.5.3).
        PING would be the usual means, but gRPC servers put an end to connections with more than
        two of them in five minutes unless they are told otherwise.
        """
        self._h2.update_settings({})
        self._unacknowledged += 1
        self._flush()
        while self._unacknowledged and not self._messages and not self.ended:
            self._receive()

    def extend(self, deadline: Deadline) -> None:
        self._idle_frames = 0
        self._deadline = deadline
        self._stream.extend(deadline)

    def close(self) -> None:
        self._stream.close()

    def _receive(self) -> None:
        """Read once, and take in what came: messages before a failure still count."""
        data = self._read()
        if not data:
            self._fail(_invalid("connection closed before the call was over"))
            return
        try:
            for frame in self._frames.feed(data):
                self._deadline.remaining()  # what was read at once may take long to look at
                self._take(frame)
                if self.ended:
                    return
        except CodecError as error:
            self._fail(_invalid(str(error)))
        except H2Error as error:
            self._fail(_invalid(f"not valid HTTP/2: {error}"))
        else:
            self._flush()

    def _read(self) -> bytes:
        try:
            data = self._stream.read(_READ_SIZE)
        except ProbeFailure as failure:
            cut = isinstance(failure.__cause__, (ssl.SSLEOFError, ConnectionError))
            if self._tls and not self._heard and cut:
                # With TLS 1.3 a client certificate is judged after our side of the handshake,
                # and not every server sends an alert then.
                raise ProbeFailure(
                    Reason.TLS_FAILURE,
                    "the peer closed the connection after the handshake without a word, "
                    "as if it missed or refused a client certificate",
                ) from failure
            raise
        self._heard = True
        return data

    def _take(self, frame: bytes) -> None:
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES:
            self._fail(_invalid(f"more than {MAX_IDLE_FRAMES} frames without a message"))
        elif frame_type(frame) == GOAWAY:
            # For h2 the connection ends here, but a call under way may still be finished. One that
            # has no end would keep the server from stopping.
            last_stream_id, code, debug = decode_goaway(frame)
            if code != ErrorCodes.NO_ERROR or last_stream_id < _STREAM_ID or self._endless:
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
        elif isinstance(event, StreamEnded) and not self.ended:
            self._fail(_invalid("no trailers, so no gRPC status"))
        elif isinstance(event, StreamReset):
            self._fail(_reset(f"the peer resets the call: {_error_name(event.error_code)}"))
        elif isinstance(event, SettingsAcknowledged):
            self._unacknowledged = max(self._unacknowledged - 1, 0)

    def _take_data(self, event: DataReceived) -> None:
        if event.data:
            self._idle_frames = 0
        for message in self._reader.feed(event.data):
            self._messages.append(self._decode(message))
        self._h2.acknowledge_received_data(event.flow_controlled_length, _STREAM_ID)

    def _begin(self, headers: dict[bytes, bytes]) -> None:
        status = headers.get(b":status", b"")
        content_type = headers.get(b"content-type", b"").lower()
        if status != _HTTP_OK:
            self._fail(
                ProbeFailure(
                    Reason.INVALID_RESPONSE,
                    f"HTTP status {_text(status)}, which no gRPC answer has",
                    int(status) if _STATUS_CODE.fullmatch(status) else None,
                )
            )
        elif not _CONTENT_TYPE.match(content_type):
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
            self._reader.finish()
            self.ended = True
            return
        name = STATUS_CODES[number] if number < len(STATUS_CODES) else str(number)
        encoded = trailers.get(b"grpc-message", b"")[: 3 * _MAX_MESSAGE_SHOWN]
        said = unquote(encoded.decode("ascii", "replace"))[:_MAX_MESSAGE_SHOWN]
        self._fail(
            UnexpectedAnswer(
                _REASONS.get(name, Reason.UNEXPECTED_STATUS),
                f"gRPC status {name}" + (f": {said}" if said else ""),
                name,
            )
        )

    def _fail(self, failure: ProbeFailure) -> None:
        """End the call; what follows from a failure does not hide it."""
        if not self.ended:
            self._failure = failure
            self.ended = True

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self._stream.write(data)


def _make_headers(target: Target, options: CheckOptions) -> list[tuple[str, str]]:
    """Return what follows the method, scheme and path: authority, gRPC's own headers, metadata."""
    authority = _authority(target.endpoint)
    defaults = {
        "te": "trailers",
        "content-type": "application/grpc",
        "grpc-encoding": "identity",
        "grpc-accept-encoding": "identity",
        "user-agent": "healthchecker",
    }
    auth = options.basic_auth or target.basic_auth
    if auth is not None:
        defaults["authorization"] = "Basic " + b64encode(":".join(auth).encode()).decode("ascii")
    metadata = []
    for given_name, given_value in options.headers:
        name, value = given_name.lower(), given_value
        if name == "host":
            if not _AUTHORITY.fullmatch(value):
                raise BadArgumentError("header", given_name, "not a host and port")
            authority = value
            continue
        if name in _RESERVED or name.startswith("grpc-"):
            raise BadArgumentError("header", given_name, "belongs to the protocol in gRPC")
        if not _METADATA_NAME.fullmatch(name):
            raise BadArgumentError("header", given_name, "not a name for gRPC metadata")
        if not _METADATA_VALUE.fullmatch(value):
            raise BadArgumentError(
                "header", given_name, "its value is not printable ASCII; see names in -bin"
            )
        if name.endswith("-bin"):
            value = _base64(given_name, value)
        defaults.pop(name, None)
        metadata.append((name, value))
    return [(":authority", authority), *defaults.items(), *metadata]


def _authority(endpoint: Endpoint) -> str:
    if endpoint.unix_socket is not None:
        return "localhost"  # gRPC's own choice; some servers refuse a path
    host = endpoint.host.partition("%")[0]  # a zone means something on this machine only
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def _base64(name: str, value: str) -> str:
    """Return the base64 of a binary header as gRPC emits it: without padding."""
    bare = value.rstrip("=")
    try:
        b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError as error:
        raise BadArgumentError("header", name, "its value must be base64") from error
    return bare


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

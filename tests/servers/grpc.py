"""Real gRPC servers for tests (grpcio), and behaviours of HTTP/2 peers made of single frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import h2.config
import h2.connection
import h2.events
import hpack
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.servers.peers import Behaviour, Connection

Fields = Sequence[tuple[str, str]]

OK_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
NOT_SERVING = b"\x00\x00\x00\x00\x02\x08\x02"


class RecordingServicer(health.HealthServicer):
    """The servicer of grpcio; it records the metadata of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.metadata: list[tuple[str, str | bytes]] = []
        self.time_remaining: float | None = None

    def Check(  # noqa: N802 - the name of the RPC
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        self.metadata = [(key, value) for key, value in context.invocation_metadata()]
        self.time_remaining = context.time_remaining()
        return super().Check(request, context)


class ListingServicer(health.HealthServicer):
    """Implements the RPC that the servicer of grpcio lacks."""

    def __init__(self, statuses: Mapping[str, int]) -> None:
        super().__init__()
        self._statuses = statuses

    def List(self, _request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802
        return list_response(self._statuses)


class FailingServicer(health_pb2_grpc.HealthServicer):
    """Fails every call with one status code."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self._code = code
        self._message = message

    def Check(  # noqa: N802
        self, _request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        context.abort(self._code, self._message)
        raise AssertionError  # abort() does not return

    def Watch(  # noqa: N802
        self, _request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[health_pb2.HealthCheckResponse]:
        context.abort(self._code, self._message)
        yield health_pb2.HealthCheckResponse()


def list_response(statuses: Mapping[str, int]) -> Any:
    """Return a HealthListResponse, which the stubs do not have yet."""
    response = health_pb2.HealthListResponse()  # type: ignore[attr-defined]
    for name, status in statuses.items():
        response.statuses[name].status = status
    return response


@contextmanager
def grpc_server(
    servicer: health_pb2_grpc.HealthServicer,
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    workers: int = 4,
) -> Iterator[int]:
    """Serve until the end of the block; the value is the port. A Watch takes a worker."""
    with futures.ThreadPoolExecutor(max_workers=workers) as pool:
        server = grpc.server(pool)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def settings() -> bytes:
    return SettingsFrame(0).serialize()


def settings_ack() -> bytes:
    return SettingsFrame(0, flags=["ACK"]).serialize()


def headers(fields: Fields = OK_HEADERS, *, last: bool = False) -> bytes:
    flags = ["END_HEADERS", "END_STREAM"] if last else ["END_HEADERS"]
    return HeadersFrame(1, hpack.Encoder().encode(fields), flags=flags).serialize()


def headers_in_pieces(fields: Fields, count: int, *, last: bool = False) -> bytes:
    """Return the fields in a HEADERS frame and `count` CONTINUATION frames."""
    block = hpack.Encoder().encode(fields)
    size = len(block) // count
    parts = [block[index * size : (index + 1) * size] for index in range(count)]
    frames: list[Frame] = [HeadersFrame(1, parts[0], flags=["END_STREAM"] if last else [])]
    frames += [ContinuationFrame(1, part) for part in parts[1:]]
    frames.append(ContinuationFrame(1, block[count * size :], flags=["END_HEADERS"]))
    return b"".join(frame.serialize() for frame in frames)


def data(payload: bytes, *, last: bool = False) -> bytes:
    return DataFrame(1, payload, flags=["END_STREAM"] if last else []).serialize()


def trailers(status: str = "0", message: str | None = None) -> bytes:
    fields = [("grpc-status", status)]
    if message is not None:
        fields.append(("grpc-message", message))
    return headers(fields, last=True)


def ping() -> bytes:
    return PingFrame(0, b"\x00" * 8).serialize()


def ping_ack() -> bytes:
    return PingFrame(0, b"\x00" * 8, flags=["ACK"]).serialize()


def push() -> bytes:
    request = hpack.Encoder().encode([(":method", "GET"), (":scheme", "http"), (":path", "/")])
    return PushPromiseFrame(1, 2, request, flags=["END_HEADERS"]).serialize()


def goaway(last_stream_id: int, code: int = 0, debug: bytes = b"") -> bytes:
    return GoAwayFrame(0, last_stream_id, code, debug).serialize()


def reset_stream(code: int) -> bytes:
    return RstStreamFrame(1, code).serialize()


SERVING_SO_FAR = settings() + headers() + data(SERVING)
HEALTHY = SERVING_SO_FAR + trailers()


def read_call(connection: Connection) -> tuple[h2.connection.H2Connection, dict[str, str]]:
    """Read a whole call; return the server's side of it and the headers. Nothing is sent."""
    config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    server = h2.connection.H2Connection(config)
    server.initiate_connection()
    fields: dict[str, str] = {}
    while True:
        received = connection.sock.recv(65536)
        if not received:
            raise ConnectionError
        for event in server.receive_data(received):
            if isinstance(event, h2.events.RequestReceived):
                fields = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, h2.events.StreamEnded):
                return server, fields


def respond_to_call(
    frames: bytes, then: Callable[[Connection], None] = Connection.hold
) -> Behaviour:
    """Read a whole call, send the frames, and go on with `then`."""

    def behave(connection: Connection) -> None:
        read_call(connection)
        connection.send(frames)
        then(connection)

    return behave


class RecordingCall:
    """A behaviour that responds with SERVING and records the headers of the call."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def __call__(self, connection: Connection) -> None:
        _, self.headers = read_call(connection)
        connection.send(HEALTHY)
        connection.hold()


class AliveWatch:
    """A behaviour that sends SERVING and `first`, and acknowledges SETTINGS.

    After the wanted number of SETTINGS it sends NOT_SERVING. PINGs are also counted.
    """

    def __init__(self, first: bytes, settings_wanted: int) -> None:
        self._first = first
        self.settings_seen = 0
        self.pings_seen = 0
        self._wanted = settings_wanted

    def __call__(self, connection: Connection) -> None:
        server, _ = read_call(connection)
        server.send_headers(1, OK_HEADERS)
        server.send_data(1, SERVING)
        connection.send(server.data_to_send() + self._first)
        while received := connection.sock.recv(65536):
            for event in server.receive_data(received):
                self.settings_seen += isinstance(event, h2.events.RemoteSettingsChanged)
                self.pings_seen += isinstance(event, h2.events.PingReceived)
            if self.settings_seen == self._wanted:
                server.send_data(1, NOT_SERVING)
            connection.send(server.data_to_send())

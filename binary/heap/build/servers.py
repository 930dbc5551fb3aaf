"""The servers of the build's checks, each in a process of its own."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, SettingsAcknowledged, StreamEnded
from hpack import HeaderTuple, NeverIndexedHeaderTuple

_HTTP_ANSWER = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n"
    b'connection: close\r\n\r\n{"status":"UP"}'
)
_PAUSE = 1
"""The seconds after which all threads of a check wait for a response."""
_GRPC_HEAD = ((":status", "200"), ("content-type", "application/grpc"))
_GRPC_SERVING = b"\x00\x00\x00\x00\x02\x08\x01"
_GRPC_NOT_SERVING = b"\x00\x00\x00\x00\x02\x08\x02"
# A frame with what h2, grpc-go and grpcio send; no RFC knows the last setting.
_GRPC_SETTINGS = bytes.fromhex(
    "000030 04 00 00000000  0001 00001000  0002 00000000  0003 00000064  0004 00400000"
    "0005 00400000  0006 00004000  0008 00000000  fe03 00000001"
)
_GRPC_WINDOW = 4128769
_Field = tuple[str, str] | HeaderTuple


def usual_checks(port: int) -> list[list[str]]:
    """Return the usual arguments for an HTTP check of a local port."""
    plain = ["--port", str(port)]
    return [plain, [*plain, "--path", "/health"], [f"http://127.0.0.1:{port}/health"]]


def answer_http(peer: socket.socket) -> None:
    request = b""
    while b"\r\n\r\n" not in request and (received := peer.recv(65536)):
        request += received
    peer.sendall(_HTTP_ANSWER)


def reply(text: bytes) -> Callable[[socket.socket], None]:
    """Return what answers each request by this text."""

    def send(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(text)

    return send


def greet(text: bytes) -> Callable[[socket.socket], None]:
    """Return what sends this text first and nothing more."""

    def send(peer: socket.socket) -> None:
        peer.sendall(text)
        peer.shutdown(socket.SHUT_WR)
        keep_silent(peer)

    return send


def keep_silent(peer: socket.socket) -> None:
    while peer.recv(65536):
        pass


def in_turn() -> Callable[[socket.socket], None]:
    """Return what answers two requests one after the other, when both are there."""
    first: list[socket.socket] = []

    def send(peer: socket.socket) -> None:
        if not first:
            first.append(peer.dup())
            return
        peers = (first.pop(), peer)
        for one in peers:
            one.recv(65536)
        for one in peers:
            time.sleep(_PAUSE)
            one.sendall(_HTTP_ANSWER)
            keep_silent(one)
            one.close()

    return send


def hang_up(peer: socket.socket) -> None:
    """Close after the first bytes."""
    peer.recv(65536)


def answer_grpc(peer: socket.socket) -> None:
    _answer_grpc(peer, _sending(_GRPC_SERVING), settings_first=True)


def answer_grpc_in_one_piece(peer: socket.socket) -> None:
    """Send nothing until the request is complete."""
    _answer_grpc(peer, _sending(_GRPC_SERVING), settings_first=False)


def answer_grpc_not_serving(peer: socket.socket) -> None:
    _answer_grpc(peer, _sending(_GRPC_NOT_SERVING), settings_first=True)


def answer_grpc_not_found(peer: socket.socket) -> None:
    _answer_grpc(peer, _send_not_found, settings_first=True)


def _answer_grpc(
    peer: socket.socket, send: Callable[[H2Connection, int], None], *, settings_first: bool
) -> None:
    connection = _grpc_connection()
    speaks = settings_first
    if speaks:
        peer.sendall(connection.data_to_send())
    while received := peer.recv(65536):
        for event in connection.receive_data(received):
            if isinstance(event, StreamEnded):
                speaks = True
                send(connection, event.stream_id)
        if speaks:
            peer.sendall(connection.data_to_send())


def answer_grpc_in_pieces(peer: socket.socket) -> None:
    """Send what grpcio and grpc-go send.

    Each piece comes when the client has acknowledged the one before, so it must wait each time.
    """
    connection = _grpc_connection()
    connection.clear_outbound_data_buffer()  # h2 would leave out the setting that it does not know
    connection.increment_flow_control_window(_GRPC_WINDOW)
    peer.sendall(_GRPC_SETTINGS + connection.data_to_send())
    stream = 0
    while received := peer.recv(65536):
        for event in connection.receive_data(received):
            if isinstance(event, StreamEnded):
                stream = event.stream_id
            elif isinstance(event, SettingsAcknowledged):
                connection.increment_flow_control_window(len(_GRPC_SERVING))
                connection.ping(bytes(8))
                accepted = ("grpc-accept-encoding", "identity, deflate, gzip")
                connection.send_headers(stream, (*_GRPC_HEAD, accepted))
                peer.sendall(connection.data_to_send())
            elif isinstance(event, PingAckReceived):
                connection.send_data(stream, _GRPC_SERVING)
                _send_status(connection, stream, "0", NeverIndexedHeaderTuple("grpc-message", ""))
                peer.sendall(connection.data_to_send())


def _grpc_connection() -> H2Connection:
    connection = H2Connection(H2Configuration(client_side=False))
    connection.initiate_connection()
    return connection


def _sending(message: bytes) -> Callable[[H2Connection, int], None]:
    """Return what responds with this message and the status OK."""

    def send(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, _GRPC_HEAD)
        connection.send_data(stream, message)
        _send_status(connection, stream, "0")

    return send


def _send_not_found(connection: H2Connection, stream: int) -> None:
    _send_status(connection, stream, "5", ("grpc-message", "unknown service"), head=_GRPC_HEAD)


def _send_status(
    connection: H2Connection, stream: int, code: str, *more: _Field, head: tuple[_Field, ...] = ()
) -> None:
    connection.send_headers(stream, [*head, ("grpc-status", code), *more], end_stream=True)


def serve(listener: socket.socket, answer: Callable[[socket.socket], None]) -> NoReturn:
    while True:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            answer(peer)


@contextlib.contextmanager
def slow_server(answer: Callable[[socket.socket], None] | None) -> Iterator[int]:
    """Let a client wait a second for its connection, which is refused if there is no `answer`.

    The kernel drops the client's first packet, because the queue of connections is full.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        process = os.fork()
        if process == 0:
            connecting = f":{port:04X} 02 "
            while connecting not in Path("/proc/net/tcp").read_text():
                time.sleep(0.01)
            if answer is not None:
                serve(listener, answer)
            os._exit(0)
    try:
        yield port
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


@contextlib.contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve from another process, whose objects do not get into the heap; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = os.fork()
        if process == 0:
            serve(listener, answer)
        port = listener.getsockname()[1]
    try:
        yield port
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)

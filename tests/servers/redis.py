"""Throw-away Redis servers in any state that one can be brought into."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.servers.daemons import Daemon, data_directory, free_port, program


class Redis(Daemon):
    """One Redis server: on a free port, on a Unix socket, and with a certificate on a TLS port."""

    def __init__(
        self, directory: Path, settings: Sequence[str], certificate: trustme.LeafCert | None
    ) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self.socket = directory / "socket"
        self._cli = program("redis-cli")
        tls: list[str] = []
        if certificate is not None:
            pem = directory / "certificate.pem"
            pem.touch(mode=0o644)  # of a throw-away authority, and read by another user
            certificate.private_key_and_cert_chain_pem.write_to_path(pem)
            tls = [
                f"--tls-port {self.tls_port}",
                f"--tls-cert-file {pem}",
                f"--tls-key-file {pem}",
                f"--tls-ca-cert-file {pem}",
                "--tls-auth-clients no",
            ]
        super().__init__(
            [
                program("redis-server"),
                f"--port {self.port}",
                "--bind 127.0.0.1",
                f"--unixsocket {self.socket}",
                "--unixsocketperm 777",
                f"--dir {directory}",
                "--enable-debug-command yes",
                *settings,
                *tls,
            ],
            directory,
        )

    def start(self) -> None:
        super().start()
        self.await_port(self.port)
        self.connect().close()  # it listens before it has looked for its data

    def connect(self) -> socket.socket:
        """Return a connection that has got a reply, so it is one of the server's clients."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        connection.sendall(b"PING\r\n")
        connection.recv(64)
        return connection

    def execute(self, *words: str) -> str:
        """Run a command; return the reply, errors included."""
        command = self._command_line(*words)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @contextmanager
    def in_background(self, *words: str) -> Iterator[None]:
        """Run a command that another client ends."""
        with subprocess.Popen(self._command_line(*words), stdout=subprocess.DEVNULL) as client:
            try:
                yield
                client.wait(timeout=10)
            finally:
                client.kill()

    def _command_line(self, *words: str) -> list[str]:
        return [self._cli, "-p", str(self.port), "--no-auth-warning", *words]


@contextmanager
def running_redis(*settings: str, certificate: trustme.LeafCert | None = None) -> Iterator[Redis]:
    """Start a server with more settings (`--name value`); it takes its data along when it ends."""
    program("redis-server")
    with data_directory("redis") as directory:
        server = Redis(directory, settings, certificate)
        try:
            server.start()
            yield server
        finally:
            server.stop()

"""A throw-away MariaDB server that tests may fill, block, stop and freeze."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import trustme

from tests.servers.daemons import Daemon, as_owner_of, data_directory, free_port, program
from tests.support import poll

MAX_CONNECTIONS = 10  # the least that it takes
MAX_CONNECT_ERRORS = 5

_ERROR = b"\xff"  # the first byte of an error packet


class MariaDb:
    """One MariaDB server, on all addresses and on a Unix socket."""

    def __init__(
        self,
        directory: Path,
        certificate: trustme.LeafCert | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.socket = directory / "socket"
        data = directory / "data"
        self._admin = [program("mariadb-admin"), "--no-defaults"]
        self._client = [program("mariadb"), "--no-defaults", f"--socket={self.socket}", "-uroot"]
        install = [program("mariadb-install-db"), "--no-defaults", f"--datadir={data}"]
        install += ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(
            install, **as_owner_of(directory), cwd=directory, check=True, capture_output=True
        )
        tls: list[str] = []
        if certificate is not None:
            pem = directory / "certificate.pem"
            certificate.private_key_and_cert_chain_pem.write_to_path(pem)
            pem.chmod(0o644)  # of a throw-away authority, and read by another user
            tls = [f"--ssl-cert={pem}", f"--ssl-key={pem}"]
        self._daemon = Daemon(
            [
                program("mariadbd", folder="/usr/sbin:/usr/bin:/usr/local/sbin"),
                "--no-defaults",
                f"--datadir={data}",
                f"--socket={self.socket}",
                f"--port={self.port}",
                "--bind-address=0.0.0.0",
                f"--pid-file={directory / 'pid'}",
                f"--max-connections={MAX_CONNECTIONS}",
                f"--max-connect-errors={MAX_CONNECT_ERRORS}",
                "--innodb-buffer-pool-size=8M",
                "--innodb-flush-log-at-trx-commit=0",
                *tls,
                *options,
            ],
            directory,
        )

    def start(self) -> None:
        self._daemon.start()
        poll(self._accepts, timeout=60, what="MariaDB accepts connections")

    def stop(self) -> None:
        self._daemon.stop()

    def pause(self) -> None:
        self._daemon.pause()

    def resume(self) -> None:
        self._daemon.resume()

    def execute(self, statement: str) -> str:
        """Run a statement as administrator; return the reply."""
        command = [*self._client, "-e", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def replicate(self, primary: MariaDb) -> None:
        """Replicate another server, which writes a binary log; return when that runs."""
        primary.execute("CREATE USER replication@'%' IDENTIFIED BY 'r3plicate'")
        primary.execute("GRANT REPLICATION SLAVE ON *.* TO replication@'%'")
        self.execute(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={primary.port},"
            " MASTER_USER='replication', MASTER_PASSWORD='r3plicate'; START SLAVE"
        )
        poll(self.replicates, timeout=30, what="the replication runs")

    def replicates(self) -> bool:
        """Return whether both threads of the replication run."""
        status = self.execute("SHOW SLAVE STATUS\\G")
        return all(f"Slave_{thread}_Running: Yes" in status for thread in ("IO", "SQL"))

    def ping(self, *where: str, timeout: int = 10) -> bool:
        """Return the verdict of `mysqladmin ping`."""
        command = [*self._admin, f"--connect-timeout={timeout}", *where, "ping"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    @contextmanager
    def all_connections_taken(self) -> Iterator[None]:
        """Hold every connection, also the one that is reserved for administrators."""
        with ExitStack() as stack:
            held = 0

            def take_all() -> bool:  # others that have ended may still count
                nonlocal held
                connection = stack.enter_context(self._connect("127.0.0.1"))
                held += connection.recv(65536)[4:5] != _ERROR
                return held == MAX_CONNECTIONS + 1

            poll(take_all, timeout=10, what="every connection taken")
            yield
        poll(self._is_left_alone, timeout=10, what="the connections have ended")

    def _is_left_alone(self) -> bool:
        with suppress(subprocess.CalledProcessError):
            status = self.execute("SHOW STATUS LIKE 'Threads_connected'")
            return status.split()[-1] == "1"  # which is this one
        return False

    def block(self, address: str) -> None:
        """Connect and go without a word, as others check a port, until that is refused."""

        def is_refused() -> bool:
            with self._connect(address) as connection:
                return connection.recv(65536)[4:5] == _ERROR

        poll(is_refused, timeout=10, what="the server blocks the host")

    def _connect(self, address: str) -> socket.socket:
        return socket.create_connection((address, self.port), timeout=10)

    def _accepts(self) -> bool:
        if not self._daemon.listens(self.port):
            return False
        with suppress(subprocess.CalledProcessError):
            self.execute("SELECT 1")
            return True
        return False


@contextmanager
def running_mariadb(
    certificate: trustme.LeafCert | None = None, options: Sequence[str] = ()
) -> Iterator[MariaDb]:
    """Make and start a server; afterwards neither a process nor a file of it is left."""
    program("mariadb-install-db")
    with data_directory("mysql") as directory:
        server = MariaDb(directory, certificate, options)
        try:
            server.start()
            yield server
        finally:
            server.stop()

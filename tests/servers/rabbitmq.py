"""A throw-away RabbitMQ node. It takes a quarter of a minute to start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.servers.daemons import Daemon, as_owner_of, data_directory, free_port, program

_PROGRAMS = "/usr/lib/rabbitmq/bin"


class RabbitMq(Daemon):
    """One node, with a port for AMQP and one for AMQP over TLS; it has an epmd of its own."""

    def __init__(self, directory: Path, certificate: trustme.LeafCert) -> None:
        self.port = free_port()
        self.tls_port = free_port()
        self._epmd = program("epmd")
        self._control = program("rabbitmqctl", folder=_PROGRAMS)
        pem = directory / "certificate.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(pem)
        pem.chmod(0o644)  # of a throw-away authority, and read by another user
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.default = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.certfile = {pem}\nssl_options.keyfile = {pem}\n"
            "disk_free_limit.absolute = 1MB\n"
        )
        (directory / "enabled_plugins").write_text("[].\n")
        super().__init__(
            [program("rabbitmq-server", folder=_PROGRAMS)],
            directory,
            env={
                "HOME": str(directory),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "ERL_EPMD_PORT": str(free_port()),
                "RABBITMQ_NODENAME": "tested@localhost",
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
                "RABBITMQ_MNESIA_BASE": str(directory / "data"),
                "RABBITMQ_LOG_BASE": str(directory / "logs"),
                "RABBITMQ_LOGS": "-",
            },
        )

    def control(self, *words: str) -> str:
        """Run `rabbitmqctl`."""
        return self._run(self._control, *words)

    def stop(self) -> None:
        if self.is_started:
            super().stop()
            self._run(self._epmd, "-kill")  # the node has started it, and leaves it behind

    def _run(self, *command: str) -> str:
        return subprocess.run(
            command,
            **as_owner_of(self.directory),
            cwd=self.directory,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout


@contextmanager
def starting_rabbitmq(certificate: trustme.LeafCert) -> Iterator[RabbitMq]:
    """Begin to start a node; afterwards neither a process nor a file of it is left."""
    program("rabbitmq-server", folder=_PROGRAMS)
    with data_directory("rabbitmq") as directory:
        node = RabbitMq(directory, certificate)
        node.start()
        try:
            yield node
        finally:
            node.stop()

"""Call GetAccount again and again over several replicas, and only over those that are healthy.

The calls go round robin. Beside them gRPC itself follows the health service of every replica
(`healthCheckConfig`), leaves out those that are not serving and takes them back when they are.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
from typing import NoReturn

import grpc

from accountservice.config import PORT_MAX
from accountservice.grpc_server import SERVICE
from accountservice.proto import account_pb2, account_pb2_grpc

CALL_TIMEOUT = 2.0
"""Seconds that one call may take."""

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},
}


# gRPC's message for a replica whose health service does not return SERVING.
_UNHEALTHY = "backend unhealthy"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n")


def open_channel(addresses: list[tuple[str, int]]) -> grpc.Channel:
    """Open one channel over all these IP addresses."""
    scheme = "ipv6" if ":" in addresses[0][0] else "ipv4"
    names = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
    return grpc.insecure_channel(
        f"{scheme}:{','.join(names)}",
        options=[
            ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
            ("grpc.max_reconnect_backoff_ms", 5000),  # not minutes, for a replica that comes back
        ],
    )


def resolve(text: str) -> tuple[str, int]:
    """Turn HOST:PORT into an IP address and a port. Raises argparse.ArgumentTypeError."""
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        number = int(port)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be resolved as HOST:PORT") from error
    if not 0 < number <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r}: a port is a number from 1 to {PORT_MAX}")
    return str(found[0][4][0]), number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < threading.TIMEOUT_MAX:
        raise ValueError
    return seconds


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _describe(error: grpc.RpcError) -> str:
    line = f"{error.code().name}: {error.details()}"
    return f"{line} (health check of {SERVICE})" if _UNHEALTHY in line else line


_STOPS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Call until SIGTERM or SIGINT; print one line for each call."""
    parser = _Parser(prog="python -m accountservice.client", description=__doc__)
    parser.add_argument(
        "--address", action="append", required=True, type=resolve, metavar="HOST:PORT"
    )
    parser.add_argument("--account", default="10000", metavar="ID")
    parser.add_argument("--interval", default=2.0, type=_seconds, metavar="SECONDS")
    options = parser.parse_args(arguments)
    if len({":" in host for host, _ in options.address}) > 1:
        parser.error("--address: do not mix IPv4 and IPv6")

    # Waited for, not handled: a handler may run one wait late (see docs/library.md).
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    with open_channel(options.address) as channel:
        accounts = account_pb2_grpc.AccountServiceStub(channel)  # type: ignore[no-untyped-call]
        request = account_pb2.GetAccountRequest(account_id=options.account)
        while True:
            try:
                account = accounts.GetAccount(request, timeout=CALL_TIMEOUT)
                _print(f"{account.id} {account.name} from {account.served_by}")
            except grpc.RpcError as error:
                _print(_describe(error))
            if signal.sigtimedwait(_STOPS, options.interval) is not None:
                return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

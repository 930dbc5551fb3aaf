"""Connections, where the kernel has surprises."""

from __future__ import annotations

import shutil

import pytest

from healthchecker._net.connect import open_tcp
from healthchecker._net.datagram import Request, exchange
from healthchecker._net.deadline import Deadline
from healthchecker._values.result import ProbeFailure
from tests.support import require
from tests.support.forms import Form, run

_ONE_PORT = """
ip link set lo up && echo '40000 40000' > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_a_connection_to_itself_is_none(form: Form, host: str) -> None:
    """The kernel has one port for clients here: that of the target."""
    unshare = shutil.which("unshare")
    require(unshare, "unshare is not installed")
    prefix = [str(unshare), "--net", "/bin/sh", "-c", _ONE_PORT, "sh"]
    outcome = run(form, [f"tcp://{host}:40000", "--output=json"], prefix=prefix)
    require("Operation not permitted" not in outcome.stderr, "no network namespace can be made")
    assert outcome.code == 1
    assert outcome.check["reason"] == "connection_refused"
    assert "40000: Connection refused" in outcome.check["detail"]


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_the_failure_does_not_depend_on_the_order_of_the_addresses(addresses: list[str]) -> None:
    """Name servers rotate it; Kubernetes counts up an Event only if the message is the same."""
    message = "127.0.0.1:1: Connection refused"
    with pytest.raises(ProbeFailure, match=message):
        open_tcp(addresses, 1, Deadline(20.0))
    with pytest.raises(ProbeFailure, match=message):
        exchange(addresses, 1, Request(b"x", lambda reply, _: reply), Deadline(20.0))

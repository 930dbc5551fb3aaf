"""Where a check connects to: literals, localhost, and names with few, many and silent addresses."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from healthchecker._net import connect
from healthchecker._net.deadline import Deadline
from healthchecker._values.result import ProbeFailure, Reason
from tests.servers import dns as dns_server
from tests.servers.daemons import free_port
from tests.servers.dns import DnsServer, Reply
from tests.servers.peers import Peer, respond, silent_addresses
from tests.support import open_files, require
from tests.support.forms import Form, Outcome, run, undisturbed
from tests.tables.hostile_http import HEALTHY

GRACE = 0.15
NAME_SERVER = "127.0.53.53"
MANY = tuple(f"127.0.1.{n}" for n in range(1, 41))

# Both files are replaced for the program alone, in a mount namespace of its own.
_OWN_FILES = """
mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"
"""

Ask = Callable[..., Outcome]


def can_bind(address: str, port: int = 0) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server would
        try:
            sock.bind((address, port))
        except OSError:
            return False
    return True


@pytest.fixture(autouse=True)
def ipv6() -> None:
    require(can_bind("::1"), "there is no IPv6 loopback address")


@pytest.fixture
def ask(form: Form, tmp_path: Path) -> Ask:
    """Return a function that runs the program with other names than those of this machine."""
    unshare = shutil.which("unshare")
    require(
        unshare and subprocess.run([unshare, "-m", "true"], check=False).returncode == 0,
        "no mount namespace can be made: needs unshare and root",
    )
    require(can_bind(NAME_SERVER, 53), f"{NAME_SERVER}:53 cannot be bound")

    def ask(
        *args: str,
        hosts: Mapping[str, Sequence[str]] | None = None,
        zone: Mapping[str, Reply] | None = None,
        timeout: float = 2.0,
    ) -> Outcome:
        lines = [f"{one} {name}" for name, many in (hosts or {}).items() for one in many]
        (tmp_path / "hosts").write_text("\n".join(lines))
        (tmp_path / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
        files = [str(tmp_path / "hosts"), str(tmp_path / "resolv.conf")]
        prefix = [str(unshare), "-m", "/bin/sh", "-c", _OWN_FILES, "sh", *files]
        with ExitStack() as stack:
            if zone is not None:
                stack.enter_context(DnsServer(zone, host=NAME_SERVER, port=53))
            command = ["--output=json", f"--timeout={timeout}", *args]
            outcome = undisturbed(lambda: run(form, command, prefix=prefix))
        seconds = outcome.seconds if form.starts_at_once else outcome.check["elapsed_ms"] / 1000
        assert seconds <= timeout + GRACE
        assert outcome.max_rss_kib <= form.max_rss_kib
        assert outcome.code == (0 if outcome.check["healthy"] else 1)
        return outcome

    return ask


@pytest.mark.parametrize(
    ("listens", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "[::1]"),
        ("::1", "[0:0:0:0:0:0:0:1]"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
        ("::1", "LOCALHOST."),
        ("127.0.0.1", "service.localhost"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "tcp"])
def test_loopback(form: Form, scheme: str, listens: str, host: str) -> None:
    with Peer(respond(HEALTHY), host=listens) as peer:
        outcome = run(form, ["--loopback-only", f"{scheme}://{host}:{peer.port}"])
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize("host", ["::1", "[::1]", "localhost"])
def test_host_option(form: Form, host: str) -> None:
    with Peer(respond(HEALTHY), host="::1") as peer:
        assert run(form, ["--host", host, "--port", str(peer.port)]).code == 0


def test_localhost_is_ipv6_first(form: Form) -> None:
    port = free_port()
    with (
        Peer(respond(HEALTHY), host="::1", port=port) as first,
        Peer(respond(HEALTHY), port=port) as second,
    ):
        assert run(form, [f"http://localhost:{port}/"]).code == 0
    assert (len(first.connected_at), len(second.connected_at)) == (1, 0)


@pytest.mark.timing
def test_localhost_where_ipv6_is_silent(form: Form) -> None:
    with silent_addresses(["::1"], free_port()) as port, Peer(respond(HEALTHY), port=port):
        outcome = run(form, ["--output=json", f"http://localhost:{port}/"])
    assert outcome.check["reason"] == "ok"
    assert 250 <= outcome.check["elapsed_ms"] < 400  # one Connection Attempt Delay of RFC 8305


@pytest.mark.timing
def test_silence_while_connecting(form: Form) -> None:
    with silent_addresses(["127.0.0.1"]) as port:
        outcome = run(form, ["--output=json", "--timeout=200ms", f"http://127.0.0.1:{port}/"])
    assert outcome.check["reason"] == "timeout"
    assert outcome.check["detail"].endswith(" ms (connect)")
    assert outcome.check["elapsed_ms"] <= 350


@pytest.mark.parametrize(
    "form_of_limit", ["--timeout=10s --connect-timeout=200ms", "--timeout=0.2"]
)
@pytest.mark.timing
def test_a_limit_on_connecting(form: Form, form_of_limit: str) -> None:
    with silent_addresses(["127.0.0.1"]) as port:
        args = ["--output=json", *form_of_limit.split(), f"tcp://127.0.0.1:{port}"]
        outcome = run(form, args)
    assert outcome.check["reason"] == "timeout"
    assert outcome.check["elapsed_ms"] <= 350


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["{good}"], "ok"),
        (["127.0.0.9", "127.0.0.8", "{good}"], "ok"),
        (["::1", "{good}"], "ok"),
        (["127.0.0.9", "127.0.0.8"], "connection_refused"),
        ([*MANY, "{good}"], "ok"),
    ],
)
@pytest.mark.timing
def test_a_name_in_the_hosts_file(ask: Ask, addresses: list[str], reason: str) -> None:
    with Peer(respond(HEALTHY), host="127.0.0.5") as peer:
        hosts = {"db.example": [one.format(good=peer.host) for one in addresses]}
        outcome = ask(f"http://db.example:{peer.port}/", hosts=hosts)
    assert outcome.check["reason"] == reason


@pytest.mark.timing
def test_many_silent_addresses_before_a_good_one(ask: Ask) -> None:
    with (
        silent_addresses(MANY) as port,
        Peer(respond(HEALTHY), host="127.0.0.5", port=port) as peer,
    ):
        hosts = {"db.example": [*MANY, peer.host]}
        outcome = ask(f"http://db.example:{port}/", hosts=hosts)
    assert outcome.check["reason"] == "ok"


@pytest.mark.parametrize("timeout", [0.2, 0.5])
@pytest.mark.timing
def test_silent_addresses_only(ask: Ask, timeout: float) -> None:
    with silent_addresses([*MANY, "::1"]) as port:
        hosts = {"db.example": [*MANY, "::1"]}
        outcome = ask(f"http://db.example:{port}/", hosts=hosts, timeout=timeout)
    assert outcome.check["reason"] == "timeout"
    assert outcome.check["detail"].endswith(" ms (connect)")


GOOD = dns_server.addresses("127.0.0.5")
SERVFAIL = 2


@pytest.mark.parametrize(
    ("reply", "reason", "words"),
    [
        (GOOD, "ok", ""),
        (dns_server.addresses("::1", "127.0.0.5"), "ok", ""),
        (dns_server.addresses("::1"), "connection_refused", "connect: "),
        (dns_server.addresses(*MANY, "127.0.0.5"), "ok", ""),
        (dns_server.after(0.1, GOOD), "ok", ""),
        (dns_server.after_noise("127.0.0.5"), "ok", ""),
        (dns_server.truncated(GOOD), "ok", ""),
        (dns_server.error(SERVFAIL, [dns_server.AAAA], ["127.0.0.5"]), "ok", ""),
        (dns_server.silent_about(dns_server.AAAA, "127.0.0.5"), "ok", ""),
        (dns_server.error(3), "dns_failure", "lookup: db.example: name not found"),
        (dns_server.error(SERVFAIL), "dns_failure", "lookup: "),
        (dns_server.addresses(), "dns_failure", "name not found"),
    ],
)
@pytest.mark.timing
def test_a_name_in_the_dns(ask: Ask, reply: Reply, reason: str, words: str) -> None:
    with Peer(respond(HEALTHY), host="127.0.0.5") as peer:
        outcome = ask(f"http://db.example:{peer.port}/", zone={"db.example": reply})
    assert outcome.check["reason"] == reason
    assert words in outcome.check["detail"]


@pytest.mark.parametrize(
    "reply",
    [
        dns_server.silent,
        dns_server.noise,
        dns_server.truncated(dns_server.silent),
        dns_server.after(0.5, GOOD),
    ],
)
@pytest.mark.timing
def test_name_servers_that_are_too_slow(ask: Ask, reply: Reply) -> None:
    outcome = ask("http://db.example:1/", zone={"db.example": reply}, timeout=0.2)
    assert outcome.check["reason"] == "timeout"
    assert outcome.check["detail"].endswith(" ms (lookup)")


@pytest.mark.timing
def test_no_name_server(ask: Ask) -> None:
    outcome = ask("http://db.example:1/")
    assert outcome.check["reason"] == "dns_failure"
    assert outcome.check["elapsed_ms"] < 500


@pytest.mark.parametrize("found", [["10.0.0.1"], ["127.0.0.5", "10.0.0.1"], ["::1", "::"]])
@pytest.mark.timing
def test_loopback_only_refuses_a_name(ask: Ask, found: list[str]) -> None:
    with Peer(respond(HEALTHY), host="127.0.0.5") as peer:
        target = f"http://db.example:{peer.port}/"
        outcome = ask("--loopback-only", target, hosts={"db.example": found})
    assert outcome.check["reason"] == "not_loopback"
    assert found[-1] in outcome.check["detail"]
    assert peer.connected_at == []


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "0.0.0.0", "[::]", "[::ffff:10.0.0.1]", "[fe80::1%lo]"]
)
@pytest.mark.parametrize("scheme", ["http", "https", "tcp", "grpc"])
def test_loopback_only_refuses_an_address(form: Form, scheme: str, host: str) -> None:
    outcome = run(form, ["--output=json", "--loopback-only", f"{scheme}://{host}:1"])
    assert outcome.check["reason"] == "not_loopback"


def test_every_attempt_is_closed() -> None:
    with silent_addresses(MANY) as port:
        before = open_files()
        with pytest.raises(ProbeFailure) as caught:
            connect.open_tcp(MANY, port, Deadline(0.1))
        assert open_files() <= before
    assert caught.value.reason is Reason.TIMEOUT

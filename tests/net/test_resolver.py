"""The stub resolver, with name servers of every kind."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from healthchecker._net import resolver
from healthchecker._net.deadline import Deadline
from healthchecker._net.resolver import ResolverConfig, ResolverSources, parse_resolv_conf, resolve
from healthchecker._values.result import ProbeFailure, Reason
from tests.servers.dns import (
    AAAA,
    A,
    DnsServer,
    Reply,
    addresses,
    after,
    after_noise,
    at_the_second_time,
    cut_off,
    error,
    in_turn,
    noise,
    silent,
    silent_about,
    truncated,
)
from tests.servers.hanging import hanging_file_system
from tests.support import LOADED, ROOT, open_files, poll, require

SERVFAIL = 2
NXDOMAIN = 3
NOTIMP = 4
REFUSED = 5
MANY = tuple(f"127.0.1.{n}" for n in range(200))

Resolve = Callable[..., list[str]]
Sources = Callable[..., ResolverSources]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Return a function that writes the files that the resolver reads."""

    def make(
        hosts: str | bytes | None = None, resolv_conf: str | None = None, port: int = 53
    ) -> ResolverSources:
        made = ResolverSources(tmp_path / "hosts", tmp_path / "resolv.conf", port)
        if hosts is not None:
            made.hosts.write_bytes(hosts if isinstance(hosts, bytes) else hosts.encode())
        if resolv_conf is not None:
            made.resolv_conf.write_text(resolv_conf)
        return made

    return make


@pytest.fixture
def look_up(sources: Sources) -> Resolve:
    """Return a function that resolves a name with a name server that has the given zone."""

    def look_up(
        name: str,
        zone: Mapping[str, Reply],
        *,
        config: str = "nameserver 127.0.0.1",
        timeout: float = 4.0,  # a quarter of it is for the other family
        tcp: bool = True,
    ) -> list[str]:
        with DnsServer(zone, tcp=tcp) as server:
            return resolve(name, Deadline(timeout), sources(resolv_conf=config, port=server.port))

    return look_up


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("fe80::1%lo", ["fe80::1%lo"]),
        ("localhost", ["::1", "127.0.0.1"]),
        ("LocalHost.", ["::1", "127.0.0.1"]),
        ("api.localhost", ["::1", "127.0.0.1"]),
    ],
)
def test_known_without_a_lookup(host: str, expected: list[str], sources: Sources) -> None:
    assert resolve(host, Deadline(1.0), sources()) == expected  # there are no files at all


HOSTS = """\
# 192.0.2.9 commented
192.0.2.1   one.example one  # first.example
192.0.2.2\ttwo.example TWO.alias
2001:db8::1 one.example
192.0.2.1 one.example
nonsense one.example
192.0.2.300 one.example

192.0.2.4
"""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("one.example", ["192.0.2.1", "2001:db8::1"]),
        ("ONE.example.", ["192.0.2.1", "2001:db8::1"]),
        ("one", ["192.0.2.1"]),
        ("two.alias", ["192.0.2.2"]),
    ],
)
@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\0\n", b"x" * 5000 + b"\n"])
def test_hosts_file(host: str, expected: list[str], junk: bytes, sources: Sources) -> None:
    found = resolve(host, Deadline(1.0), sources(hosts=junk + HOSTS.encode()))
    assert found == expected


@pytest.mark.parametrize("host", ["commented", "first.example", "192.0.2.4.example"])
def test_names_that_the_hosts_file_lacks(host: str, sources: Sources, look_up: Resolve) -> None:
    sources(hosts=HOSTS)
    with pytest.raises(ProbeFailure, match="name not found"):
        look_up(host, {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ResolverConfig()),
        ("nameserver 192.0.2.1\nnameserver ::1", ResolverConfig(("192.0.2.1", "::1"))),
        ("nameserver", ResolverConfig()),
        ("nameserver dns.example", ResolverConfig()),
        ("#nameserver 192.0.2.1\n;nameserver 192.0.2.1", ResolverConfig()),
        ("nameserver 1.1.1.1 # main", ResolverConfig(("1.1.1.1",))),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(5)),
            ResolverConfig(("192.0.2.0", "192.0.2.1", "192.0.2.2")),
        ),
        ("search a.example b.example.", ResolverConfig(search=("a.example", "b.example"))),
        ("domain a.example\nsearch b.example", ResolverConfig(search=("b.example",))),
        ("search .", ResolverConfig()),
        ("options ndots:5 timeout:1 attempts:3", ResolverConfig((), (), 5, 1.0, 3)),
        ("options ndots:99 rotate edns0", ResolverConfig(ndots=30)),
        ("options ndots:x timeout: attempts:-1 ndots", ResolverConfig()),
        ("options timeout:0 attempts:0", ResolverConfig(timeout=1.0, attempts=1)),
        ("\0\nnonsense\n", ResolverConfig()),
    ],
)
def test_resolv_conf(text: str, expected: ResolverConfig) -> None:
    found = parse_resolv_conf(text)
    assert found.nameservers == (expected.nameservers or ("127.0.0.1",))
    assert (found.search, found.ndots) == (expected.search, expected.ndots)
    assert (found.timeout, found.attempts) == (expected.timeout, expected.attempts)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (addresses("192.0.2.1", "2001:db8::1"), ["2001:db8::1", "192.0.2.1"]),
        (addresses("192.0.2.1", "2001:db8::1", alias=True), ["2001:db8::1", "192.0.2.1"]),
        (addresses("192.0.2.1", "192.0.2.2"), ["192.0.2.1", "192.0.2.2"]),
        (addresses("2001:db8::1"), ["2001:db8::1"]),
        (addresses(*MANY), list(MANY)),
        (error(NXDOMAIN, [AAAA], ["192.0.2.1"]), ["192.0.2.1"]),
        (error(SERVFAIL, [AAAA], ["192.0.2.1"]), ["192.0.2.1"]),
        (error(NOTIMP, [AAAA], ["192.0.2.1"]), ["192.0.2.1"]),
        (error(SERVFAIL, [A], ["2001:db8::1"]), ["2001:db8::1"]),
        (silent_about(AAAA, "192.0.2.1"), ["192.0.2.1"]),
        (silent_about(A, "2001:db8::1"), ["2001:db8::1"]),
        (after(0.1, addresses("192.0.2.1", "2001:db8::1")), None),
        (after_noise("192.0.2.1"), ["192.0.2.1"]),
        (truncated(addresses(*MANY, "::1")), ["::1", *MANY]),
        (truncated(after(0.1, addresses("::1", "127.0.0.1"))), ["::1", "127.0.0.1"]),
    ],
)
def test_answers(reply: Reply, expected: list[str] | None, look_up: Resolve) -> None:
    found = look_up("db.example", {"db.example": reply})
    assert found == expected or (expected is None and found)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (error(NXDOMAIN), "db.example: name not found"),
        (addresses(), "db.example: name not found"),
        (error(SERVFAIL), "name server returned SERVFAIL"),
        (error(REFUSED), "name server returned REFUSED"),
        (error(NXDOMAIN, [A]), "name not found"),
        (error(9), "name server returned error 9"),
        (truncated(error(SERVFAIL)), "name server returned SERVFAIL"),
        (truncated(cut_off), "could not fetch the truncated response over TCP"),
        (truncated(noise), "could not fetch the truncated response over TCP"),
    ],
)
def test_failures(reply: Reply, message: str, look_up: Resolve) -> None:
    with pytest.raises(ProbeFailure, match=message) as caught:
        look_up("db.example", {"db.example": reply})
    assert caught.value.reason is Reason.DNS_FAILURE


@pytest.mark.parametrize("reply", [silent, noise, cut_off, truncated(silent)])
@pytest.mark.timing
def test_name_servers_that_never_answer(reply: Reply, look_up: Resolve) -> None:
    start = time.monotonic()
    with pytest.raises(ProbeFailure) as caught:
        look_up("db.example", {"db.example": reply}, timeout=0.2)
    assert caught.value.reason is Reason.TIMEOUT
    assert 0.2 <= time.monotonic() - start < 0.2 + 0.15 * LOADED


@pytest.mark.timing
def test_gives_up_before_the_deadline_as_configured(look_up: Resolve) -> None:
    config = "nameserver 127.0.0.1\noptions timeout:1 attempts:1"
    start = time.monotonic()
    with pytest.raises(ProbeFailure, match="no name server responded") as caught:
        look_up("db.example", {"db.example": silent}, timeout=10, config=config)
    assert caught.value.reason is Reason.DNS_FAILURE
    assert 1.0 <= time.monotonic() - start < 1.0 + 0.5 * LOADED


def test_lost_packets_are_sent_again(look_up: Resolve) -> None:
    zone = {"db.example": at_the_second_time(addresses("192.0.2.1", "::1"))}
    assert look_up("db.example", zone, timeout=6) == ["::1", "192.0.2.1"]


@pytest.mark.parametrize("rcode", [SERVFAIL, NOTIMP, REFUSED])
@pytest.mark.parametrize("over_tcp", [False, True])
def test_an_error_is_asked_about_again(
    rcode: int, over_tcp: bool, look_up: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "_RESEND_AFTER", 60.0)  # immediately, not as after a loss
    reply = in_turn(error(rcode), addresses("192.0.2.1", "::1"))
    found = look_up("db.example", {"db.example": truncated(reply) if over_tcp else reply})
    assert found == ["::1", "192.0.2.1"]


@pytest.mark.parametrize(
    ("options", "count"), [("", 2), ("options attempts:3", 3), ("options attempts:1", 1)]
)
def test_errors_are_asked_about_as_often_as_resolv_conf_says(
    options: str, count: int, sources: Sources
) -> None:
    with DnsServer({"db.example": error(SERVFAIL)}) as server:
        made = sources(resolv_conf=f"nameserver 127.0.0.1\n{options}", port=server.port)
        with pytest.raises(ProbeFailure, match="SERVFAIL"):
            resolve("db.example", Deadline(10.0), made)
    assert len(server.requested_at) == 2 * count


# In a network namespace, so that the address does not stay with the machine's own interface.
_LINK_LOCAL = """
ip link set lo up && ip address add fe80::53/64 dev lo nodad && exec "$@"
"""
_ASK_LINK_LOCAL = """
import sys
from pathlib import Path
from healthchecker._net.deadline import Deadline
from healthchecker._net.resolver import ResolverSources, resolve
from tests.servers.dns import DnsServer, addresses

Path(sys.argv[1]).write_text(f"nameserver fe80::53%{sys.argv[2]}\\noptions attempts:5")
with DnsServer({"db.example": addresses("192.0.2.1")}, host="fe80::53%lo") as server:
    sources = ResolverSources(Path("/nonexistent"), Path(sys.argv[1]), server.port)
    print(*resolve("db.example", Deadline(60.0), sources))  # the machine may be busy
"""


@pytest.mark.parametrize("zone", ["lo", "1"])
def test_a_name_server_with_a_zone(zone: str, tmp_path: Path) -> None:
    command = ["unshare", "--net", "/bin/sh", "-c", _LINK_LOCAL, "sh"]
    possible = subprocess.run([*command, "true"], check=False, capture_output=True)
    require(possible.returncode == 0, "no network namespace can be made: needs unshare and root")
    done = subprocess.run(
        [*command, sys.executable, "-c", _ASK_LINK_LOCAL, str(tmp_path / "resolv.conf"), zone],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.stdout, done.stderr) == ("192.0.2.1\n", "")


def test_a_name_server_with_a_zone_that_does_not_exist(sources: Sources) -> None:
    made = sources(resolv_conf="nameserver fe80::53%nowhere")
    with pytest.raises(ProbeFailure, match="unreachable: no such network interface: nowhere"):
        resolve("db.example", Deadline(10.0), made)


def test_a_long_hosts_file(sources: Sources) -> None:
    others = b"".join(b"192.0.2.9 host%d.example\n" % n for n in range(60_000))
    end = b"192.0.2.1 db.example"
    assert len(others) > 1 << 20
    for content in (others + end, others + b"#" * 200_000 + b"\n" + end + b"\n" + others):
        assert resolve("db.example", Deadline(10.0), sources(hosts=content)) == ["192.0.2.1"]


@pytest.mark.parametrize("character", "\f\v\x1c\r\x85\u2028")
def test_only_a_line_feed_ends_a_line(character: str, sources: Sources) -> None:
    hosts = f"192.0.2.1 a.example # old:{character}192.0.2.9 db.example\n127.0.0.2 db.example\n"
    assert resolve("db.example", Deadline(1.0), sources(hosts=hosts)) == ["127.0.0.2"]
    config = parse_resolv_conf(f"# old:{character}nameserver 192.0.2.9\n")
    assert config == ResolverConfig()


@pytest.mark.parametrize("name", ["hosts", "resolv_conf"])
def test_a_file_that_hangs(name: str, tmp_path: Path, sources: Sources) -> None:
    threads = set(threading.enumerate())
    mount = tmp_path / "mount"
    mount.mkdir()
    with hanging_file_system(mount):
        made = sources()
        made = replace(made, hosts=mount / "file") if name == "hosts" else made
        made = replace(made, resolv_conf=mount / "file") if name == "resolv_conf" else made
        start = time.monotonic()
        for _ in range(3):
            with pytest.raises(ProbeFailure) as caught:
                resolve("db.example", Deadline(0.1), made)
            assert caught.value.reason is Reason.TIMEOUT
        assert time.monotonic() - start < 5
        assert len(threading.enumerate()) <= len(threads) + 1
    poll(lambda: threads.issuperset(threading.enumerate()), timeout=5, what="the thread has ended")


def test_truncated_without_tcp(look_up: Resolve) -> None:
    with pytest.raises(
        ProbeFailure, match="could not fetch the truncated response over TCP"
    ) as caught:
        look_up("db.example", {"db.example": truncated(silent)}, tcp=False)
    assert caught.value.reason is Reason.DNS_FAILURE


@pytest.mark.parametrize(
    "config",
    [
        "nameserver 127.0.0.9\nnameserver 127.0.0.1",  # nothing listens at 127.0.0.9
        "nameserver 127.0.0.1\nnameserver 127.0.0.9",
        "nameserver ::1\nnameserver 127.0.0.1",
        "nameserver 127.0.0.1\nnameserver fe80::1%nowhere",
    ],
)
def test_one_name_server_is_enough(config: str, look_up: Resolve) -> None:
    assert look_up("db.example", {"db.example": addresses("192.0.2.1")}, config=config) == [
        "192.0.2.1"
    ]


@pytest.mark.parametrize("reply", [error(SERVFAIL), silent, noise])
def test_a_good_name_server_beside_a_bad_one(reply: Reply, sources: Sources) -> None:
    config = "nameserver 127.0.0.1\nnameserver 127.0.0.2"
    good = {"db.example": after(0.05, addresses("192.0.2.1", "::1"))}
    with (
        DnsServer({"db.example": reply}) as bad,
        DnsServer(good, host="127.0.0.2", port=bad.port),
    ):
        found = resolve("db.example", Deadline(4.0), sources(resolv_conf=config, port=bad.port))
    assert "192.0.2.1" in found


@pytest.mark.parametrize("slow", [0, 1])
@pytest.mark.parametrize(
    ("rcodes", "message"),
    [((SERVFAIL, REFUSED), "name server returned REFUSED"), ((SERVFAIL, NXDOMAIN), "not found")],
)
def test_the_failure_does_not_depend_on_the_faster_name_server(
    rcodes: Sequence[int], message: str, slow: int, sources: Sources
) -> None:
    config = "nameserver 127.0.0.1\nnameserver 127.0.0.2"
    replies = [after(0.1 * (index == slow), error(rcode)) for index, rcode in enumerate(rcodes)]
    with (
        DnsServer({"db.example": replies[0]}) as one,
        DnsServer({"db.example": replies[1]}, host="127.0.0.2", port=one.port),
        pytest.raises(ProbeFailure, match=message),
    ):
        resolve("db.example", Deadline(20.0), sources(resolv_conf=config, port=one.port))


def test_no_name_server(sources: Sources) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.8", 0))
        made = sources(resolv_conf="nameserver 127.0.0.9", port=bound.getsockname()[1])
        with pytest.raises(ProbeFailure, match="unreachable: Connection refused") as caught:
            resolve("db.example", Deadline(10.0), made)
    assert caught.value.reason is Reason.DNS_FAILURE


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("db", "", ["db.a.example", "db.b.example", "db"]),
        ("db.", "", ["db"]),
        ("x.db", "", ["x.db", "x.db.a.example", "x.db.b.example"]),
        ("x.db", "options ndots:2", ["x.db.a.example", "x.db.b.example", "x.db"]),
    ],
)
def test_search(
    name: str, options: str, expected: list[str], sources: Sources,
) -> None:  # fmt: skip
    config = f"nameserver 127.0.0.1\nsearch a.example b.example\n{options}"
    with DnsServer({expected[-1]: addresses("192.0.2.1")}) as server:
        made = sources(resolv_conf=config, port=server.port)
        assert resolve(name, Deadline(10.0), made) == ["192.0.2.1"]
    assert list(dict.fromkeys(server.requested_at)) == expected


@pytest.mark.parametrize(
    "domain", ["a..b", ".a", "x" * 64, f"{'x' * 63}.{'y' * 63}.{'z' * 63}.{'w' * 62}", "b\xfccher"]
)
@pytest.mark.parametrize("options", ["", "options ndots:5"])
def test_a_search_domain_that_no_name_can_end_in(
    domain: str, options: str, sources: Sources
) -> None:
    config = f"nameserver 127.0.0.1\nsearch {domain} good.example\n{options}"
    zone = {"db.good.example": addresses("192.0.2.1"), "db.example": addresses("192.0.2.2")}
    with DnsServer(zone) as server:
        made = sources(resolv_conf=config, port=server.port)
        assert resolve("db", Deadline(10.0), made) == ["192.0.2.1"]
        assert resolve("db.example", Deadline(10.0), made) == ["192.0.2.2"]
        with pytest.raises(ProbeFailure, match="nobody: name not found"):
            resolve("nobody", Deadline(10.0), made)


@pytest.mark.parametrize(
    "name", ["x" * 64 + ".example", "a..example", "x." * 130, "bücher.example"]
)
def test_impossible_names(name: str, look_up: Resolve) -> None:
    with pytest.raises(ProbeFailure) as caught:
        look_up(name, {}, config="nameserver 127.0.0.1\nsearch a.example")
    assert caught.value.reason is Reason.DNS_FAILURE


@pytest.mark.parametrize("reply", [addresses("::1"), error(SERVFAIL), silent, truncated(silent)])
def test_leaves_no_socket_open(reply: Reply, look_up: Resolve) -> None:
    before = open_files()
    with contextlib.suppress(ProbeFailure):
        look_up("db.example", {"db.example": reply}, timeout=0.1)
    assert open_files() <= before

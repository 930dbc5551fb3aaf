"""Text protocols: rows of text.py against bytes and against real servers."""

from __future__ import annotations

import getpass
import grp
import os
import pwd
import socket
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._protocols import text
from healthchecker._protocols.reply import CodecError
from healthchecker._protocols.text import decode_line
from tests.servers.daemons import Daemon, free_port, program, running_daemon
from tests.servers.peers import Connection, Peer, blurt, hold
from tests.support import poll, require

AIOSMTPD = "/usr/bin/aiosmtpd"
DIALOGUES = {one.name: one for one in text.DIALOGUES}


# Real servers


def test_memcached() -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port)]
    url = f"memcached://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    with running_daemon("nobody", *command, port=port) as server:
        found = check(url)
        assert (found.reason, found.detail[:8]) == (Reason.OK, "VERSION ")
        server.pause()
        assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        server.resume()
        assert check(url)
    assert check(url).reason is Reason.CONNECTION_REFUSED


def test_memcached_with_tls_and_a_password() -> None:
    port = free_port()
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    files = {
        "pem": certificate.private_key_and_cert_chain_pem.bytes(),
        "users": b"checker:s3cret\n",
    }
    options = [
        "-Z",
        "-o",
        "ssl_chain_cert={directory}/pem,ssl_key={directory}/pem",
        "-Y",
        "{directory}/users",
    ]
    command = [program("memcached"), "-l", "localhost", "-p", str(port), *options]
    with running_daemon("nobody", *command, port=port, files=files):
        found = check(f"memcacheds://localhost:{port}", insecure=True)
        assert (found.reason, found.detail) == (Reason.OK, "CLIENT_ERROR unauthenticated")
        assert check(f"memcacheds://localhost:{port}").reason is Reason.TLS_FAILURE
        assert not check(f"memcached://localhost:{port}", timeout=0.5)


def test_memcached_without_free_connections() -> None:
    port = free_port()
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-c", "20", "-t", "1"]
    with running_daemon("nobody", *command, "-o", "maxconns_fast", port=port):
        found = set()
        with ExitStack() as taken:

            def is_full() -> bool:
                connection = socket.create_connection(("127.0.0.1", port))
                taken.enter_context(closing(connection))
                result = check(f"memcached://127.0.0.1:{port}")
                found.add((result.reason, result.detail.partition(" 1")[0]))
                return not result

            poll(is_full, timeout=10, what="no connection is left")
    full = (Reason.NOT_SERVING, "ERROR Too many open connections")
    assert found <= {(Reason.OK, "VERSION"), full}


def check_stopped(url: str, server: Daemon) -> None:
    """Check a server that is stopped, and that goes on."""
    server.pause()
    assert check(url, timeout=0.3).reason is Reason.TIMEOUT
    server.resume()
    assert check(url, timeout=10)


def test_ssh() -> None:
    port = free_port()
    script = 'ssh-keygen -q -t ed25519 -N "" -f $0/key && exec /usr/sbin/sshd -D -e -f $0/config'
    config = (
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {{directory}}/key\nPidFile none\n"
        "UsePAM no\nMaxStartups 3:100:3\n"
    )
    program("sshd", folder="/usr/sbin")
    command = ["/bin/sh", "-c", script, "{directory}"]
    files = {"config": config.encode()}
    url = f"ssh://127.0.0.1:{port}"
    with running_daemon("nobody", *command, port=port, files=files) as server:
        result = check(url)
        assert (result.reason, result.detail[:8]) == (Reason.OK, "SSH-2.0-")
        check_stopped(url, server)
        before = len(server.log)
        assert check(url)
        poll(lambda: "[preauth]" in server.log[before:], timeout=10, what="the end is logged")
        assert "error" not in server.log[before:]
        with ExitStack() as taken:

            def is_full() -> bool:
                taken.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
                return not check(url)

            poll(is_full, timeout=10, what="sshd refuses more")


def test_ftp() -> None:
    port = free_port()
    settings = {
        "listen": "YES",
        "listen_port": str(port),
        "listen_address": "127.0.0.1",
        "background": "NO",
        "run_as_launching_user": "YES",
        "anonymous_enable": "YES",
        "anon_root": "{directory}",
        "ftpd_banner": "ready",
        "max_clients": "2",
        "xferlog_enable": "YES",
        "vsftpd_log_file": "{directory}/transfers",
    }
    config = "".join(f"{name}={value}\n" for name, value in settings.items()).encode()
    command = [program("vsftpd", folder="/usr/sbin"), "{directory}/config"]
    url = f"ftp://127.0.0.1:{port}"
    with running_daemon("nobody", *command, port=port, files={"config": config}) as server:
        result = check(url)
        assert (result.reason, result.detail) == (Reason.OK, "220 ready")
        check_stopped(url, server)
        with ExitStack() as taken:
            full = poll(
                lambda: _full_ftp_server(url, port, taken), timeout=10, what="vsftpd is full"
            )
        assert full == ("421", "421 There are too many connected users, please try later.")
        poll(lambda: check(url), timeout=10, what="the others have left")
    assert check(url).reason is Reason.CONNECTION_REFUSED


def _full_ftp_server(url: str, port: int, taken: ExitStack) -> tuple[object, str] | None:
    """Take one connection more; return the status and the detail if the server refuses others."""
    taken.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
    found = check(url)
    return (found.status, found.detail) if found.reason is Reason.NOT_SERVING else None


def test_zookeeper() -> None:
    jar = Path("/usr/share/java/zookeeper.jar")
    require(jar.exists(), "zookeeper is not installed")
    port = free_port()
    config = (
        f"clientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={{directory}}/data\n"
        "admin.enableServer=false\n"
    )
    command = [program("java"), "-cp", f"{{directory}}:{jar}", "-Xmx64m"]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", "{directory}/config"]
    files = {"config": config.encode()}
    url = f"zookeeper://127.0.0.1:{port}"
    with running_daemon("nobody", *command, port=port, files=files) as server:
        poll(lambda: check(url, timeout=10), timeout=60, what="ZooKeeper serves")
        assert check(url).detail == "Mode: standalone"
        check_stopped(url, server)


DOVECOT = """
protocols = imap pop3
base_dir = {{directory}}/run
log_path = {{directory}}/mail-log
state_dir = {{directory}}
instance_name = {{directory}}
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl = yes
ssl_cert = <{{directory}}/pem
ssl_key = <{{directory}}/pem
passdb {{
  driver = static
  args = password=s3cret
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home={{directory}}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {imaps}
  }}
}}
service pop3-login {{
  chroot =
  inet_listener pop3 {{
    address = 127.0.0.1
    port = {pop3}
  }}
  inet_listener pop3s {{
    address = 127.0.0.1
    port = {pop3s}
  }}
}}
service anvil {{
  chroot =
}}
"""


def test_imap_and_pop3(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("imap", "imaps", "pop3", "pop3s")}
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca = tmp_path / "ca.pem"
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    config = DOVECOT.format(user=user, group=group, **ports)
    files = {
        "config": config.encode(),
        "pem": authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes(),
    }
    command = [program("dovecot", folder="/usr/sbin"), "-F", "-c", "{directory}/config"]
    with running_daemon("nobody", *command, files=files) as server:
        for port in ports.values():  # they are opened one after the other
            server.await_port(port)
        for name, start in (("imap", "* OK"), ("pop3", "+OK")):
            url = f"{name}://127.0.0.1:{ports[name]}"
            result = check(url, timeout=20)
            assert (result.reason, result.detail[: len(start)]) == (Reason.OK, start)
            upgraded = check(url, starttls=True, cacert=ca, timeout=20)
            assert upgraded.detail[: len(start)] == start
            assert {"tls", "response"} <= set(upgraded.phases_ms)
            assert check(url, starttls=True, timeout=20).reason is Reason.TLS_FAILURE
            assert check(f"{name}s://127.0.0.1:{ports[name + 's']}", cacert=ca, timeout=20)
        log = (server.directory / "mail-log").read_text()
        assert "Logged out" in log or "Aborted login" in log or "no auth attempts" in log
        check_stopped(url, server)


def test_smtp_with_starttls(tmp_path: Path) -> None:
    require(Path(AIOSMTPD).exists(), "aiosmtpd is not installed")
    port = free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pem = authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes()
    command = [AIOSMTPD, "-n", "-l", f"127.0.0.1:{port}"]
    command += ["--tlscert", "{directory}/pem", "--tlskey", "{directory}/pem"]
    url = f"smtp://127.0.0.1:{port}"
    with running_daemon("nobody", *command, port=port, files={"pem": pem}) as server:
        result = check(url)
        assert (result.reason, result.detail[:4]) == (Reason.OK, "220 ")
        assert check(url, starttls=True, cacert=tmp_path / "ca.pem")
        assert check(url, starttls=True).reason is Reason.TLS_FAILURE
        check_stopped(url, server)
    with running_daemon("nobody", *command[:4], port=port):
        refused = check(url, starttls=True)
    assert refused.reason is Reason.TLS_FAILURE
    assert "the peer does not start TLS: " in refused.detail


POSTFIX = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
daemon_directory = /usr/lib/postfix/sbin
myhostname = mail.example
inet_protocols = ipv4
maillog_file = /dev/stdout
smtpd_tls_security_level = may
smtpd_tls_chain_files = {directory}/pem
"""
POSTFIX_SERVICES = """
127.0.0.1:{port} inet n - n - 1 smtpd
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""
POSTFIX_START = """
cd "$0" && mkdir -p data queue/pid queue/private queue/public
chown postfix data queue/private queue/public && chgrp postdrop queue/public
exec /usr/lib/postfix/sbin/master -c "$0" -s
"""


def test_postfix(tmp_path: Path) -> None:
    require(Path("/usr/lib/postfix/sbin/master").exists(), "postfix is not installed")
    require(os.geteuid() == 0, "postfix only starts as root")
    port = free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    soon = datetime.now(UTC) + timedelta(hours=1)
    certificate = authority.issue_cert("127.0.0.1", not_after=soon)
    files = {
        "main.cf": POSTFIX.encode(),
        "master.cf": POSTFIX_SERVICES.format(port=port).encode(),
        "pem": certificate.private_key_and_cert_chain_pem.bytes(),
    }
    url = f"smtp://127.0.0.1:{port}"
    assert check(url).reason is Reason.CONNECTION_REFUSED
    command = ["/bin/sh", "-euc", POSTFIX_START, "{directory}"]
    with running_daemon("root", *command, files=files) as server:
        poll(lambda: server.listens(port), timeout=30, what="postfix listens")
        poll(lambda: "disconnect" in server.log, timeout=30, what="that has ended")
        before = len(server.log)
        result = check(url, timeout=20)
        assert (result.reason, result.detail) == (Reason.OK, "220 mail.example ESMTP Postfix")
        assert check(url, starttls=True, cacert=tmp_path / "ca.pem", timeout=20)
        assert check(url, starttls=True, timeout=20).reason is Reason.TLS_FAILURE
        expires = check(
            url, starttls=True, cacert=tmp_path / "ca.pem", cert_lifetime=7200, timeout=20
        )
        assert expires.reason is Reason.CERTIFICATE_EXPIRES
        ends = ("quit=1 commands=1", "ehlo=1 starttls=1 quit=1 commands=3")
        poll(
            lambda: all(one in server.log[before:] for one in ends),
            timeout=20,
            what="two sessions have ended with QUIT",
        )
        polite = server.log[before:].partition("starttls=1")[0]
        assert not any(word in polite for word in ("lost connection", "warning", "error")), polite
        # Its only smtpd is taken: postfix accepts, and greets when that one is free again.
        with socket.create_connection(("127.0.0.1", port)) as taken:
            assert taken.recv(4)
            assert check(url, timeout=0.3).reason is Reason.TIMEOUT
        assert check(url, timeout=20)
    assert check(url).reason is Reason.CONNECTION_REFUSED


# Peers


@pytest.mark.parametrize(
    ("scheme", "greeting", "reason", "status"),
    [
        ("smtp", b"220-a\r\n220 b\r\n", Reason.OK, None),
        ("smtp", b"421 busy\r\n", Reason.NOT_SERVING, "421"),
        ("smtp", b"554-no\r\n554 no\r\n", Reason.NOT_SERVING, "554"),
        ("smtp", b"500 what\r\n", Reason.INVALID_RESPONSE, None),
        ("imap", b"* PREAUTH x\r\n", Reason.OK, None),
        ("imap", b"* BYE full\r\n", Reason.NOT_SERVING, None),
        ("pop3", b"-ERR full\r\n", Reason.NOT_SERVING, None),
        ("ftp", b"220-a\r\n welcome\r\n220 b\r\n", Reason.OK, None),
        ("ftp", b"421 Too many\r\n", Reason.NOT_SERVING, "421"),
        ("ssh", b"a banner\r\nSSH-2.0-x\r\n", Reason.OK, None),
        ("ssh", b"Exceeded MaxStartups\r\n", Reason.NOT_SERVING, None),
        (
            "zookeeper",
            b"This ZooKeeper instance is not currently serving requests\n",
            Reason.NOT_SERVING,
            None,
        ),
        (
            "zookeeper",
            b"srvr is not executed because it is not in the whitelist.\n",
            Reason.OK,
            None,
        ),
    ],
)
def test_greetings(scheme: str, greeting: bytes, reason: Reason, status: str | None) -> None:
    with Peer(blurt(greeting, hold)) as peer:
        result = check(f"{scheme}://{peer.address}")
    assert (result.reason, result.status) == (reason, status)


@pytest.mark.parametrize(
    ("scheme", "turns"),
    [
        ("smtp", (b"220 x\r\n", b"250 STARTTLS\r\n", b"220 go\r\n250 injected\r\n")),
        ("smtp", (b"220 x\r\n", b"250 STARTTLS\r\n220 early\r\n")),
        ("imap", (b"* OK x\r\n", b"a OK go\r\n* OK injected\r\n")),
        ("pop3", (b"+OK x\r\n", b"+OK go\r\n+OK injected\r\n")),
        (
            "ldap",
            (bytes.fromhex("300c02010178070a010004000400") + b"\x30\0",),
        ),
    ],
)
def test_data_before_tls_is_refused(scheme: str, turns: tuple[bytes, ...]) -> None:
    def behave(connection: Connection) -> None:
        if scheme == "ldap":
            connection.hear()
        for turn in turns:
            connection.send(turn)
            connection.hear()
        connection.hold()

    with Peer(behave) as peer:
        result = check(f"{scheme}://{peer.address}", starttls=True)
    assert (result.reason, result.detail) == (
        Reason.INVALID_RESPONSE,
        "response: unexpected data before TLS",
    )


# Decoding

LINES = [
    ("memcached", b"VERSION 1.6.18\r\n", b"VERSION 1.6.18"),
    ("memcached", b"CLIENT_ERROR unauthenticated\r\n", b"CLIENT_ERROR unauthenticated"),
]


@pytest.mark.parametrize(("name", "data", "line"), LINES)
def test_lines(name: str, data: bytes, line: bytes) -> None:
    assert decode_line(DIALOGUES[name], data) == line
    assert decode_line(DIALOGUES[name], data + b"more\n") == line
    assert all(decode_line(DIALOGUES[name], data[:end]) is None for end in range(len(data)))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("memcached", b"ERROR\r\n"),
        ("memcached", b"V "),
        ("memcached", b"\r\n"),
        ("memcached", b"\x15\x03\x03\0\2"),
    ],
)
def test_other_lines(name: str, data: bytes) -> None:
    with pytest.raises(CodecError, match=f"not a valid {name} reply"):
        decode_line(DIALOGUES[name], data)


def test_a_peer_that_repeats_what_it_gets_is_no_ssh_server() -> None:
    with Peer(lambda connection: connection.send(connection.hear())) as peer:
        found = check(f"ssh://{peer.address}")
    assert found.reason is Reason.INVALID_RESPONSE


def test_endless_line() -> None:
    with Peer(blurt(b"VERSION " + b"x" * 70_000, hold)) as peer:
        found = check(f"memcached://{peer.address}")
    assert found.reason is Reason.INVALID_RESPONSE
    assert found.detail == "response: reply longer than 65536 bytes"


def test_goodbye_is_sent() -> None:
    heard: list[bytes] = []

    def behave(connection: Connection) -> None:
        heard.append(connection.hear())
        connection.send(b"VERSION 1\r\n")
        heard.append(connection.hear())

    with Peer(behave) as peer:
        assert check(f"memcached://{peer.address}")
    assert heard == [b"version\r\n", b"quit\r\n"]

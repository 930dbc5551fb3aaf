"""docs/images.md: its lines are understood, and true for the servers that this machine has."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from healthchecker import Reason, check
from healthchecker._cli.main import main
from tests.protocols.test_fastcgi import php_fpm
from tests.protocols.test_ldap import slapd
from tests.protocols.test_mqtt import mosquitto
from tests.protocols.test_nats import nats_server
from tests.servers.daemons import free_port, program, running_daemon
from tests.servers.mariadb import running_mariadb
from tests.servers.postgres import find_binaries, running_cluster
from tests.servers.rabbitmq import starting_rabbitmq
from tests.servers.redis import running_redis
from tests.support import ROOT, poll, require
from tests.support.forms import PYTHON, run
from tests.support.pages import Page

PAGE = Page(ROOT / "docs/images.md")
CA_FILE = "/usr/share/elasticsearch/config/certs/http_ca.crt"
SECRET = "a/b@c"
SECRETS = ("PASSWORD", "TOKEN")


class Row(NamedTuple):
    """A row of one of the tables."""

    images: tuple[str, ...]
    arguments: tuple[str, ...]
    """Empty if the image cannot be checked."""
    notes: tuple[str, ...]


def rows(name: str) -> list[Row]:
    """Return the rows of a table of the page, without its heading."""
    found = []
    for line in PAGE.table(name)[2:]:
        images, arguments, *notes = (
            cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]
        )
        written = re.fullmatch(r"(?:`([^`]+)`)?", arguments)
        assert written, line
        own = tuple(shlex.split(written[1] or ""))
        found.append(Row(tuple(images.split(", ")), own, tuple(notes)))
    return found


IMAGES = rows("images")
HARD = rows("hard")
ARGUMENTS = {name: row.arguments for row in IMAGES for name in row.images}


def test_tables_are_complete_sorted_and_name_each_image_once() -> None:
    names = [name for row in (*IMAGES, *HARD) for name in row.images]
    assert len(names) > 150
    assert len(set(names)) == len(names)
    for table in (IMAGES, HARD):
        assert [row.images for row in table] == sorted(row.images for row in table)
        assert all(list(row.images) == sorted(row.images) for row in table)
    for row in IMAGES:
        assert row.arguments
        assert [bool(note) for note in row.notes] == [True, True], row.images


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


@pytest.mark.parametrize(
    "row", [row for row in (*IMAGES, *HARD) if row.arguments], ids=lambda row: row.images[0]
)
def test_lines_are_understood(
    row: Row, ca_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens, which is not a usage error. On another thread, so that no signal is set."""
    for name in re.findall(r"\$\{(\w+)\}", " ".join(row.arguments)):
        monkeypatch.setenv(name, SECRET if name.endswith(SECRETS) else "localhost")
    arguments = [ca_file if one == CA_FILE else one for one in row.arguments]
    thread = threading.Thread(target=main, args=([*arguments, "--timeout", "100ms"],))
    thread.start()
    thread.join()
    _, stderr = capfd.readouterr()
    assert re.fullmatch(r"(unhealthy: .*\n)?", stderr), stderr
    assert SECRET not in stderr


def test_every_variable_is_a_secret_or_explained() -> None:
    named = {
        name
        for row in IMAGES
        for name in re.findall(r"\$\{?(\w+)", " ".join([*row.arguments, *row.notes]))
    }
    others = {name for name in named if not name.endswith(SECRETS)}
    assert others == {"NAME", "ZONE", "DB_USER", "DB_NAME", "HOSTNAME"}


# Real servers


def check_line(image: str, port: int, *, env: dict[str, str] | None = None) -> None:
    """Run the line of an image with another port; expect that it is healthy."""
    target, *options = ARGUMENTS[image]
    moved = re.sub(
        r"^(\w+://)([^/@]*@)?(127\.0\.0\.1|localhost|\$\{HOSTNAME\})(:\d+)?",
        rf"\g<1>\g<2>127.0.0.1:{port}",
        target,
    )
    assert f"127.0.0.1:{port}" in moved
    outcome = run(PYTHON, [moved, *options, "--timeout", "20s"], env=env or {}, timeout=60)
    assert (outcome.code, outcome.stderr) == (0, ""), image


@contextmanager
def daemon(user: str, *command: str, port: int | None, **files: bytes) -> Iterator[None]:
    with running_daemon(user, *command, port=port, files=files):
        yield


@contextmanager
def sshd(port: int) -> Iterator[None]:
    program("sshd", folder="/usr/sbin")
    script = 'ssh-keygen -q -t ed25519 -N "" -f $0/key && exec /usr/sbin/sshd -D -e -f $0/config'
    config = f"Port {port}\nListenAddress 127.0.0.1\nHostKey {{directory}}/key\nPidFile none\n"
    command = ["/bin/sh", "-c", script, "{directory}"]
    with daemon("nobody", *command, port=port, config=f"{config}UsePAM no\n".encode()):
        yield


def vsftpd(port: int) -> AbstractContextManager[None]:
    config = (
        f"listen=YES\nlisten_port={port}\nlisten_address=127.0.0.1\nbackground=NO\n"
        "run_as_launching_user=YES\nanonymous_enable=YES\nanon_root={directory}\n"
        "xferlog_enable=YES\nvsftpd_log_file={directory}/transfers\n"
    )
    command = [program("vsftpd", folder="/usr/sbin"), "{directory}/config"]
    return daemon("nobody", *command, port=port, config=config.encode())


@contextmanager
def zookeeper(port: int) -> Iterator[None]:
    jar = Path("/usr/share/java/zookeeper.jar")
    require(jar.exists(), "zookeeper is not installed")
    config = (
        f"clientPort={port}\nclientPortAddress=127.0.0.1\ndataDir={{directory}}/data\n"
        "admin.enableServer=false\n"
    )
    command = [program("java"), "-cp", f"{{directory}}:{jar}", "-Xmx64m"]
    command += ["org.apache.zookeeper.server.quorum.QuorumPeerMain", "{directory}/config"]
    url = f"zookeeper://127.0.0.1:{port}"
    with daemon("nobody", *command, port=port, config=config.encode()):
        poll(lambda: check(url, timeout=10), timeout=60, what="ZooKeeper serves")
        yield


def memcached(port: int) -> AbstractContextManager[None]:
    command = [program("memcached"), "-l", "127.0.0.1", "-p", str(port)]
    return daemon("nobody", *command, port=port)


def smtp(port: int) -> AbstractContextManager[None]:
    """Run aiosmtpd, because Postfix needs root."""
    command = [program("aiosmtpd", folder="/usr/bin"), "-n", "-l", f"127.0.0.1:{port}"]
    return daemon("nobody", *command, port=port)


def nginx(port: int) -> AbstractContextManager[None]:
    config = (
        "daemon off; pid {directory}/pid; error_log stderr; events { }\nhttp {\n"
        "access_log off;\n"
        + "".join(
            f"{name}_temp_path {{directory}}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{port}; root {{directory}}; }}\n}}\n"
    )
    command = [program("nginx", folder="/usr/sbin"), "-e", "stderr", "-c", "{directory}/config"]
    files = {"config": config.encode(), "index.html": b"Welcome\n"}
    return daemon("www-data", *command, port=port, **files)


def registry(port: int) -> AbstractContextManager[None]:
    config = (
        f"version: 0.1\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        "storage: {filesystem: {rootdirectory: '{directory}/data'}}\n"
    )
    command = [program("docker-registry"), "serve", "{directory}/config"]
    return daemon("nobody", *command, port=port, config=config.encode())


def sentinel(port: int) -> AbstractContextManager[None]:
    command = [program("redis-server"), "{directory}/config", "--sentinel"]
    config = f"port {port}\nbind 127.0.0.1\ndir {{directory}}\n".encode()
    return daemon("redis", *command, port=port, config=config)


def pgbouncer(port: int) -> AbstractContextManager[None]:
    config = (
        f"[databases]\napp = host=127.0.0.1 port=1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nauth_type = any\nunix_socket_dir =\n"
    )
    command = [program("pgbouncer", folder="/usr/sbin"), "{directory}/config"]
    return daemon("postgres", *command, port=port, config=config.encode())


@contextmanager
def openldap(port: int) -> Iterator[None]:
    with slapd(f"ldap://127.0.0.1:{port}", port=port):
        yield


@contextmanager
def mqtt(port: int) -> Iterator[None]:
    with mosquitto(port, "allow_anonymous true"):
        yield


@contextmanager
def nats(port: int) -> Iterator[None]:
    with nats_server(port):
        yield


@contextmanager
def php(port: int) -> Iterator[None]:
    with php_fpm(port):
        yield


SERVERS: dict[str, Callable[[int], AbstractContextManager[None]]] = {
    "emqx": mqtt,
    "mailhog": smtp,
    "memcached": memcached,
    "mosquitto": mqtt,
    "nats": nats,
    "nginx": nginx,
    "openldap": openldap,
    "openssh-server": sshd,
    "php-fpm": php,
    "postfix": smtp,
    "redis-sentinel": sentinel,
    "registry": registry,
    "vsftpd": vsftpd,
    "zookeeper": zookeeper,
}


@pytest.mark.parametrize("image", SERVERS)
def test_lines_against_real_servers(image: str) -> None:
    port = free_port()
    with SERVERS[image](port):
        check_line(image, port)


def test_pgbouncer() -> None:
    port = free_port()
    with pgbouncer(port):
        check_line("pgbouncer", port, env={"DB_USER": "app", "DB_NAME": "app"})


def name_servers(port: int) -> dict[str, tuple[Sequence[str], dict[str, bytes]]]:
    """Return for each image the command of its name server, and its files."""
    bind = (
        f'options {{ directory "{{directory}}"; listen-on port {port} {{ 127.0.0.1; }};'
        " listen-on-v6 { none; }; pid-file none; recursion no;"
        ' session-keyfile "{directory}/key"; };\n'
        'zone "example" { type primary; file "zone"; };\ncontrols { };\n'
    )
    zone = b"$TTL 60\n@ SOA ns admin 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n"
    unbound = (
        f'server:\n interface: 127.0.0.1\n port: {port}\n username: ""\n chroot: ""\n'
        ' pidfile: ""\n use-syslog: no\n do-daemonize: no\n directory: "{directory}"\n'
        ' module-config: "iterator"\n'
    )
    dnsmasq = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    dnsmasq += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces"]
    dnsmasq += ["--user=nobody", "--pid-file=", "--address=/pi.hole/192.0.2.1"]
    dnsmasq += ["--address=/home.example/192.0.2.1"]
    return {
        "bind9": (
            ["named", "-g", "-c", "{directory}/config"],
            {"config": bind.encode(), "zone": zone},
        ),
        "unbound": (["unbound", "-d", "-c", "{directory}/config"], {"config": unbound.encode()}),
        "dnsmasq": (["dnsmasq", *dnsmasq], {}),
        "pihole": (["dnsmasq", *dnsmasq], {}),
    }


@pytest.mark.parametrize("image", ["bind9", "dnsmasq", "pihole", "unbound"])
def test_name_servers(image: str) -> None:
    port = free_port()
    (name, *arguments), files = name_servers(port)[image]
    command = [program(name, folder="/usr/sbin"), *arguments]
    user = "bind" if image == "bind9" else "nobody"
    env = {"ZONE": "example", "NAME": "home.example"}
    with running_daemon(user, *command, files=files):
        replied = {Reason.OK, Reason.UNEXPECTED_REPLY}
        url = f"dns://127.0.0.1:{port}/localhost"
        poll(lambda: check(url, timeout=0.5).reason in replied, timeout=30, what=f"{name} replies")
        check_line(image, port, env=env)


def test_postgresql() -> None:
    binaries = find_binaries()
    require(binaries, "PostgreSQL is not installed")
    assert binaries
    with running_cluster(binaries) as cluster:
        check_line("postgres", cluster.port)


def test_mariadb() -> None:
    with running_mariadb() as server:
        check_line("mariadb", server.port)


def test_redis_with_and_without_a_password() -> None:
    (note,) = (row.notes[1] for row in IMAGES if "redis" in row.images)
    (with_password,) = re.findall(r"`'(redis://.*)'`", note)
    with running_redis() as server:
        check_line("redis", server.port)
    with running_redis("--requirepass s3cret") as server:
        target = f"{with_password}:{server.port}"
        assert run(PYTHON, [target], env={"REDIS_PASSWORD": "s3cret"}).code == 0
        assert run(PYTHON, [target], env={"REDIS_PASSWORD": "x"}).code == 1
        check_line("redis", server.port)


def test_rabbitmq() -> None:
    with starting_rabbitmq(trustme.CA().issue_cert("localhost")) as node:
        node.await_port(node.port, timeout=300)
        check_line("rabbitmq", node.port)

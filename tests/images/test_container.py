"""The executable in real containers: every base, every restriction, every kind of name, health."""

from __future__ import annotations

import json
import os
import random
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.servers.dns import DnsServer, addresses
from tests.servers.peers import Peer, SilentPeer, respond
from tests.support import poll, require
from tests.support.engine import (
    build_images,
    container,
    docker,
    health,
    image,
    outcome,
    require_engine,
)
from tests.support.forms import COLD, SAVED, Form, require_form, run
from tests.tables.hostile_http import HEALTHY

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.alone]

BASES = ("scratch", "busybox", "debian:trixie-slim")
RESTRICTIONS = {
    "nothing": [],
    "read-only root": ["--read-only"],
    "an unprivileged user": ["--user", "65534:65534"],
    "no capabilities": ["--cap-drop", "ALL"],
    "no new privileges": ["--security-opt", "no-new-privileges"],
    "one process": ["--pids-limit", "1"],
    "32 MiB": ["--memory", "32m", "--memory-swap", "32m"],
}
EVERYTHING = [option for options in RESTRICTIONS.values() for option in options]
WEB_SERVER = [
    "busybox",
    "sh",
    "-c",
    "mkdir /www && mkdir -m 1777 /tmp && echo UP >/www/health && exec httpd -f -h /www",
]
ODD_NSSWITCH = "hosts: mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] wins nosuch\n"


@pytest.fixture(scope="module")
def engine() -> None:
    require_engine()


@pytest.fixture(scope="module", params=[COLD, SAVED], ids=lambda form: form.name)
def binary(request: pytest.FixtureRequest) -> Path:
    """Each executable, one after the other."""
    require_form(request.param)
    return Path(request.param.argv[0])


@pytest.fixture(
    scope="module",
    params=[(COLD, "scratch"), *((SAVED, base) for base in BASES)],
    ids=lambda param: f"{param[0]} in {param[1]}",
)
def checker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Build an image with the executable in it: on each base, with the cold form on the first."""
    form, base = request.param
    require_form(form)
    with image(base, Path(form.argv[0]), tmp_path_factory.mktemp("image")) as identity:
        yield identity


@contextmanager
def web_server(*options: str) -> Iterator[str]:
    """Start a web server in a container, and wait until it serves."""
    with container(*options, *WEB_SERVER) as web:
        request = ["exec", web, "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/health"]
        poll(lambda: outcome(*request).returncode == 0, timeout=20, what="it serves")
        yield web


@pytest.fixture(scope="module")
def isolated(engine: None) -> Iterator[str]:
    """Start a web server that has nothing but loopback; the value is its network."""
    with web_server("--network", "none", "--add-host", "web.hosts:127.0.0.1") as web:
        yield f"container:{web}"


def check_in(image: str, options: Sequence[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run one check in a container of its own; return exit code and result."""
    done = outcome("run", "--rm", *options, image, "--output", "json", *arguments)
    assert done.stdout, f"not run: exit code {done.returncode}, {done.stderr}"
    document = json.loads(done.stdout)
    (result,) = document["checks"]
    healthy = done.returncode == 0
    assert (document["healthy"], result["healthy"]) == (healthy, healthy)
    assert done.returncode in (0, 1)
    return done.returncode, result


@pytest.mark.parametrize("restriction", RESTRICTIONS)
def test_it_runs_under_each_restriction(checker: str, isolated: str, restriction: str) -> None:
    options = ["--network", isolated, *RESTRICTIONS[restriction]]
    code, result = check_in(checker, options)
    assert (code, result["reason"], result["status"]) == (0, "ok", 200)


def test_it_runs_under_all_restrictions_at_once(checker: str, isolated: str) -> None:
    options = ["--network", isolated, *EVERYTHING]
    assert check_in(checker, options)[0] == 0
    code, result = check_in(checker, options, "--path", "/missing")
    assert (code, result["reason"], result["status"]) == (1, "unexpected_status", 404)
    code, result = check_in(checker, ["--network", "none", *EVERYTHING])
    assert (code, result["reason"]) == (1, "connection_refused")


def test_16_mib_are_enough(isolated: str, tmp_path: Path) -> None:
    require_form(SAVED)
    with image("scratch", Path(SAVED.argv[0]), tmp_path) as identity:
        limit = ["--network", isolated, "--memory", "16m", "--memory-swap", "16m"]
        assert check_in(identity, limit)[0] == 0
        code, result = check_in(identity, limit, "--insecure", "https://127.0.0.1")
        assert (code, result["reason"]) == (1, "connection_refused")
        done = outcome("run", "--rm", *limit, identity, *["http://127.0.0.1/health"] * 20)
        assert (done.returncode, done.stderr) == (0, "")


def test_one_target_takes_6_mib(isolated: str, tmp_path: Path) -> None:
    """With what is unpacked for a failure. Docker has no smaller limit."""
    require_form(SAVED)
    with image("scratch", Path(SAVED.argv[0]), tmp_path) as identity:
        limit = ["--network", isolated, "--memory", "6m", "--memory-swap", "6m"]
        assert check_in(identity, limit)[0] == 0
        for refused in (["--port", "9"], ["--insecure", "https://127.0.0.1"]):
            code, result = check_in(identity, limit, *refused)
            assert (code, result["reason"]) == (1, "connection_refused")
        done = outcome("run", "--rm", *limit, identity, "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("quota", ["1000", "5000"])
def test_with_next_to_no_cpu_it_says_why_it_fails(binary: Path, quota: str) -> None:
    """Microseconds of each 100 ms: the last resort must not precede the last output."""
    options = ["--network", "host", "--cpu-period", "100000", "--cpu-quota", quota]
    mount = ["--volume", f"{binary}:/healthchecker:ro"]
    with SilentPeer() as silent:
        command = ["/healthchecker", "--timeout=300ms", silent.url()]
        done = outcome("run", "--rm", *options, *mount, "busybox", *command, timeout=200)
    assert done.returncode == 1
    assert re.fullmatch(r"unhealthy: http://\S+: timeout: .*\n", done.stderr)


@pytest.mark.parametrize("host", ["localhost", "web.hosts"])
def test_it_finds_local_names(checker: str, isolated: str, host: str) -> None:
    code, _ = check_in(checker, ["--network", isolated], "--host", host)
    assert code == 0


def test_it_needs_nothing_but_itself(binary: Path, isolated: str) -> None:
    """No /tmp, /proc, /dev, /etc, no PATH and no other variable: a root with this one file."""
    mount = ["--volume", f"{binary}:/bare/healthchecker:ro"]
    command = ["env", "-i", "chroot", "/bare", "/healthchecker", "--host", "localhost"]
    run_options = ["run", "--rm", "--network", isolated, *mount]
    assert outcome(*run_options, "busybox", *command).returncode == 0
    done = outcome(*run_options, "busybox", *command, "--path", "/missing")
    assert done.returncode == 1
    assert "unexpected_status" in done.stderr


def test_it_runs_with_a_masked_proc(binary: Path, isolated: str) -> None:
    mask = "mount -t tmpfs -o ro none /proc && [ ! -e /proc/self ] && exec /healthchecker"
    may_mount = ["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"]
    mount = ["--volume", f"{binary}:/healthchecker:ro"]
    options = ["run", "--rm", "--network", isolated, *may_mount, *mount]
    done = outcome(*options, "busybox", "sh", "-c", mask)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_watch_of_many_needs_no_second_thread(binary: Path, isolated: str) -> None:
    options = ["--network", isolated, *EVERYTHING, "--volume", f"{binary}:/healthchecker:ro"]
    watch = ["/healthchecker", "watch", "--initial-delay=0", "--interval=1s"]
    targets = ["http://localhost/health", "tcp://localhost:80"]
    with container(*options, "busybox", *watch, *targets) as watching:

        def are_healthy() -> bool:
            shown = docker("logs", watching)
            return all(f" healthy: {target}: " in shown for target in targets)

        poll(are_healthy, timeout=20, what="a line for each")
        docker("kill", "--signal", "TERM", watching)
        assert docker("wait", watching) == "0"


@pytest.fixture(scope="module")
def names(engine: None) -> Iterator[tuple[list[str], list[str]]]:
    """Start a name server; run options that use it, and the names that it was queried for."""
    require(os.geteuid() == 0, "needs root for port 53")
    network = docker("network", "create", f"healthchecker-test-{os.getpid()}")
    try:
        inspected = ["network", "inspect", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
        gateway = docker(*inspected, network)
        with web_server("--network", network, "--network-alias", "web") as web:
            (details,) = json.loads(docker("inspect", web))
            (attached,) = details["NetworkSettings"]["Networks"].values()
            zone = {"web.dns.test": addresses(attached["IPAddress"])}
            with DnsServer(zone, host=gateway, port=53) as server:
                yield ["--network", network, "--dns", gateway], server.requested_at
    finally:
        docker("network", "rm", network)


@pytest.mark.parametrize("nsswitch", ["ordinary", "odd"])
def test_it_finds_dns_names(
    checker: str, names: tuple[list[str], list[str]], nsswitch: str, tmp_path: Path
) -> None:
    options, asked = names
    if nsswitch == "odd":
        file = tmp_path / "nsswitch.conf"
        file.write_text(ODD_NSSWITCH)
        options = [*options, "--volume", f"{file}:/etc/nsswitch.conf:ro"]
    for host in ("web", "web.dns.test"):
        code, result = check_in(checker, options, "--host", host)
        assert (code, result["reason"]) == (0, "ok"), host
    asked.clear()
    code, result = check_in(checker, options, "--host", "missing.dns.test")
    assert (code, result["reason"]) == (1, "dns_failure")
    assert "missing.dns.test" in asked


@pytest.mark.parametrize("form", [COLD, SAVED], ids=lambda form: form.name)
def test_it_runs_on_an_old_cpu(form: Form) -> None:
    """The first x86-64 of 2003 had SSE2 and none of what came after."""
    emulator = Path("/usr/bin/qemu-x86_64")
    require(emulator.exists(), "needs qemu-user")
    prefix = [str(emulator), "-cpu", "Opteron_G1"]
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with (
        Peer(respond(HEALTHY)) as plain,
        Peer(respond(HEALTHY), context=context) as encrypted,
        authority.cert_pem.tempfile() as cacert,
    ):
        for target in (
            [f"http://localhost:{plain.port}"],
            ["--cacert", cacert, f"https://localhost:{encrypted.port}"],
        ):
            # Emulated arithmetic takes its time.
            done = run(form, ["--timeout", "20s", *target], prefix=prefix, timeout=40)
            assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("form", [COLD, SAVED], ids=lambda form: form.name)
def test_killed_at_any_moment_it_leaves_nothing_behind(form: Form) -> None:
    """200 checks, each killed at another moment of its life."""
    life = min(run(form, ["--port", "1"]).seconds for _ in range(10))
    chance = random.Random(6)
    moments = [int(chance.uniform(0, life) * 1e6) for _ in range(200)]
    script = "".join(
        f"/healthchecker & usleep {moment}; kill -9 $!; wait $!; echo $?\n" for moment in moments
    )
    mount = ["--volume", f"{form.argv[0]}:/healthchecker:ro"]
    with web_server("--network", "none", *mount) as web:
        before = traces(web)
        codes = docker("exec", web, "sh", "-c", script, timeout=120).split()
        assert len(codes) == 200
        assert set(codes) <= {"0", "137"}
        assert codes.count("137") >= 20
        poll(lambda: traces(web) <= before, timeout=10, what="the container is as it was")


def traces(web: str) -> set[str]:
    """List what a container has beyond its image: changed files, files in memory, processes."""
    changed_files = docker("diff", web)
    files_in_memory = docker("exec", web, "find", "/dev", "-type", "f")
    processes = docker("top", web, "-eo", "pid,args")
    return set(f"{changed_files}\n{files_in_memory}\n{processes}".splitlines())


@pytest.mark.parametrize(("form", "count"), [(COLD, 200), (SAVED, 1000)], ids=["cold", "saved"])
def test_many_checks_leave_nothing_behind(form: Form, count: int) -> None:
    require_form(form)
    loop = f"i=0; while [ $i -lt {count} ]; do /healthchecker || exit 1; i=$((i + 1)); done"
    mount = ["--volume", f"{form.argv[0]}:/healthchecker:ro"]
    with web_server("--network", "none", *mount) as web:
        # As Docker does it, one exec per check; also fills whatever is only filled once.
        for _ in range(10):
            docker("exec", web, "/healthchecker")
        before, memory_before = traces(web), memory(web)
        docker("exec", web, "sh", "-c", loop, timeout=400)
        # The server's last child may still be on its way out, before as after.
        poll(lambda: traces(web) <= before, timeout=10, what="the container is as it was")
        assert memory(web) - memory_before < 256 * 1024


def memory(web: str) -> int:
    """Return the bytes that a container holds in processes and in files in memory.

    The rest is the page cache, which keeps files until the memory is needed.
    """
    versions = "/sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat"
    lines = docker("exec", web, "sh", "-c", f"cat {versions} 2>/dev/null || true").splitlines()
    counters = dict(line.split() for line in lines)
    processes = counters.get("anon", counters.get("rss"))  # cgroup version 2, version 1
    assert processes
    return int(processes) + int(counters["shmem"])


@pytest.fixture
def service(binary: Path) -> Iterator[str]:
    """Start accountservice from its image, with its health asked every second."""
    build_images("test")
    mount = ["--volume", f"{binary}:/healthchecker:ro"]
    options = ["--env", "ACCOUNTSERVICE_TESTABILITY=1", "--network", "none", *mount]
    often = ["--health-interval", "1s", "--health-retries", "2"]
    with container(*options, *often, "accountservice:test") as identity:
        wait_until("healthy", identity)
        yield identity


def wait_until(state: str, identity: str) -> dict[str, Any]:
    """Wait for a state that `docker ps` shows too; return the newest entry of the health log."""
    shown = ["ps", "--filter", f"id={identity}", "--format", "{{.Status}}"]
    poll(lambda: f"({state})" in docker(*shown), timeout=40, what=f"{state} in docker ps")
    entry: dict[str, Any] = health(identity)["Log"][-1]
    return entry


def reason_in(entry: dict[str, Any]) -> str:
    """Return the reason in an entry of the health log, which is one line."""
    match = re.fullmatch(
        r"unhealthy: http://127\.0\.0\.1:6767/health: (\w+): .+\n?", entry["Output"]
    )
    assert match, entry
    assert entry["ExitCode"] == 1
    return match[1]


def test_docker_shows_each_change_of_state(service: str) -> None:
    assert health(service)["Log"][-1]["Output"] == ""
    switch = ["exec", service, "/healthchecker", "--port=6767", "--path=/testability/healthy/false"]
    docker(*switch)
    entry = wait_until("unhealthy", service)
    assert reason_in(entry) == "unexpected_status"
    assert "503" in entry["Output"]
    docker(*switch[:-1], "--path=/testability/healthy/true")
    wait_until("healthy", service)


def test_docker_shows_that_the_database_is_gone(service: str) -> None:
    docker("exec", service, "rm", "/data/accounts.db")
    entry = wait_until("unhealthy", service)
    assert reason_in(entry) == "unexpected_status"
    assert "503" in entry["Output"]


def test_a_check_that_overruns_says_so_before_docker_kills_it(service: str) -> None:
    docker("kill", "--signal", "STOP", service)
    entry = wait_until("unhealthy", service)
    assert reason_in(entry) == "timeout"
    docker("kill", "--signal", "CONT", service)
    wait_until("healthy", service)

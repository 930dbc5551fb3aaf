"""The compressed zones of the saved heap: where they are unpacked, and under which conditions."""

from __future__ import annotations

import ctypes
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from grpc_health.v1 import health, health_pb2

from tests.binary.test_hardening import compiled
from tests.servers.grpc import grpc_server
from tests.servers.http import http_service
from tests.servers.peers import Peer, respond
from tests.support import ROOT, require
from tests.support.forms import BUILD, SAVED, require_form
from tests.tables.hostile_http import HEALTHY

_ZONES = re.compile(r"mmap\(0x1(0[ef]|1[0-7])[0-9a-f]{6}, ")
"""A system call that makes room for a chunk: an address as in constants.py."""
_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN = 65, 1
_MIB = 1 << 20


@pytest.fixture(autouse=True)
def saved() -> None:
    require_form(SAVED)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_service() as number:
        yield number


def run(
    *args: str, prefix: tuple[str, ...] = (), prepare: Callable[[], object] | None = None
) -> tuple[int, str, str]:
    """Return exit code and output of the executable, which `prepare` is called before."""
    done = subprocess.run(
        [*prefix, *SAVED.argv, *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=prepare,
    )
    return done.returncode, done.stdout, done.stderr


def unpacked(tmp_path: Path, *args: str, signals: str = "--default-signal") -> int:
    """Return how many chunks a check unpacks, started with these signals."""
    require(shutil.which("strace"), "no strace")
    log = tmp_path / "strace.log"
    tools = ("env", signals, "strace", "-f", "-e", "trace=mmap", "-o", str(log))
    run(*args, prefix=tools)
    return len(_ZONES.findall(log.read_text()))


@pytest.fixture(scope="module")
def help_text() -> str:
    require_form(SAVED)
    code, text, error = run("--help")
    assert (code, error) == (0, "")
    return text


@pytest.mark.parametrize("signals", ["--default-signal", "--ignore-signal=INT"])
def test_a_plain_check_unpacks_nothing(port: int, tmp_path: Path, signals: str) -> None:
    """Unlike one that is hardly ever made; SIGINT is ignored in the background of a script."""
    assert unpacked(tmp_path, "--timeout", "30s", "--port", str(port), signals=signals) == 0
    assert unpacked(tmp_path, "--help") > 2


def test_a_usual_server_costs_no_chunk(port: int, tmp_path: Path) -> None:
    """The servers are real ones, which the build's layout does not know."""

    def of(*args: str) -> int:
        return unpacked(tmp_path, "--timeout", "30s", *args)

    servicer = health.HealthServicer()
    with grpc_server(servicer) as served:
        servicer.set("stopped", health_pb2.HealthCheckResponse.NOT_SERVING)
        servicer.set("served", health_pb2.HealthCheckResponse.SERVING)
        assert of(f"grpc://127.0.0.1:{served}") == 0
        assert of(f"grpc://127.0.0.1:{served}/served") == 0
        assert of(f"grpc://127.0.0.1:{served}/stopped") <= 3
        assert of(f"grpc://127.0.0.1:{served}/unknown") <= 5
    assert of(f"http://localhost:{port}/health") == 0
    assert of("--host", "127.0.0.1", "--port", str(port)) == 0
    until_the_end = respond(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)
    with Peer(until_the_end) as peer:
        assert of("--port", str(peer.port)) == 0
    error_page = respond(b"HTTP/1.0 503 Error\r\n\r\n" + b"<html>" * 100)
    with Peer(error_page) as peer:
        assert of("--port", str(peer.port), "--path", "/v2.0/health") == 0
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with authority.cert_pem.tempfile() as ca, Peer(respond(HEALTHY), context=context) as peer:
        assert of("--cacert", ca, f"https://127.0.0.1:{peer.port}") == 0


def test_few_chunks_are_unpacked_when_a_check_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    assert unpacked(tmp_path, "--timeout", "30s", "--port", str(closed)) <= 2
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert unpacked(tmp_path, "--timeout", "500ms", "--port", str(port)) <= 4


@pytest.mark.parametrize("disposition", [signal.SIG_IGN, signal.SIG_DFL])
def test_the_parent_ignores_or_blocks_faults(disposition: signal.Handlers, help_text: str) -> None:
    def prepare() -> None:
        signal.signal(signal.SIGSEGV, disposition)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSEGV})

    assert run("--help", prepare=prepare) == (0, help_text, "")


def test_a_fault_that_is_sent_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen([*SAVED.argv, "--timeout", "60s", target]) as process:
            peer, _ = silent.accept()
            with peer:
                process.send_signal(signal.SIGSEGV)
                assert process.wait(30) == -signal.SIGSEGV


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_without_memory_it_says_so(kind: int) -> None:
    """Whatever the limit is: it works, or prints one line. With less the kernel starts nothing."""
    outcomes = set()
    for limit in range(_MIB, 24 * _MIB, _MIB // 4):

        def prepare(limit: int = limit) -> None:
            resource.setrlimit(kind, (limit, limit))

        code, text, error = run("--help", prepare=prepare)
        if code < 0 and not text:  # the kernel could not map the program
            continue
        assert code in (0, 1)
        assert error.count("\n") == code, error
        outcomes.add((code, error))
    assert (0, "") in outcomes
    assert (1, "healthchecker: out of memory\n") in outcomes


def test_memory_may_not_become_code(help_text: str) -> None:
    """Like with systemd's MemoryDenyWriteExecute."""
    prctl = ctypes.CDLL(None).prctl
    probe = f"import ctypes; print(ctypes.CDLL(None).prctl({_PR_SET_MDWE}, 1, 0, 0, 0))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    require(done.stdout == "0\n", "a kernel before 6.3")

    def prepare() -> None:
        prctl(_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)

    assert run("--help", prepare=prepare) == (0, help_text, "")


DENY = (sys.executable, str(ROOT / "tests/programs/seccomp.py"), "ENOSYS", "mremap")


@pytest.mark.parametrize("prefix", [(), DENY], ids=["", "without mremap"])
def test_threads_touch_the_same_chunks(port: int, prefix: tuple[str, ...]) -> None:
    """Each start unpacks the chunks again, while several threads wait for the same one."""
    schemes = ("http", "redis", "grpc", "https")
    targets = [f"{scheme}://127.0.0.1:{port}/" for scheme in schemes] * 3
    reasons = ["unexpected_status", "invalid_response", "invalid_response", "tls_failure"] * 3
    for _ in range(20):
        code, _, error = run("--timeout", "30s", *targets, prefix=prefix)
        assert code == 1
        assert [line.split(": ")[2] for line in error.splitlines()] == reasons


def test_a_block_grows_without_mremap() -> None:
    """That of the body, which is looked at up to 256 KiB."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 200003\r\n\r\n"
    with Peer(respond(head + b"x" * 200_000 + b"end")) as peer:
        command = ("--timeout", "30s", "--expect-body", "end", peer.url())
        assert run(*command, prefix=DENY) == (0, "", "")


def test_a_small_stack(help_text: str) -> None:
    limit = 128 * 1024

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (limit, limit))

    assert run("--help", prepare=prepare) == (0, help_text, "")


# ---- buffers that a system call would be the first to access


@pytest.fixture(scope="module")
def making_immortal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile what saves objects into a program that does so with those of an expression."""
    require_form(SAVED)
    sources = ["heap/tested/refused.c", "heap/build/objects.c"]
    python = BUILD / "python"
    libraries = [str(BUILD / "link/config.o"), str(python / "libpython3.13.a")]
    libraries += map(str, python.glob("Modules/_hacl/*.a"))
    libraries += [f"-L{BUILD / 'openssl/lib'}", "-lssl", "-lcrypto", f"-L{BUILD / 'zlib/lib'}"]
    folder = tmp_path_factory.mktemp("refused")
    return compiled(folder, "refused", sources, *libraries, "-lz")


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("b'x'", ""),
        ("bytearray()", ""),
        ("bytearray(b'x')", "bytearray"),
        ("open('/dev/null', 'rb')", "_io.BufferedReader"),
        ("open('/dev/null', 'wb')", ""),
        ("{'name': [bytearray(b'x')]}", "bytearray"),
        (r"'\xe9\xe8'", ""),
        # An argument in C is kept with its encoded form.
        (r"[text for text in ['\xe9\xe8'] if 'x'.encode('ascii', text)]", "str"),
    ],
)
def test_no_buffer_of_its_own_is_saved(
    making_immortal: Path, expression: str, refused: str
) -> None:
    done = subprocess.run(
        [making_immortal, expression], capture_output=True, text=True, check=False, timeout=60
    )
    if refused:
        assert done.returncode == -signal.SIGABRT
        assert f"a {refused} would be saved, whose buffer a system call" in done.stderr
    else:
        assert (done.returncode, done.stderr) == (0, "")

"""Protection of the executables from hostile peers and damaged memory, see SECURITY.md."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.binary.test_binary import https_service, segments
from tests.servers.tls import certificate_bomb, server_flight
from tests.support import ROOT, require
from tests.support.forms import (
    BUILD,
    COLD,
    EMULATED,
    EXECUTABLES,
    SAVED,
    Form,
    require_form,
    run,
    undisturbed,
)

_LOAD, _STACK = 1, 0x6474E551
_EXECUTABLE, _WRITABLE = 1, 2
_PR_GET_DUMPABLE = 3
_NO_LONGER = 0.4
_PARTS_WITHIN_THE_LIMIT = 480  # 14 KiB, 28 MiB of memory without any limit
_MIB_KIB = 1024


@pytest.fixture(params=(COLD, SAVED), ids=str)
def executable(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


@pytest.fixture(params=(COLD, SAVED, *EMULATED), ids=str)
def any_executable(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


# ---- a certificate that takes hundreds of megabytes


@pytest.fixture(scope="module")
def bomb() -> Iterator[int]:
    """Yield the port of a server with such a certificate, as large as a handshake may be."""
    flight = server_flight(certificate_bomb(_PARTS_WITHIN_THE_LIMIT))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:  # closed
                    return
                with peer, suppress(OSError):
                    peer.settimeout(60)
                    peer.sendall(flight)
                    while peer.recv(65536):
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.timing
@pytest.mark.parametrize("limit", [0.5, 2.0, 10.0])
def test_a_certificate_takes_neither_time_nor_memory(
    executable: Form, bomb: int, limit: float
) -> None:
    target = f"https://localhost:{bomb}/"
    outcome = undisturbed(lambda: run(executable, ["--timeout", f"{limit}s", target]))
    assert outcome.code == 1
    assert re.fullmatch(f"unhealthy: {target}: (timeout|tls_failure): .*\n", outcome.stderr)
    if executable.starts_at_once:
        assert outcome.seconds - outcome.delayed < limit + _NO_LONGER
    assert outcome.max_rss_kib < 64 * _MIB_KIB


def compiled(tmp_path: Path, name: str, sources: list[str], *options: str) -> Path:
    """Compile a program of the tests with the compiler of the executables."""
    compiler, python, link = BUILD / "musl/bin/musl-cc", BUILD / "python", BUILD / "link"
    for needed in (compiler, python / "pyconfig.h", link / "constants.h"):
        require(needed.exists(), "no build/: run scripts/build-binary")
    includes = [python, python / "source/Include", python / "source/Include/internal", link]
    includes += [ROOT / "binary/heap/product", BUILD / "openssl/include"]
    command: list[str | Path] = [compiler, "-O2", "-DPy_BUILD_CORE"]
    command += [f"-I{folder}" for folder in includes]
    command += ["-o", tmp_path / name, *(ROOT / "binary" / source for source in sources), *options]
    subprocess.run(command, check=True)
    return tmp_path / name


@pytest.fixture(scope="module")
def handshake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a TLS client with guard.c and without the limits in Python."""
    sources = ["program/guard.c", "program/tested/handshake.c"]
    names = ("CTX_new", "do_handshake", "read_ex", "write_ex")
    wrapped = [f"-Wl,--wrap=SSL_{name}" for name in names]
    libraries = [f"-L{BUILD / 'openssl/lib'}", "-lssl", "-lcrypto"]
    folder = tmp_path_factory.mktemp("handshake")
    return compiled(folder, "handshake", sources, *wrapped, *libraries)


def shake_hands(handshake: Path, parts: int, *arguments: str) -> tuple[bool, int]:
    """Return whether OpenSSL was out of memory, and the peak in KiB."""
    flight = server_flight(certificate_bomb(parts))
    command: list[str | Path] = [handshake, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, input=flight, timeout=60)
    is_out_of_memory, peak_kib = map(int, done.stdout.split())
    return bool(is_out_of_memory), peak_kib


def test_openssl_gets_little_memory_for_a_certificate(handshake: Path) -> None:
    _, peak_kib = shake_hands(handshake, 1600)
    assert peak_kib < 32 * _MIB_KIB


def test_openssl_gets_no_memory_when_a_signal_is_pending(handshake: Path) -> None:
    assert shake_hands(handshake, 10, "pending")[0]
    assert not shake_hands(handshake, 10)[0]


# ---- the environment


@pytest.mark.parametrize("value", ["0xffffffffffffffff", "0x0:0x0:0x0", "-1", "~0x0"])
def test_the_environment_does_not_choose_instructions(
    any_executable: Form, value: str, tmp_path: Path
) -> None:
    """OpenSSL would believe the variable and execute instructions that do not exist."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with https_service(authority) as port:
        args = ["--timeout", "30", "--cacert", str(tmp_path / "ca.pem")]
        names = ("ia32cap", "armcap", "ppccap", "riscvcap", "s390xcap")
        variables = {f"OPENSSL_{name}": value for name in names}
        outcome = run(any_executable, [*args, f"https://localhost:{port}/"], env=variables)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


# ---- memory


@contextmanager
def waiting(*command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a check that waits for a response."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(20)
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen([*command, "--timeout", "60", target], **options) as process:  # type: ignore[call-overload]
            peer, _ = silent.accept()
            with peer:
                yield process
                process.kill()


def mappings(form: Form) -> list[tuple[str, str, str]]:
    """Return addresses, rights and names of the memory of a check."""
    with waiting(*form.argv) as process:
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    fields = [line.split(maxsplit=5) for line in lines]
    return [(line[0], line[1], line[5] if len(line) > 5 else "") for line in fields]


def test_new_memory_is_at_a_random_address() -> None:
    require_form(SAVED)
    randomized = Path("/proc/sys/kernel/randomize_va_space").read_text().strip()
    require(randomized == "2", "addresses are not randomized here")
    places = []
    for _ in range(4):
        found = mappings(SAVED)
        # Above everything with a fixed address; the stack has a name.
        anonymous = [where for where, rights, name in found if rights == "rw-p" and not name]
        places.append([where for where in anonymous if int(where.split("-")[0], 16) > 1 << 40])
    assert all(places)
    assert not set.intersection(*map(set, places))


def test_no_memory_can_be_written_and_executed(executable: Form) -> None:
    assert not [line for line in mappings(executable) if "w" in line[1] and "x" in line[1]]


@pytest.mark.parametrize("machine", EXECUTABLES)
def test_what_openssl_finds_out_about_the_processor_is_not_saved(machine: str) -> None:
    """Its variables must stay out of those that saved.lds puts together, by the names of files."""
    for form in EXECUTABLES[machine]:
        require_form(form)
    file = ROOT / "build" / machine / "link/warm.symbols"
    nm = shutil.which("nm")
    require(nm, "no nm")
    require(file.exists(), "no build/: run scripts/build-binary")
    listed = subprocess.run([str(nm), file], check=True, capture_output=True, text=True).stdout
    places = {line.split()[-1]: int(line.split()[0], 16) for line in listed.splitlines()}
    saved = range(places["__start_saved_data"], places["__stop_saved_data"])
    assert places["default_RAND_meth"] in saved
    features = [name for name in places if re.fullmatch(r"OPENSSL_\w+cap_P", name)]
    assert features
    assert not [name for name in features if places[name] in saved]


@pytest.mark.parametrize("form", [form for pair in EXECUTABLES.values() for form in pair], ids=str)
def test_only_code_is_executable(form: Form) -> None:
    require_form(form)
    content = Path(form.argv[-1]).read_bytes()
    executable = []
    for kind, flags, offset, _, _, size, *_ in segments(content):
        assert not (flags & _WRITABLE and flags & _EXECUTABLE)
        assert kind != _STACK or not flags & _EXECUTABLE
        if kind == _LOAD and flags & _EXECUTABLE:
            executable.append(content[offset : offset + size])
    (code,) = executable
    for constant in (b"\x7fELF", b"self-signed certificate"):
        assert constant in content
        assert constant not in code


def dumps_core(process: subprocess.Popen[bytes]) -> bool:
    process.send_signal(signal.SIGSEGV)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGSEGV
    return os.WCOREDUMP(status)


def test_no_core_is_dumped(executable: Form, tmp_path: Path) -> None:
    """It would contain the credentials of the check."""
    unlimited = (str(shutil.which("prlimit")), "--core=unlimited")
    with waiting(*unlimited, sys.executable, "-m", "healthchecker", cwd=tmp_path) as process:
        require(dumps_core(process), "no core files are written here")
    with waiting(*unlimited, *executable.argv, cwd=tmp_path) as process:
        assert not dumps_core(process)


def test_a_command_that_is_waited_for_can_be_dumped(executable: Form, tmp_path: Path) -> None:
    """It is another program."""
    print_it = f"import ctypes; print(ctypes.CDLL(None).prctl({_PR_GET_DUMPABLE}))"
    assert ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE) == 1
    command = [sys.executable, "-c", print_it]
    (tmp_path / "there").touch()
    outcome = run(executable, ["wait", f"file://{tmp_path}/there", "--", *command])
    assert outcome.stdout == "1\n"


@pytest.fixture(scope="module")
def misuse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the allocator into a program that misuses it."""
    sources = ["heap/tested/damage.c", "heap/product/allocator.c"]
    folder = tmp_path_factory.mktemp("damage")
    return compiled(folder, "damage", sources, "-Wl,--wrap=pthread_create")


def test_memory_as_it_should_be_used(misuse: Path) -> None:
    subprocess.run([misuse, "as it should"], check=True)


@pytest.mark.parametrize(
    "way",
    [
        "freed twice",
        "freed twice, large",
        "freed, then resized",
        "written past its end",
        "written to when freed",
        "never allocated",
    ],
)
def test_damaged_memory_ends_the_process(misuse: Path, way: str) -> None:
    done = subprocess.run([misuse, way], check=False)
    assert -done.returncode in (signal.SIGILL, signal.SIGTRAP, signal.SIGSEGV)


def test_all_code_protects_its_stack() -> None:
    """Functions with arrays call this one if the word behind them has changed."""
    nm, symbols = shutil.which("nm"), BUILD / "link/warm.symbols"
    require(nm, "no nm")
    require(symbols.exists(), "no build/: run scripts/build-binary")
    done = subprocess.run([str(nm), symbols], check=True, capture_output=True, text=True)
    assert " __stack_chk_fail\n" in done.stdout

"""The executables: their files, their system calls, and their environments."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import trustme

from healthchecker._cli.main import main
from scripts.benchmarks.instructions import (
    MANY_VARIABLES,
    MAX_INSTRUCTIONS,
    MAX_WITH_VARIABLES,
    MAX_WRITTEN_PAGES,
    instructions,
    written_pages,
)
from scripts.benchmarks.turns import Program
from tests.servers.http import http_service
from tests.servers.peers import Peer, respond
from tests.support import LOADED, ROOT, require
from tests.support.forms import (
    BUILD,
    COLD,
    EMULATED,
    EXECUTABLES,
    GUARDED,
    LEFT_OUT,
    MACHINE,
    OTHERS,
    SAVED,
    Form,
    Outcome,
    require_form,
    run,
)
from tests.tables.hostile_http import HEALTHY

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # kinds of ELF segments
_ELF_64, _ARM = 2, 40
# By ELF's numbers of machines.
_LARGEST_PAGE = {21: 65536, 22: 4096, _ARM: 4096, 62: 4096, 183: 65536, 243: 4096}
_LOWEST_END = {1: 1 << 30, 2: 1 << 38}  # by class: a kernel that leaves 1 GiB of 4, and Sv39
_MIB = 1 << 20

# Files that a start may read: time zone and lookup of names.
_MAY_BE_READ = re.compile(r"/etc/(localtime|hosts|resolv\.conf|nsswitch\.conf)|/proc/self/.*")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http_service() as number:
        yield number


@pytest.fixture(params=(COLD, SAVED), ids=lambda form: form.name)
def executable(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


def strace(form: Form, tmp_path: Path, *args: str, code: int = 0) -> list[str]:
    """Return the system calls of one check, which must end with `code`."""
    require(shutil.which("strace"), "no strace")
    log = tmp_path / "strace.log"
    command = ["strace", "-f", "-xx", "-o", str(log), *form.argv, *args]
    assert subprocess.run(command, check=False, timeout=20 * LOADED).returncode == code
    return log.read_text().splitlines()


def unescaped(text: str) -> str:
    return re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), text)


def check(form: Form, port: int, prefix: str = "") -> Outcome:
    """Check a healthy server, started by the command `prefix`."""
    program, *words = prefix.split() or ["env"]
    path = shutil.which(program)
    require(path, f"no {program}")
    args = ["--timeout=30s", "--port", str(port)]
    return run(form, args, prefix=(str(path), *words), timeout=60)


# ---- the files


@pytest.fixture(params=[form for pair in EXECUTABLES.values() for form in pair], ids=str)
def content(request: pytest.FixtureRequest) -> bytes:
    """Yield the executables for each machine."""
    require_form(request.param)
    return Path(request.param.argv[-1]).read_bytes()


def fields(content: bytes, kinds: str, at: int) -> tuple[int, ...]:
    """Return numbers of an ELF file, in the order of bytes that it has."""
    return struct.unpack_from({1: "<", 2: ">"}[content[5]] + kinds, content, at)


def segments(content: bytes) -> Iterator[tuple[int, ...]]:
    """Yield the program headers: kind, flags, offset, two addresses, two sizes, alignment."""
    if content[4] == _ELF_64:
        (table,) = fields(content, "Q", 32)
        size, count = fields(content, "HH", 54)
        for at in range(table, table + count * size, size):
            yield fields(content, "IIQQQQQQ", at)
    else:
        (table,) = fields(content, "I", 28)
        size, count = fields(content, "HH", 42)
        for at in range(table, table + count * size, size):
            kind, *places, flags, alignment = fields(content, "IIIIIIII", at)
            offset, address, physical, in_file, in_memory = places
            yield kind, flags, offset, address, physical, in_file, in_memory, alignment


def test_static(content: bytes) -> None:
    assert content.startswith(b"\x7fELF")
    (machine,) = fields(content, "H", 18)
    assert (content[4] == _ELF_64) == (machine != _ARM)
    assert not {kind for kind, *_ in segments(content)} & {_INTERPRETER, _DYNAMIC}


def test_no_page_belongs_to_two_segments(content: bytes) -> None:
    """Of any size: the kernel maps whole pages."""
    (machine,) = fields(content, "H", 18)
    largest = _LARGEST_PAGE[machine]
    ends = []
    for kind, _, offset, address, _, _, size, alignment in sorted(segments(content)):
        if kind == _LOAD:
            assert alignment % largest == 0
            assert (address - offset) % largest == 0
            ends.append((address // largest, (address + size - 1) // largest))
    ends.sort()
    assert all(one[1] < other[0] for one, other in pairwise(ends))


def test_all_addresses_exist_in_every_kernel(content: bytes) -> None:
    """Also where a kernel of 32 bits leaves 1, 2 or 3 GiB to a process."""
    loaded = [one for one in segments(content) if one[0] == _LOAD]
    end = max(address + size for _, _, _, address, _, _, size, _ in loaded)
    assert end < _LOWEST_END[content[4]]


def test_nothing_of_the_build_machine_is_inside(content: bytes) -> None:
    texts = [str(ROOT), str(Path.home()) + "/", sys.prefix, socket.gethostname(), getpass.getuser()]
    texts += [f"{name}={value}" for name, value in os.environ.items() if len(value) > 1]
    found = [
        text
        for text in texts
        for encoding in ("utf-8", "utf-32-le", "utf-32-be")
        # "root" or "vm" is in every program.
        if len(text) > 5 and text.encode(encoding, "surrogateescape") in content
    ]
    assert not found


# ---- a start


def test_one_process_and_no_file_written(executable: Form, port: int, tmp_path: Path) -> None:
    calls = strace(executable, tmp_path, "--port", str(port))
    names = [match[1] for call in calls if (match := re.match(r"\d+ +(\w+)\(", call))]
    assert names.count("execve") == 1
    assert not {"fork", "vfork", "clone", "clone3"} & set(names)
    assert not {"creat", "mkdir", "mknod", "rename", "unlink", "symlink", "link"} & set(names)
    opened = [call for call in calls if re.match(r"\d+ +open(at)?\(", call)]
    assert not [call for call in opened if re.search(r"O_(WRONLY|RDWR|CREAT|TMPFILE)", call)]
    paths = {unescaped(match[1]) for call in opened if (match := re.search(r'"([^"]*)"', call))}
    allowed = {executable.argv[0], str(Path(executable.argv[0]).parent)}
    assert not {path for path in paths - allowed if not _MAY_BE_READ.fullmatch(path)}


def test_the_saved_heap_imports_nothing(port: int, tmp_path: Path) -> None:
    require_form(SAVED)
    calls = strace(SAVED, tmp_path, "--port", str(port))
    opened = [unescaped(call) for call in calls if re.match(r"\d+ +open(at)?\(", call)]
    assert not opened


def test_random_numbers_differ_between_starts(executable: Form, tmp_path: Path) -> None:
    """DNS query ids come from `SystemRandom`, like all random numbers of the program.

    `secrets` uses it, and `uuid4` the same system call.

    Two ids of 16 bits are drawn before anything is sent, so no name server is needed.
    """
    drawn = []
    for _ in range(2):
        calls = strace(executable, tmp_path, "-q", "http://no-such-host.invalid/", code=1)
        found = [re.search(r'getrandom\("(.*)", 2, 0\) += 2$', call) for call in calls]
        drawn.append([match[1] for match in found if match])
    assert all(len(ids) >= 2 for ids in drawn)
    assert drawn[0][:2] != drawn[1][:2]


def random_parts(hello: bytes) -> Iterator[bytes]:
    """Yield the random fields of a ClientHello: its random, its session and each shared key."""
    assert hello[0] == 22  # a handshake
    yield hello[11:43]
    at = 44 + hello[43]
    yield hello[44:at]
    at += 2 + int.from_bytes(hello[at : at + 2])  # ciphers
    at += 1 + hello[at] + 2  # methods of compression
    while at < len(hello):
        kind, size = struct.unpack_from("!HH", hello, at)
        at += 4 + size
        if kind == 51:  # key_share
            share = at - size + 2
            while share < at:
                length = int.from_bytes(hello[share + 2 : share + 4])
                share += 4 + length
                key = hello[share - length : share]
                yield from {key[:32], key[-32:]}  # of ML-KEM and of X25519


@pytest.mark.parametrize("form", [COLD, SAVED, *EMULATED], ids=str)
def test_what_is_random_in_tls_differs_between_starts_and_connections(form: Form) -> None:
    """The saved heap has what OpenSSL sets up, and nothing of its random number generators."""
    require_form(form)
    found: list[bytes] = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(60)
            target = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            command = [*form.argv, "-q", "--timeout", "50", target, f"{target}again"]
            with subprocess.Popen(command) as process:
                for _ in range(2):
                    peer, _ = listener.accept()
                    with peer:
                        peer.settimeout(60)
                        found += random_parts(peer.recv(4096))
                process.wait(60)
    assert len(found) == 4 * (2 + 3)
    assert len(set(found)) == len(found)


def test_environment_and_directory_are_those_of_the_start(
    executable: Form, port: int, tmp_path: Path
) -> None:
    environment = {"HEALTHCHECKER_PORT": str(port), "HEALTHCHECKER_VERBOSE": "1"}
    assert run(executable, [], env=environment).stdout.startswith("healthy: http://127.0.0.1:")
    with http_service(unix_socket=tmp_path / "s"):
        outcome = run(
            executable, ["--unix-socket", "s"], prefix=("/usr/bin/env", "-C", str(tmp_path))
        )
    assert outcome.code == 0


def test_arguments_that_are_not_utf_8(executable: Form, port: int) -> None:
    outcome = run(executable, ["--port", str(port), "--expect-body", b"\xff\xfe"])
    assert outcome.code == 1
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anything_else_ends_it(executable: Form, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with subprocess.Popen([*executable.argv, "--timeout", "60", target]) as process:
            peer, _ = silent.accept()
            with peer:
                process.send_signal(number)
                assert process.wait(5 * LOADED) != 0


# ---- environments


@pytest.mark.parametrize(
    "prefix",
    [
        f"prlimit --as={256 * _MIB}",
        f"prlimit --stack={256 * 1024}",
        "prlimit --stack=unlimited",
        "prlimit --nofile=8 --core=0 --nproc=1000",
        "setarch x86_64 -R",
        "setarch x86_64 -R -L",
        "setarch x86_64 -X",
        "env -i",
        "env --ignore-signal=INT",
        "env -i TZ=Pacific/Kiritimati LANG=tr_TR.ISO-8859-9 LC_ALL=zh_CN.GBK",
        "env -i PYTHONHOME=/ PYTHONPATH=/ PYTHONINSPECT=1 PYTHONMALLOC=debug LD_PRELOAD=/none",
        "env -i _PYI_PARENT_PROCESS_LEVEL=9 _PYI_ARCHIVE_FILE=/none",
    ],
)
def test_surroundings(executable: Form, port: int, prefix: str) -> None:
    permitted = subprocess.run([*prefix.split(), "true"], capture_output=True, check=False)
    require(permitted.returncode == 0, f"{prefix}: not permitted here")
    outcome = check(executable, port, prefix)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["healthchecker", "check", "click"])
def test_under_any_name(executable: Form, port: int, name: str, tmp_path: Path) -> None:
    """Also by the name of a package in it, beside a file of that name, and by PATH."""
    shutil.copy(executable.argv[0], tmp_path / name)
    (tmp_path / "httpx").touch()
    prefix = ("/usr/bin/env", "-C", str(tmp_path), f"PATH={tmp_path}:{os.environ['PATH']}")
    for path in (str(tmp_path / name), f"./{name}", name):
        command = [*prefix, path, "--port", str(port)]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=20 * LOADED
        )
        assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def https_service(authority: trustme.CA) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            listener.settimeout(60)
            peer, _ = listener.accept()
            with context.wrap_socket(peer, server_side=True) as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("model", ["qemu64", "core2duo", "max"])
def test_on_other_processors(executable: Form, port: int, model: str, tmp_path: Path) -> None:
    name = "qemu-x86_64" if shutil.which("qemu-x86_64") else "qemu-x86_64-static"
    outcome = check(executable, port, f"{name} -cpu {model}")
    assert (outcome.code, outcome.stderr) == (0, "")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with https_service(authority) as tls_port:
        target = f"https://localhost:{tls_port}/"
        args = ["--timeout", "30", "--cacert", str(tmp_path / "ca.pem"), target]
        prefix = (str(shutil.which(name)), "-cpu", model)
        outcome = run(executable, args, prefix=prefix, timeout=60)
    assert (outcome.code, outcome.stderr) == (0, "")


def test_killed_at_any_moment_it_leaves_nothing(executable: Form, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        for number in range(200):
            environment = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
            with subprocess.Popen(
                [*executable.argv, "--timeout=60s", target], cwd=tmp_path, env=environment
            ) as process:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(number / 20_000)  # 50 µs later each time
                process.kill()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "machine",
    [MACHINE, *(pytest.param(name, marks=pytest.mark.nightly) for name in OTHERS)],
)
def test_two_builds_are_equal(machine: str, tmp_path: Path) -> None:
    """Also in another folder, and with another environment.

    Libraries and CPython are compiled only once, which takes minutes.
    """
    for form in EXECUTABLES[machine]:
        require_form(form)
    place, made = tmp_path / "a build in another place" / machine, ROOT / "build" / machine
    place.mkdir(parents=True)
    compiled = ("musl", "zlib", "openssl", "python", "linked", "../packages", "../tools")
    for name in (*compiled, *(() if machine == MACHINE else (f"../{MACHINE}",))):
        (place / name).symlink_to((made / name).resolve())
    for script in ("program/link.sh", "program/pyinstaller.sh", "heap/build/save.sh"):
        subprocess.run(
            [str(ROOT / "binary" / script), str(place)],
            check=True,
            env={**os.environ, "LANG": "tr_TR.UTF-8", "ANOTHER": "variable"},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )
    for name, form in zip(("cold", "saved"), EXECUTABLES[machine], strict=True):
        assert (place / "work" / name).read_bytes() == Path(form.argv[-1]).read_bytes(), name


def test_the_environment_of_the_saved_run_is_empty() -> None:
    require_form(SAVED)
    command = [str(BUILD / "work/warm"), "/dev/null", "/dev/null", "/dev/null", "0"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={"A": "1"})
    assert done.returncode != 0
    assert "a non-empty environment" in done.stderr


def test_thousands_of_starts() -> None:
    require_form(SAVED)
    command = [sys.executable, "scripts/soak", "5000", SAVED.argv[0]]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def plain_check(port: int) -> Program:
    require(shutil.which("valgrind"), "no valgrind")
    require_form(SAVED)
    return Program("healthchecker", "http", (SAVED.argv[0], "--port", str(port)))


def test_a_check_takes_few_instructions() -> None:
    """On a busy machine, times do not show that a start got slower."""
    with Peer(respond(HEALTHY)) as peer:  # in one piece, with few headers
        plain = plain_check(peer.port)
        count = instructions(plain)
        crowded = instructions(replace(plain, environment=MANY_VARIABLES))
    assert count <= MAX_INSTRUCTIONS
    assert crowded <= MAX_WITH_VARIABLES * count


def test_a_check_writes_to_few_pages(port: int) -> None:
    assert written_pages(plain_check(port)) <= MAX_WRITTEN_PAGES


# ---- the build


def test_a_function_that_is_left_out_and_called_is_found(tmp_path: Path) -> None:
    """The tests of the guarded form can fail: this list contains a function of every check."""
    require_form(GUARDED)
    called = f"healthchecker._cli.main:main:{main.__code__.co_firstlineno}"
    left_out = tmp_path / "left-out.txt"
    left_out.write_text(LEFT_OUT.read_text() + called)
    guarded = replace(GUARDED, argv=(*GUARDED.argv[:-1], str(left_out)))
    outcome = run(guarded, ["--port", "1"])
    assert outcome.code not in (0, 1)
    assert outcome.stderr == f"left out of the saved heap, but called: {called}\n"


def test_a_module_that_is_missing_fails_the_build(tmp_path: Path) -> None:
    """Late and optional imports are also found."""
    python = BUILD / "python/python"
    require(python.exists(), "no build/: run scripts/build-binary")
    package = tmp_path / "healthchecker"
    shutil.copytree(ROOT / "healthchecker", package)
    with (package / "_protocols/tcp.py").open("a") as file:
        file.write("\n\ndef late() -> None:\n    import turtle\n")
    script, build = ROOT / "binary/program/imported.py", ROOT / "binary/heap/build"
    paths = [ROOT / "build/packages", BUILD / "linked", tmp_path, build]
    command = [str(python), "-I", "-S", "-B", str(script), *map(str, paths)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "not in the executable: turtle, by healthchecker._protocols.tcp\n"


def test_an_executable_above_its_limit_fails_the_build(tmp_path: Path) -> None:
    require((BUILD / "work/saved").exists(), "no build/: run scripts/build-binary")
    heap, file = ROOT / "binary/heap", tmp_path / "healthchecker"
    program = heap / "build/write_executable.py"
    arguments = (BUILD / "link/warm", BUILD / "work/memory", file, BUILD / "link/compress")
    done = subprocess.run(
        [sys.executable, "-B", program, *arguments, "1000000"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(heap)},
    )
    assert done.returncode == 1
    assert done.stderr.endswith(" bytes, more than 1,000,000\n")
    assert not file.exists()


def test_sizes_add_up() -> None:
    """The sizes of the parts add up to about the size of the executable."""
    executable = BUILD / "work/saved"
    require(executable.exists(), "no build/: run scripts/build-binary")
    heap = ROOT / "binary/heap"
    done = subprocess.run(
        [sys.executable, ROOT / "binary/program/size.py", BUILD],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{heap}:{heap / 'build'}"},
    )
    total, plain, program, saved = (
        int(re.findall(rf"^{name}: ([0-9,]+)", done.stdout, re.MULTILINE)[0].replace(",", ""))
        for name in ("healthchecker", "without compression", "program", "heap")
    )
    assert total == executable.stat().st_size
    assert plain - _MIB / 2 < program + saved < plain

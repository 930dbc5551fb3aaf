"""pid:// targets: processes that are running, have ended, are zombies, or have a reused id."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from healthchecker import Reason, check
from healthchecker._protocols import pid as pid_module
from healthchecker._protocols.pid import boot_time, parse_pid
from healthchecker._values.result import ProbeFailure
from tests.support import poll, require, stat_fields
from tests.support.forms import Form, run

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has pidfds and /proc/PID/stat"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pid"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_alive(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert (found["healthy"], found["detail"]) == (True, f"process {process.pid} is running")


def test_ended(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    process.kill()
    process.wait()
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert (found["reason"], found["detail"]) == (
        "missing",
        f"process {process.pid} is not running",
    )


@linux_only
def test_zombie(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    process.kill()
    poll(lambda: _state(process.pid) == "Z", timeout=5, what="it is a zombie")
    assert run(form, [f"pid://{file}", "--output=json"]).check["reason"] == "missing"


def _state(pid: int) -> str:
    return stat_fields(Path(f"/proc/{pid}/stat"))[0]


@linux_only
def test_id_of_another_process(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    written = time.time() - 60
    os.utime(file, times=(0, written))
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert found["reason"] == "stale"
    assert found["detail"] == (
        f"process id {process.pid} has been reused: process {process.pid} started after the file "
        "was written"
    )


@linux_only
def test_clock_stepped_forward(
    file: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    # A container has a /proc of its own, as old as its process 1.
    init_started = int(stat_fields(Path("/proc/1/stat"))[19]) / os.sysconf("SC_CLK_TCK")
    mounted = Path("/proc").stat().st_mtime - init_started
    file.write_text(f"{process.pid}\n")
    # As by a clock that has not been stepped since /proc was mounted, and then is, by an hour.
    os.utime(file, times=(0, mounted + uptime))
    stepped = type("SteppedClock", (), {"__getattr__": lambda _, name: getattr(time, name)})()
    stepped.time = lambda: mounted + uptime + 3600
    monkeypatch.setattr(pid_module, "time", stepped)
    assert check(f"pid://{file}")


@pytest.mark.parametrize(
    ("written", "boot", "mounted_boot", "expected"),
    [
        (1000.0, 500.0, 500.0, 500.0),  # no step
        (1000.0, 4100.0, 500.0, 500.0),  # written before a step forward by an hour
        (4700.0, 4100.0, 500.0, 4100.0),  # written after it
        (1000.0, 100.0, 500.0, 100.0),  # a step back, or /proc mounted long after process 1
    ],
)
def test_boot_time(written: float, boot: float, mounted_boot: float, expected: float) -> None:
    assert boot_time(written, 1000.0, boot, mounted_boot) == expected


@linux_only
def test_id_of_a_thread(file: Path) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    try:
        file.write_text(f"{thread.native_id}\n")
        assert check(f"pid://{file}").reason is Reason.MISSING
    finally:
        ended.set()
        thread.join()


def test_process_of_another_user(form: Form, file: Path) -> None:
    # Ours, seen by a user who may not signal it; or process 1, which is not ours.
    is_root = os.geteuid() == 0
    file.write_text(f"{os.getpid() if is_root else 1}\n")
    assert check(f"pid://{file}")
    if is_root and form.name != "python":  # another user may not read this Python
        for directory in file.parents[:4]:
            directory.chmod(0o755)
        setpriv = (str(shutil.which("setpriv")), "--reuid=65534", "--clear-groups")
        assert run(form, [f"pid://{file}"], prefix=setpriv).code == 0


@linux_only
def test_without_proc(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    unshare = shutil.which("unshare")
    require(
        unshare and subprocess.run([unshare, "-m", "true"], check=False).returncode == 0,
        "no mount namespace can be made: needs unshare and root",
    )
    script = 'mount -t tmpfs none /proc && exec "$@"'
    prefix = (str(unshare), "-m", "/bin/sh", "-c", script, "sh")
    file.write_text(f"{process.pid}\n")
    assert run(form, [f"pid://{file}"], prefix=prefix).code == 0
    os.utime(file, times=(0, 0))
    assert run(form, [f"pid://{file}"], prefix=prefix).code == 0  # its start time is unknown
    process.kill()
    poll(lambda: _state(process.pid) == "Z", timeout=5, what="it is a zombie")
    assert run(form, [f"pid://{file}"], prefix=prefix).code == 1


@linux_only
def test_without_descriptors_of_processes(
    file: Path, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    file.write_text(f"{process.pid}\n")
    assert check(f"pid://{file}")
    process.kill()
    process.wait()
    assert check(f"pid://{file}").reason is Reason.MISSING


def test_no_number(form: Form, file: Path) -> None:
    file.write_text("nginx\n")
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert (found["reason"], found["detail"]) == (
        "invalid_response",
        "the file does not start with a process id",
    )


def test_no_file(form: Form, file: Path) -> None:
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert (found["reason"], found["detail"]) == ("missing", "No such file or directory")
    assert check(f"pid://{file.parent}").reason is Reason.MISSING


@pytest.mark.parametrize(
    ("content", "pid"),
    [
        (b"1", 1),
        (b"123\n", 123),
        (b"  123 \r\n", 123),
        (b"00123\n", 123),
        (b"4194304\n", 4194304),
        (b"123\n/var/lib/postgresql/data\n1700000000\n5432\n", 123),
    ],
)
def test_ids(content: bytes, pid: int) -> None:
    assert parse_pid(content) == pid


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"0", b"-1", b"+1", b"1.5", b"0x10", b"12 34", b"4194305", b"9" * 5000, b"\xff",
     "\u0661".encode(), b"\n123"],
)  # fmt: skip
def test_no_ids(content: bytes) -> None:
    with pytest.raises(ProbeFailure, match="not start with"):
        parse_pid(content)

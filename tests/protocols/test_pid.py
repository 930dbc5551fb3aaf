"""pid:// targets: processes that live, have ended, are zombies, or got the id of another one."""

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
from healthchecker._protocols.pid import parse_pid
from healthchecker._values.result import ProbeFailure
from tests.support import poll, require
from tests.support.forms import Form, run

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells more of processes")


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
    assert (found["healthy"], found["detail"]) == (True, f"process {process.pid} lives")


def test_ended(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    process.kill()
    process.wait()
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert (found["reason"], found["detail"]) == ("missing", f"no process {process.pid}")


@linux_only
def test_zombie(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    process.kill()
    poll(lambda: _state(process.pid) == "Z", timeout=5, what="it is a zombie")
    assert run(form, [f"pid://{file}", "--output=json"]).check["reason"] == "missing"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@linux_only
def test_id_of_another_process(form: Form, file: Path, process: subprocess.Popen[bytes]) -> None:
    file.write_text(f"{process.pid}\n")
    written = time.time() - 60
    os.utime(file, times=(0, written))
    found = run(form, [f"pid://{file}", "--output=json"]).check
    assert found["reason"] == "stale"
    assert f"process {process.pid} is another one: it was started " in found["detail"]


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
    # Ours, seen by one who may not send it a signal; or the first one, which is not ours.
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
    assert run(form, [f"pid://{file}"], prefix=prefix).code == 0  # nobody tells when it started
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
        "the file holds no process id",
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
    with pytest.raises(ProbeFailure, match="no process id"):
        parse_pid(content)

"""file:// targets: existence, age, content, and file systems that hang."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from healthchecker import BadArgumentError, CheckResult, Reason, check
from healthchecker._net.deadline import Cancel, Cancelled
from healthchecker._protocols.registry import make_prober, parse_target
from healthchecker._values.expect.body import MAX_BODY_BYTES
from healthchecker._values.options import make_options
from tests.servers.hanging import hanging_file_system
from tests.support import open_files, poll
from tests.support.forms import Form, run, undisturbed

GRACE = 0.15


@pytest.fixture
def beat(tmp_path: Path) -> Path:
    path = tmp_path / "a heart ü"
    path.write_text("beats\n")
    return path


def set_age(path: Path, seconds: float) -> None:
    os.utime(path, times=(0, time.time() - seconds))


def verdict(result: CheckResult) -> tuple[Reason, str]:
    return result.reason, result.detail


def test_there(form: Form, beat: Path) -> None:
    outcome = run(form, [f"file://{beat}", "--verbose"])
    assert outcome.code == 0
    age = re.search(r": last modified (\d+\.\d) s ago ", outcome.stdout)
    assert age, outcome
    assert float(age[1]) <= time.time() - beat.stat().st_mtime + 0.1
    assert run(form, [f"file://localhost{beat}"]).code == 0
    assert run(form, [f"file:{beat}"]).code == 0


def test_not_there(form: Form, tmp_path: Path) -> None:
    found = run(form, [f"file://{tmp_path}/none", "--output=json"]).check
    assert (found["reason"], found["detail"]) == ("missing", "No such file or directory")


def test_max_age(form: Form, beat: Path) -> None:
    set_age(beat, 100)
    assert run(form, [f"file://{beat}", "--max-age=2m"]).code == 0
    outcome = run(form, [f"file://{beat}", "--max-age=90s"])
    assert outcome.code == 1
    modified = datetime.fromtimestamp(int(beat.stat().st_mtime), UTC)
    when = modified.isoformat().replace("+00:00", "Z")
    assert f": stale: last modified {when}, more than 90 s ago" in outcome.stderr
    assert run(form, [f"file://{beat}", "--max-age=90s"]).stderr == outcome.stderr
    beat.touch()
    assert run(form, [f"file://{beat}", "--max-age=90s"]).code == 0


def test_max_age_of_many_days(form: Form, beat: Path) -> None:
    set_age(beat, 6 * 86400)
    assert run(form, [f"file://{beat}", "--max-age=7d"]).code == 0
    assert "stale" in run(form, [f"file://{beat}", "--max-age=5d"]).stderr


def test_clock_that_was_set_back(beat: Path) -> None:
    set_age(beat, -5)
    assert check(f"file://{beat}", max_age=10)
    set_age(beat, -3600)
    result = check(f"file://{beat}", max_age=10)
    assert result.reason is Reason.STALE
    assert result.detail.endswith(", more than 10 s in the future")
    assert check(f"file://{beat}")


def test_expected_body(form: Form, beat: Path) -> None:
    both = ["--expect-body=beats", "--expect-body=eat"]
    assert run(form, [f"file://{beat}", *both]).code == 0
    found = run(form, [f"file://{beat}", *both, "--expect-body=stops", "--output=json"]).check
    assert (found["reason"], found["detail"]) == ("unexpected_body", "no 'stops' in the file")


def test_long_file(beat: Path) -> None:
    beat.write_bytes(b"x" * MAX_BODY_BYTES + b"end")
    assert check(f"file://{beat}", expect_body="x")
    result = check(f"file://{beat}", expect_body="end")
    assert verdict(result) == (
        Reason.UNEXPECTED_BODY,
        f"no 'end' in the first {MAX_BODY_BYTES} bytes of the file",
    )


def test_file_that_arrives_in_parts() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert check(f"file:///proc/{process.pid}/smaps", expect_body="[stack]")
        process.kill()


def test_links(tmp_path: Path, beat: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(beat)
    assert check(f"file://{link}", expect_body="beats")
    beat.unlink()
    assert verdict(check(f"file://{link}")) == (Reason.MISSING, "No such file or directory")
    link.unlink()
    link.symlink_to(link)
    assert check(f"file://{link}").reason is Reason.MISSING


@pytest.mark.parametrize("options", [{}, {"expect_body": "x"}])
def test_other_than_regular_file(tmp_path: Path, options: dict[str, str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path, what in {
            tmp_path: "a directory",
            tmp_path / "fifo": "a FIFO",
            tmp_path / "socket": "a socket",
            Path("/dev/zero"): "a device",
        }.items():
            result = check(f"file://{path}", timeout=10, **options)  # type: ignore[arg-type]
            assert verdict(result) == (Reason.MISSING, f"is {what}, not a regular file")


def test_unreadable_file(open_directory: Path) -> None:
    path = open_directory / "beat"
    path.write_text("beats")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        assert check(f"file://{path}")
        result = check(f"file://{path}", expect_body="beats")
    finally:
        os.seteuid(user)
    assert verdict(result) == (Reason.MISSING, "Permission denied")


def test_path_below_a_file(beat: Path) -> None:
    assert verdict(check(f"file://{beat}/x")) == (Reason.MISSING, "Not a directory")


def test_characters_of_urls(tmp_path: Path) -> None:
    (tmp_path / "50%?#").touch()
    assert check(f"file://{tmp_path}/50%25%3F%23")
    for path in ("50%25?#", "50%25%3F#"):
        with pytest.raises(BadArgumentError, match="no query or fragment"):
            check(f"file://{tmp_path}/{path}")


@pytest.mark.parametrize(
    "target", ["file://host/path", "file:path", "file:///a%00b", "file:@name", "pid:path"]
)
def test_unusable_targets(target: str) -> None:
    with pytest.raises(BadArgumentError, match="target"):
        check(target)


def test_options_of_others(form: Form, beat: Path) -> None:
    assert "--max-age" in run(form, ["tcp://127.0.0.1:1", "--max-age=1s"]).stderr
    assert "--status" in run(form, [f"file://{beat}", "--status=204"]).stderr


# A file system that hangs


@pytest.mark.timing
@pytest.mark.parametrize("scheme", ["file", "pid"])
def test_deadline_holds(form: Form, tmp_path: Path, scheme: str) -> None:
    with hanging_file_system(tmp_path):
        target = f"{scheme}://{tmp_path}/beat"
        outcome = undisturbed(lambda: run(form, [target, "--timeout=300ms", "--output=json"]))
    found = outcome.check
    assert (found["reason"], found["detail"]) == ("timeout", "timed out after 300 ms")
    assert found["elapsed_ms"] < (0.3 + GRACE) * 1000
    if form.starts_at_once:
        assert outcome.seconds < 0.3 + GRACE


def test_one_thread_at_most_hangs_and_ends_with_the_call(tmp_path: Path) -> None:
    files, threads = open_files(), set(threading.enumerate())
    prober = make_prober(parse_target(f"file://{tmp_path}/beat"), make_options())
    with hanging_file_system(tmp_path) as fail:
        for _ in range(5):
            assert prober.probe(0.1).reason is Reason.TIMEOUT
        assert len(set(threading.enumerate()) - threads) == 1
        fail()
        assert prober.probe(5).reason is Reason.MISSING
    poll(lambda: threads.issuperset(threading.enumerate()), timeout=5, what="the thread has ended")
    assert open_files() <= files
    (tmp_path / "beat").touch()
    assert prober.probe(5)


def test_late_result_is_not_reused(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    prober = make_prober(parse_target(f"file://{tmp_path}/beat"), make_options())
    with hanging_file_system(tmp_path) as fail:
        assert prober.probe(0.1).reason is Reason.TIMEOUT
        fail()
    poll(lambda: threads.issuperset(threading.enumerate()), timeout=5, what="the thread has ended")
    (tmp_path / "beat").touch()
    assert prober.probe(5)


def test_cancel(tmp_path: Path) -> None:
    prober = make_prober(parse_target(f"file://{tmp_path}/beat"), make_options())
    with hanging_file_system(tmp_path), Cancel() as cancel:
        timer = threading.Timer(0.1, cancel.set)
        timer.start()
        start = time.monotonic()
        with pytest.raises(Cancelled):
            prober.probe(10, cancel)
        assert time.monotonic() - start < 5
        timer.join()


def test_without_threads(beat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert check(f"file://{beat}")
    assert check(f"file://{beat}/x").reason is Reason.MISSING


def test_no_thread_or_descriptor_is_left(beat: Path) -> None:
    files, threads = open_files(), threading.active_count()
    for _ in range(50):
        assert check(f"file://{beat}", expect_body="beats")
        assert not check(f"file://{beat}x", expect_body="beats")
    assert open_files() <= files
    assert threading.active_count() <= threads

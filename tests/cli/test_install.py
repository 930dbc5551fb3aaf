"""`healthchecker install`: the executable copies itself."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require
from tests.support.forms import COLD, PYTHON, SAVED, Form, require_form, run

_AS_FROZEN = "import sys; sys.frozen = True; from healthchecker.__main__ import run; run()"
FROZEN = dataclasses.replace(PYTHON, argv=(sys.executable, "-c", _AS_FROZEN))
"""The Python form, which takes its interpreter for the executable: it needs no build."""


@pytest.fixture(params=(FROZEN, COLD, SAVED), ids=lambda form: form.name)
def executable(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


@pytest.fixture(params=(COLD, SAVED), ids=lambda form: form.name)
def built(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


def is_copy(path: Path, form: Form) -> bool:
    return path.read_bytes() == Path(form.argv[0]).read_bytes()


def test_into_a_directory(executable: Form, tmp_path: Path) -> None:
    outcome = run(executable, ["install", str(tmp_path)])
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")
    assert is_copy(tmp_path / "healthchecker", executable)
    assert [path.name for path in tmp_path.iterdir()] == ["healthchecker"]


def test_the_copy_works_and_copies_itself(built: Form, tmp_path: Path) -> None:
    assert run(built, ["install", str(tmp_path / "first")]).code == 0
    subprocess.run([tmp_path / "first", "install", tmp_path / "second"], check=True)
    assert is_copy(tmp_path / "second", built)


def test_everybody_may_run_it_whatever_the_umask(executable: Form, tmp_path: Path) -> None:
    command = [
        "sh",
        "-c",
        'umask 077 && exec "$@"',
        "sh",
        *executable.argv,
        "install",
        str(tmp_path),
    ]
    subprocess.run(command, check=True)
    assert (tmp_path / "healthchecker").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("length", [200, 250, 255])
def test_a_long_name(executable: Form, length: int, tmp_path: Path) -> None:
    name = "x" * length
    assert run(executable, ["install", str(tmp_path / name)]).code == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_several_at_once_and_after_one_that_was_killed(executable: Form, tmp_path: Path) -> None:
    """Each has process id 1, as in init containers that share a volume."""
    for name in (".healthchecker.1", ".healthchecker", ".healthchecker-0"):
        (tmp_path / name).write_bytes(b"half a file")
    isolated = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    tried = subprocess.run([*isolated, "true"], capture_output=True, check=False)
    require(tried.returncode == 0, "no process namespace can be made: needs unshare and root")
    command = [*isolated, *executable.argv, "install", str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(6)]
    assert [one.wait(60) for one in running] == [0] * 6
    assert is_copy(tmp_path / "healthchecker", executable)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_runs_meanwhile_is_replaced(executable: Form, tmp_path: Path) -> None:
    place = tmp_path / "healthchecker"
    place.write_bytes(b"something else")
    before = place.open("rb")
    with before:
        assert run(executable, ["install", str(place)]).code == 0
        assert before.read() == b"something else"
    assert is_copy(place, executable)


_UNSHARE = ("unshare", "--mount", "--map-root-user")


@pytest.fixture(scope="module")
def own_mounts() -> None:
    """Require that a program can have mounts of its own."""
    done = subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True)
    require(done.returncode == 0, "no mount namespace can be made")


def install_without_proc(
    executable: Form, command: str, place: Path
) -> subprocess.CompletedProcess[str]:
    """Install with a shell's command, in which $0 is the executable, $1 the place."""
    path = f'PATH="$PATH:{Path(executable.argv[0]).parent}"'
    script = f"mount -t tmpfs none /proc && {path} && exec {command}"
    argv = [*_UNSHARE, "sh", "-c", script, executable.argv[0], str(place)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("own_mounts")
def test_without_proc(built: Form, tmp_path: Path) -> None:
    done = install_without_proc(built, '"$0" install "$1"', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_copy(tmp_path / "healthchecker", built)


@pytest.mark.usefixtures("own_mounts")
def test_without_proc_it_cannot_find_itself_on_the_path(built: Form, tmp_path: Path) -> None:
    done = install_without_proc(built, f'{Path(built.argv[0]).name} install "$1"', tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    expected = "cannot be located without /proc; run it by its full path, such as /healthchecker\n"
    assert done.stderr.startswith("healthchecker: usage_error: ")
    assert done.stderr.endswith(expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("", "DEST: '': is empty; name a directory or a file"),
        ("missing/healthchecker", "no such directory; create it first"),
        ("missing/", "no such directory; create it first"),
        ("file/healthchecker", "no such directory; create it first"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_where_it_cannot(executable: Form, place: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    destination = str(tmp_path / place) + "/" * place.endswith("/") if place else ""
    outcome = run(executable, ["install", destination])
    assert outcome.code == 1
    assert outcome.stderr.startswith("healthchecker: usage_error: DEST: ")
    assert outcome.stderr.endswith(f"{problem}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("own_mounts")
def test_a_full_disk_leaves_nothing_behind(built: Form, tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$1" || exit 9; "$0" install "$1"; echo $?; ls -A "$1"'
    argv = [*_UNSHARE, "sh", "-c", script, built.argv[0], str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert done.stderr.endswith("cannot be written: No space left on device\n")


def test_a_directory_that_may_not_be_written(built: Form, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path(built.argv[0]).read_bytes())
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    prefix = as_nobody if os.geteuid() == 0 else []
    # From within the directory: the user nobody: may not reach it from outside.
    script = 'cd "$1" && shift && exec "$@" ./program install .'
    command = ["sh", "-c", script, "sh", str(tmp_path), *(prefix or ["env"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("cannot be written: Permission denied\n"), done.stderr


def test_python_has_nothing_to_install(tmp_path: Path) -> None:
    outcome = run(PYTHON, ["install", str(tmp_path)])
    assert outcome.code == 1
    assert "only the static executable can install itself; run that instead" in outcome.stderr
    assert not list(tmp_path.iterdir())

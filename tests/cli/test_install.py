"""`healthchecker install`: the executable puts a copy of itself where it is told to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.forms import COLD, PYTHON, SAVED, Form, require_form, run


@pytest.fixture(params=(COLD, SAVED), ids=lambda form: form.name)
def executable(request: pytest.FixtureRequest) -> Form:
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


def test_the_copy_works_and_copies_itself(executable: Form, tmp_path: Path) -> None:
    assert run(executable, ["install", str(tmp_path / "first")]).code == 0
    subprocess.run([tmp_path / "first", "install", tmp_path / "second"], check=True)
    assert is_copy(tmp_path / "second", executable)


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


def test_what_runs_meanwhile_is_replaced(executable: Form, tmp_path: Path) -> None:
    place = tmp_path / "healthchecker"
    place.write_bytes(b"something else")
    before = place.open("rb")
    with before:
        assert run(executable, ["install", str(place)]).code == 0
        assert before.read() == b"something else"
    assert is_copy(place, executable)


def install_without_proc(
    executable: Form, command: str, place: Path
) -> subprocess.CompletedProcess[str]:
    """Install with a shell's command, in which $0 is the executable, $1 the place."""
    path = f'PATH="$PATH:{Path(executable.argv[0]).parent}"'
    script = f"mount -t tmpfs none /proc && {path} && exec {command}"
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    return subprocess.run(
        [*unshare, executable.argv[0], place], capture_output=True, text=True, check=False
    )


def test_without_proc(executable: Form, tmp_path: Path) -> None:
    done = install_without_proc(executable, '"$0" install "$1"', tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert is_copy(tmp_path / "healthchecker", executable)


def test_without_proc_it_cannot_find_itself_on_the_path(executable: Form, tmp_path: Path) -> None:
    done = install_without_proc(
        executable, f'{Path(executable.argv[0]).name} install "$1"', tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "")
    said = "cannot be found; without /proc, start it by its path, such as /healthchecker\n"
    assert done.stderr.startswith("healthchecker: usage_error: ")
    assert done.stderr.endswith(said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("missing/healthchecker", "there is no such directory; make it first"),
        ("missing/", "there is no such directory; make it first"),
        ("file/healthchecker", "there is no such directory; make it first"),
        ("x" * 300, "cannot be written: File name too long"),
    ],
)
def test_where_it_cannot(executable: Form, place: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = run(executable, ["install", str(tmp_path / place) + "/" * place.endswith("/")])
    assert outcome.code == 1
    assert outcome.stderr.startswith("healthchecker: usage_error: DEST: ")
    assert outcome.stderr.endswith(f"{problem}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_nothing_behind(executable: Form, tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$1" || exit 9; "$0" install "$1"; echo $?; ls -A "$1"'
    unshare = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
    done = subprocess.run(
        [*unshare, executable.argv[0], tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert done.stderr.endswith("cannot be written: No space left on device\n")


def test_a_directory_that_may_not_be_written(executable: Form, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path(executable.argv[0]).read_bytes())
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    prefix = as_nobody if os.geteuid() == 0 else []
    # From within the directory, to which nobody may have no way from outside.
    script = 'cd "$1" && shift && exec "$@" ./program install .'
    command = ["sh", "-c", script, "sh", str(tmp_path), *(prefix or ["env"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("cannot be written: Permission denied\n"), done.stderr


def test_python_has_nothing_to_install(tmp_path: Path) -> None:
    outcome = run(PYTHON, ["install", str(tmp_path)])
    assert outcome.code == 1
    assert "only the executable can be installed" in outcome.stderr
    assert not list(tmp_path.iterdir())

"""What all scripts have in common: usage, progress, locks, and the commands that pages show."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support import LOADED, ROOT

SCRIPTS = [file for file in sorted((ROOT / "scripts").iterdir()) if os.access(file, os.X_OK)]
SCRIPTS = [file for file in SCRIPTS if file.is_file()]
SILENCE = 2.0
"""For at most how many seconds a script may print nothing."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the scripts, and the few files that they read; nothing is set up or built there."""
    place = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts", place / "scripts", ignore=ignored)
    (place / "healthchecker").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "healthchecker/_version.py"):
        shutil.copy(ROOT / name, place / name)
    return place


def without_settings() -> dict[str, str]:
    """Return the environment without the variables with which the tests themselves were started."""
    return {
        name: value for name, value in os.environ.items() if name not in ("VENV", "PYTHON", "SETUP")
    }


def script(
    tree: Path, name: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tree / "scripts" / name), *arguments],
        env={**without_settings(), **(env or {})},
        cwd=tree.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * LOADED,
    )


def program(folder: Path, name: str, text: str) -> Path:
    """Write a program of the shell."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


def contents(tree: Path) -> set[Path]:
    return set(tree.rglob("*"))


# ---- usage


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("name", [file.name for file in SCRIPTS])
def test_each_script_prints_its_usage_and_does_nothing(tree: Path, name: str, option: str) -> None:
    before = contents(tree)
    done = script(tree, name, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(rf"^ +scripts/{name}\b", done.stdout, re.MULTILINE)
    assert "set -euo pipefail" not in done.stdout
    assert contents(tree) == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("bench", []),
        ("bench", ["nothing"]),
        ("build-binary", ["--nonsense"]),
        ("build-binary", ["--machine"]),
        ("build-binary", ["--machine", "vax"]),
        ("build-images", ["--nonsense"]),
        ("demo", ["--nonsense"]),
        ("deploy-swarm", ["--nonsense"]),
        ("engine", []),
        ("engine", ["nothing"]),
        ("fuzz", ["--sanitize", "--tls"]),
        ("generate-proto", ["/nonexistent"]),
        ("kernel", ["nothing"]),
        ("release", ["--nonsense"]),
        ("setup", ["--nonsense"]),
        ("soak", ["0"]),
        ("soak", ["many"]),
        ("source-key", ["--nonsense"]),
        ("terminal-picture", ["--nonsense"]),
        ("test", ["tests/nothing.py"]),
    ],
)
def test_a_mistake_is_named_with_the_usage(tree: Path, name: str, arguments: list[str]) -> None:
    before = contents(tree)
    done = script(tree, name, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"usage: scripts/{name}" in done.stderr
    assert done.stderr.count("[") == done.stderr.count("]")  # lines that continue are there
    assert len(done.stderr.splitlines()) < 6
    assert contents(tree) == before


# ---- what is missing


@pytest.mark.parametrize("name", ["soak", "build-images", "terminal-picture"])
def test_a_missing_executable_is_named(tree: Path, tmp_path: Path, name: str) -> None:
    ready = tmp_path / "ready"
    program(tree / "scripts", "setup", "exit 0")
    done = script(tree, name, env={"VENV": str(ready)})
    assert done.returncode == 1
    assert re.search(r"there is no executable|there is no dist/", done.stderr)
    assert "scripts/build-binary" in done.stderr
    assert "Traceback" not in done.stderr


FORBIDDEN = 'echo "permission denied while trying to connect to the Docker daemon" >&2; exit 1'
NOT_RUNNING = (
    'echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1'
)


@pytest.mark.parametrize("name", ["build-images", "deploy-swarm", "demo"])
@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (FORBIDDEN, "a Docker engine runs, but you may not use it: "),
        (NOT_RUNNING, "no Docker engine runs: run scripts/engine start"),
    ],
)
def test_an_engine_that_cannot_be_used(
    tree: Path, tmp_path: Path, name: str, engine: str, message: str
) -> None:
    program(tmp_path / "bin", "docker", engine)
    program((tree / "dist" / os.uname().machine).parent, os.uname().machine, "").unlink()
    program(tree / "dist" / os.uname().machine, "healthchecker", "exit 0")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    arguments = ["--binary"] if name == "demo" else []
    done = script(tree, name, *arguments, env={"PATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith(f"scripts/{name}: {message}")


def in_shell(tree: Path, command: str, *, env: Mapping[str, str] | None = None) -> str:
    """Run a command with the functions of the scripts; return what it writes to both outputs."""
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n. scripts/common.sh\n{command}"],
        env={**os.environ, **(env or {})},
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=20 * LOADED,
    )
    return f"{done.stdout}exit code {done.returncode}\n"


def test_all_missing_packages_are_named_at_once(tree: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "id", "echo 1000")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    assert in_shell(tree, "install_packages scripts/x one two", env={"PATH": path}) == (
        "scripts/x: missing packages: run  sudo apt-get update && sudo apt-get install one two  "
        "and start again\nexit code 1\n"
    )


def test_the_lock_of_apt_is_waited_for(tree: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "id", "echo 0")
    program(
        tmp_path / "bin",
        "apt-get",
        f"""echo "$@" >>{tmp_path}/calls
        if [ "$1" = update ] && [ ! -e {tmp_path}/locked ]; then
            touch {tmp_path}/locked
            echo "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7" >&2
            exit 100
        fi""",
    )
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    shown = in_shell(tree, "install_packages scripts/x one", env={"PATH": path})
    assert shown.endswith("exit code 0\n")
    update, again, install = (tmp_path / "calls").read_text().splitlines()
    assert update == again == "update -qq"
    assert "-o DPkg::Lock::Timeout=600 install" in install


NO_NETWORK = (
    "WARNING: Retrying (Retry(total=4, connect=None)) after connection broken by "
    "'NewConnectionError: [Errno -3] Temporary failure in name resolution': /simple/ruff/"
)
NO_VERSION = "ERROR: No matching distribution found for ruff==99"
CONFLICT = (
    "ERROR: Cannot install ruff==1 and ruff==2, which the dependency resolver cannot resolve."
)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (NO_NETWORK, "no connection to the package server; is this machine online?"),
        (NO_VERSION, NO_VERSION),
        (CONFLICT, CONFLICT),
    ],
)
def test_no_network_is_one_plain_sentence(
    tree: Path, tmp_path: Path, log: str, sentence: str
) -> None:
    pip = program(tmp_path, "pip", f'cat <<"E"\n{log}\nnote: see above\nE\nexit 1')
    python = program(
        tmp_path / "bin",
        "python",
        f"""case "$*" in
        *--clear*) mkdir -p "${{@: -1}}/bin" && ln -s {pip} "${{@: -1}}/bin/pip" ;;
        esac""",
    )
    done = script(tree, "setup", env={"VENV": str(tmp_path / "venv"), "PYTHON": str(python)})
    assert done.returncode == 1
    assert done.stderr.endswith(f"scripts/setup: cannot install the packages: {sentence}\n")


# ---- progress


def silences(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> tuple[float, str]:
    """Run a command; return for how long it printed nothing at most, and its output."""
    with subprocess.Popen(
        command, env=dict(env), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout
        longest, before, output = 0.0, time.monotonic(), b""
        while chunk := os.read(process.stdout.fileno(), 65536):
            now = time.monotonic()
            longest, before = max(longest, now - before), now
            output += chunk
    return longest, output.decode()


def test_a_slow_command_is_never_silent(tree: Path) -> None:
    command = ". scripts/common.sh; progress 'compiling (1 of 2)' sleep 5"
    longest, output = silences(["bash", "-c", command], os.environ, tree)
    assert re.fullmatch(r"compiling \(1 of 2\) \.+ \d+ s\n", output)
    assert longest < SILENCE * 2  # a loaded machine may delay a dot


def test_a_command_that_fails_shows_its_output(tree: Path) -> None:
    shown = in_shell(tree, "progress compiling bash -c 'echo no such file; exit 3'")
    assert shown.endswith(" s\nno such file\nexit code 3\n")


@pytest.mark.parametrize(
    "line",
    [
        "E: Failed to fetch http://deb.debian.org/x  Temporary failure resolving 'deb.debian.org'",
        "E: Failed to fetch http://deb.debian.org/x  Could not connect to deb.debian.org:80",
        "pip: Failed to resolve 'pypi.org' ([Errno -2] Name or service not known)",
        "wget: unable to resolve host address 'deb.debian.org'",
    ],
)
def test_a_command_without_a_network_shows_a_sentence_only(tree: Path, line: str) -> None:
    failing = f'progress fetching bash -c "echo \\"{line}\\"; echo resolve it; exit 3"'
    shown = in_shell(tree, f'{failing} || fail scripts/x "$PROGRESS_WHY"')
    sentence = "no connection to the package server; is this machine online?"
    assert re.fullmatch(
        rf"fetching \.* \d+ s\nscripts/x: {re.escape(sentence)}\nexit code 1\n", shown
    )


def test_setup_runs_once_at_a_time(tree: Path, tmp_path: Path) -> None:
    """The second one waits, and then finds the environment ready."""
    python = program(
        tmp_path / "bin",
        "python",
        f"""case "$*" in
        -VV) echo Python 3 ;;
        *--clear*)
            echo made >>{tmp_path}/made
            mkdir -p "${{@: -1}}/bin"
            ln -s /bin/true "${{@: -1}}/bin/pip"
            sleep 2.5 ;;
        esac""",
    )
    env = {**without_settings(), "PYTHON": str(python), "VENV": str(tmp_path / "venv")}
    found: list[tuple[float, str]] = []

    def run() -> None:
        found.append(silences([str(tree / "scripts/setup")], env, tree))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "made").read_text() == "made\n"
    assert any("another one is at work" in output for _, output in found)
    assert any("virtual environment (1 of 2" in output for _, output in found)
    assert silences([str(tree / "scripts/setup")], env, tree)[1] == ""


# ---- staleness


def test_the_source_key_depends_on_contents_only(tree: Path) -> None:
    for name in ("healthchecker", "binary"):
        (tree / name).mkdir(exist_ok=True)
        (tree / name / "module.py").write_text("1")
    (tree / "LICENSE").write_text("MIT")
    key = script(tree, "source-key").stdout
    assert re.fullmatch(r"[0-9a-f]{64}\n", key)
    os.utime(tree / "healthchecker/module.py", (0, 0))
    (tree / "binary/README.md").write_text("a page")
    assert script(tree, "source-key").stdout == key
    (tree / "healthchecker/module.py").write_text("2")
    assert script(tree, "source-key").stdout != key


# ---- scripts/test


def test_the_tests_of_a_file_are_run_alone() -> None:
    env = {**os.environ, "VENV": sys.prefix, "SETUP": "skip"}
    done = subprocess.run(
        [str(ROOT / "scripts/test"), "tests/run/test_attempts.py", "-q", "--collect-only"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * LOADED,
    )
    assert done.returncode == 0, done.stderr
    tests = [line for line in done.stdout.splitlines() if "::" in line]
    assert tests
    assert all(line.startswith("tests/run/test_attempts.py::") for line in tests)
    assert "coverage" not in done.stdout


# ---- the commands that pages show


def shown_commands() -> dict[str, str]:
    """Return the commands of scripts on all pages, and a page for each."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {}
    for page in listed.stdout.split():
        text = (ROOT / page).read_text().replace("\\\n", "")
        for inline, line in re.findall(
            r"`(scripts/[^`\n]+)`|^(?:#?   +)?(?:[A-Z_]+=\S+ )?(scripts/\S.*?)(?: +#.*)?$",
            text,
            re.MULTILINE,
        ):
            command = " ".join((inline or line).split())
            if (ROOT / command.split()[0]).is_file():
                found[command] = page
    return found


CI = (ROOT / ".ci/run").read_text().splitlines()
EACH_NIGHT = [
    line.partition("run: scripts/in-debian ")[2]
    for line in (ROOT / ".github/workflows/nightly.yml").read_text().splitlines()
]
RUN_BY = {
    "scripts/bench process": "tests/scripts/test_commands.py",
    "scripts/bench watch": "tests/scripts/test_commands.py",
    "scripts/build-binary": CI,
    "scripts/build-binary --size": "tests/scripts/test_commands.py",
    "scripts/build-binary --versions": "tests/scripts/test_commands.py",
    "scripts/build-images": CI,
    "scripts/demo": CI,
    "scripts/deploy-swarm": "tests/images/test_deploy.py",
    "scripts/engine start": CI,
    "scripts/fuzz": "tests/scripts/test_commands.py",
    "scripts/fuzz --sanitize": EACH_NIGHT,
    "scripts/fuzz --tls": "tests/scripts/test_commands.py",
    "scripts/fuzz cli": "tests/scripts/test_commands.py",
    "scripts/generate-proto": "tests/accountservice/test_accountservice_grpc.py",
    "scripts/in-debian": "tests/release/test_verify.py",
    "scripts/kernel": CI,
    "scripts/push-images": "tests/release/test_verify.py",
    "scripts/release": "tests/release/test_release.py",
    "scripts/sign-release": "tests/release/test_verify.py",
    "scripts/setup": "tests/scripts/test_scripts.py",
    "scripts/soak": "tests/binary/test_binary.py",
    "scripts/source-key": "tests/scripts/test_scripts.py",
    "scripts/stress": EACH_NIGHT,
    "scripts/style": "tests/scripts/test_style.py",
    "scripts/terminal-picture": "tests/scripts/test_commands.py",
    "scripts/test": CI,
    "scripts/verify-release": "tests/release/test_verify.py",
}
"""Where a command is run, by how it begins: a file of tests, or lines of .ci/run or a workflow."""


@pytest.mark.parametrize("command", RUN_BY)
def test_each_command_is_run(command: str) -> None:
    place = RUN_BY[command]
    if isinstance(place, str):
        words = command.replace("scripts/", "").split()
        text = (ROOT / place).read_text()
        assert all(re.search(rf"\b{re.escape(word.lstrip('-'))}\b", text) for word in words)
    else:
        assert any(line.strip().startswith(command) for line in place)


def test_each_command_on_a_page_is_one_that_is_run() -> None:
    commands = shown_commands()
    assert len(commands) > 10
    unknown = {
        command: page
        for command, page in commands.items()
        if not any(f"{command} ".startswith(f"{start} ") for start in RUN_BY)
    }
    assert unknown == {}


def test_each_script_is_run() -> None:
    assert {command.split()[0] for command in RUN_BY} == {f"scripts/{one.name}" for one in SCRIPTS}

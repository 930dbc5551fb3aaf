"""The forms of the program, and the one way to run any of them and observe it."""

from __future__ import annotations

import json
import math
import os
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from release.facts import ARCHITECTURES
from tests.support import LOADED, REQUIRE_ALL, ROOT, SANITIZED, SLOWNESS, STRESS, require

_STALL = 0.02
_ATTEMPTS = 5

_PROGRAMS = ROOT / "tests/programs"


class Zygote:
    """An interpreter that has imported a program and runs it in forks; see `zygote`."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start it with `argv` and the number of a descriptor."""
        self._channel, theirs = socket.socketpair()
        environment = without_variables()
        environment.pop("COVERAGE_PROCESS_CONFIG", None)  # each run has its own
        with theirs:
            descriptor = theirs.fileno()
            self._process = subprocess.Popen(
                [*argv, str(descriptor)],
                pass_fds=(descriptor,),
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End it; current runs continue."""
        self._channel.close()
        self._process.wait()

    def start(
        self,
        args: Sequence[str | bytes],
        *,
        env: Mapping[str, str],
        stdout: int,
        stderr: int,
        timeout: float = math.inf,
    ) -> Fork:
        """Start a run in the current directory; it is killed after `timeout` seconds."""
        request = {
            "args": [os.fsdecode(arg) for arg in args],
            "env": dict(env),
            "cwd": str(Path.cwd()),
            "timeout": timeout,
        }
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._channel, [b" "], [stdout, stderr, theirs.fileno()])
        ours.sendall(json.dumps(request).encode() + b"\n")
        return Fork(ours)

    def run(
        self, args: Sequence[str | bytes], env: Mapping[str, str], timeout: float
    ) -> tuple[dict[str, Any], bytes, bytes]:
        """Run the program; return the report of `launch`, standard output and standard error."""
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        fork = self.start(args, env=env, stdout=out_write, stderr=err_write, timeout=timeout)
        os.close(out_write)
        os.close(err_write)
        stdout, stderr = _read_all(out, err)
        return fork.report(), stdout, stderr


class Fork:
    """A run of a program, with a part of the interface of `subprocess.Popen`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._lines = channel.makefile("rb", buffering=0)  # `wait` polls the socket
        self.pid = int(self._lines.readline())
        self.returncode: int | None = None

    def report(self) -> dict[str, Any]:
        """Wait for its end; return the report of `launch`."""
        report: dict[str, Any] = json.loads(self._lines.readline())
        self._lines.close()
        self._channel.close()
        self.returncode = report["code"]
        return report

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._channel], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.report()
        assert self.returncode is not None
        return self.returncode

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _read_all(*descriptors: int) -> list[bytes]:
    """Read several pipes to their ends concurrently, and close them."""
    data = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for fd in descriptors:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 65536)
                data[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return list(data.values())


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the program. All of them must behave the same."""

    name: str
    argv: tuple[str, ...]
    max_rss_kib: int
    """The limit of memory for every check."""
    starts_at_once: bool
    """Whether the start is short enough to count against the timeout."""
    slowness: int = 1
    """How many times as long as the others it may take."""
    zygote: Zygote | None = field(default=None, compare=False)
    """Runs the program in forks; without it, `argv` is started."""

    def __str__(self) -> str:
        return self.name

    @property
    def started(self) -> Form:
        """The same form, with a process started for each run: for tests of the start."""
        return replace(self, zygote=None)


MACHINE = os.uname().machine
BUILD, DIST = (ROOT / folder / MACHINE for folder in ("build", "dist"))
"""The results of `scripts/build-binary` for this machine."""
STRESSED = ROOT / "dist/stressed"
"""The result of `scripts/stress`: an executable that unpacks nearly everything in each check."""
PYTHON = Form("python", (sys.executable, "-m", "healthchecker"), 60_000_000 // 1024, False)
if SANITIZED:
    PYTHON = replace(PYTHON, max_rss_kib=1 << 20, slowness=SLOWNESS)
COLD = Form("cold", (str(DIST / "healthchecker-cold"),), 32 * 1024, False)
SAVED = Form("saved", (str(DIST / "healthchecker"),), 32 * 1024, True)
if STRESS:
    SAVED = replace(SAVED, argv=(str(STRESSED / "healthchecker"),), starts_at_once=False)
_QEMU_NAMES = {"armv7l": "arm"}
_OTHERS = sorted({*ARCHITECTURES} - {MACHINE})
OTHERS = [name for name in _OTHERS if (ROOT / "dist" / name / "healthchecker").exists()]
"""The other machines for which executables are built here; their forms are emulated."""
NOT_BUILT = [name for name in _OTHERS if name not in OTHERS]
"""The machines for which none is built: no test requires them."""
_EMULATED_RSS = 256 * 1024  # most of it is the emulator
_EMULATED_SLOWNESS = 40  # QEMU takes 25 times as long, on a machine that does nothing else


def _emulated(form: Form, machine: str) -> Form:
    emulator = f"qemu-{_QEMU_NAMES.get(machine, machine)}"
    program = ROOT / "dist" / machine / Path(form.argv[0]).name
    argv = (shutil.which(emulator) or f"/usr/bin/{emulator}", str(program))
    return Form(f"{form.name}-{machine}", argv, _EMULATED_RSS, False, _EMULATED_SLOWNESS)


EXECUTABLES = {
    MACHINE: (COLD, SAVED),
    **{name: (_emulated(COLD, name), _emulated(SAVED, name)) for name in OTHERS},
}
"""The cold and the saved form for each machine that is built."""
LEFT_OUT = BUILD / "left-out.txt"
"""The functions that are not in the saved heap."""
_GUARDED = (
    *(str(BUILD / "python/python"), "-I", "-S", "-X", "utf8"),
    *("-X", f"pycache_prefix={BUILD}/pycache"),
    "-c",  # not as a script, which CPython opens with the system call ioctl
    f"""__file__ = {str(_PROGRAMS / "guarded.py")!r}
exec(compile(open(__file__).read(), __file__, "exec"))""",
)
GUARDED = Form("guarded", (*_GUARDED, str(LEFT_OUT)), PYTHON.max_rss_kib, False)
"""The Python form, which ends if it calls one of these: the saved form lacks it."""
FORMS = (PYTHON, GUARDED, COLD, SAVED)
EMULATED = tuple(EXECUTABLES[name][1] for name in OTHERS)
"""For tests with the mark `emulated`. A cold form takes more than a second to start there."""
# Python leaves a socket to the garbage collector if it was reset before TLS started.
_STRICT = ("-W", "error", "-W", "ignore:unclosed <ssl.SSLSocket:ResourceWarning")
_ZYGOTES = {
    PYTHON: (sys.executable, *_STRICT, "-m", "tests.programs.zygote", "healthchecker"),
    GUARDED: (*_GUARDED, "--serve", str(LEFT_OUT)),
}


@contextmanager
def forking() -> Iterator[Callable[[Form], Form]]:
    """Yield a function that makes a form run in forks, if it can; each zygote starts once.

    Most tests are not about the start of an interpreter, which takes most of the time.
    """
    with ExitStack() as stack:

        @cache
        def forked(form: Form) -> Form:
            if form not in _ZYGOTES:
                return form
            return replace(form, zygote=stack.enter_context(Zygote(_ZYGOTES[form])))

        yield forked


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one run of the program."""

    code: int
    stdout: str
    stderr: str
    started: float
    """The start of the process, on the clock of `time.monotonic()`, like `ended`."""
    ended: float
    stalled: float
    """The longest time in seconds for which the machine stood still in the meantime."""
    delayed: float
    """For how many seconds the program waited for a processor."""
    max_rss_kib: int
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        """Wall time of the whole process, with its start."""
        return self.ended - self.started

    @property
    def own_seconds(self) -> float:
        """The same without the time for which it waited for a processor: for upper bounds."""
        return self.seconds - self.delayed

    @property
    def check(self) -> dict[str, Any]:
        """The only check in the object that `--output json` printed."""
        (check,) = json.loads(self.stdout)["checks"]
        return dict(check)


@cache
def _source_key() -> str:
    """Return the hash of what the executables are built from."""
    command = [str(ROOT / "scripts/source-key")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def _why_not_built(machine: str, needed: tuple[str, ...]) -> str:
    for path in map(Path, needed):
        if not path.exists():
            if path.is_relative_to(ROOT):
                return f"{path.relative_to(ROOT)} is not built: run scripts/build-binary"
            return f"{path} is not installed"
    key = ROOT / "dist" / machine / "source-key"
    if not key.exists() or key.read_text() != _source_key():
        return f"dist/{machine} was built from another source: run scripts/build-binary"
    return ""


def why_not_built(form: Form) -> str:
    """Return why `form` cannot be run; empty if it can."""
    if form.name == PYTHON.name:
        return ""
    if form.name == GUARDED.name:
        return _why_not_built(BUILD.name, (str(LEFT_OUT), form.argv[0]))
    program = Path(form.argv[-1])
    return _why_not_built(program.parent.name, (str(program), form.argv[0]))


def require_form(form: Form) -> None:
    """Skip (in CI: fail) if `form` is not built, or was built from another source."""
    why_not = why_not_built(form)
    require(not why_not, why_not)


def left_out(form: Form) -> bool:
    """Return whether tests of `form` are not collected; in CI they are, and fail."""
    return bool(why_not_built(form)) and not REQUIRE_ALL


def without_variables() -> dict[str, str]:
    """Return the environment without our own variables."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith("HEALTHCHECKER_")
    }


def run(
    form: Form,
    args: Sequence[str | bytes],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = 20.0,
    stdin: int | None = subprocess.DEVNULL,
    prefix: Sequence[str] = (),
) -> Outcome:
    """Run the program; it must end within `timeout` seconds, slow forms and machines considered.

    `env` is added to the environment, without our own variables; `prefix` is the absolute command
    that starts the program, such as one that puts it into a namespace.
    """
    require_form(form)
    timeout *= form.slowness * LOADED
    environment = {**without_variables(), **_patience(args), **(env or {})}
    if form.zygote is not None and not prefix and stdin == subprocess.DEVNULL:
        facts, *output = form.zygote.run(args, environment, timeout)
    else:
        facts, *output = _launch([*prefix, *form.argv, *args], environment, timeout, stdin)
    out, err = (text.decode("utf-8", "backslashreplace") for text in output)
    assert facts.pop("in_time"), f"still running after {timeout} s; stdout: {out!r} stderr: {err!r}"
    return Outcome(stdout=out, stderr=err, **facts)


def _patience(args: Sequence[str | bytes]) -> dict[str, str]:
    """Return a default of --timeout that a loaded machine does not exceed, for one-time checks.

    Without it, every healthy check would be a test of whether the machine is faster than 2 s.
    """
    given = {os.fsdecode(arg).partition("=")[0] for arg in args}
    return {} if given & {"watch", "--timeout"} else {"HEALTHCHECKER_TIMEOUT": f"{2 * LOADED}s"}


def _launch(
    argv: Sequence[str | bytes], env: Mapping[str, str], timeout: float, stdin: int | None
) -> tuple[dict[str, Any], bytes, bytes]:
    """Run a program; return the report of `launch`, standard output and standard error."""
    launcher_argv = (sys.executable, "-IS", str(_PROGRAMS / "launch.py"))
    report, report_write = os.pipe()
    try:
        with subprocess.Popen(
            [*launcher_argv, str(report_write), str(timeout), *argv],
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(report_write,),
        ) as launcher:
            os.close(report_write)
            stdout, stderr = launcher.communicate()
        with os.fdopen(report, "rb", closefd=False) as file:
            return json.load(file), stdout, stderr
    finally:
        os.close(report)


def undisturbed(attempt: Callable[[], Outcome]) -> Outcome:
    """Run until the machine did not stand still in the meantime, or return the least delayed run.

    `attempt` has to verify everything that does not depend on time: other runs are dropped.
    """
    outcomes = []
    for _ in range(_ATTEMPTS):
        outcome = attempt()
        assert outcome.code in (0, 1), outcome
        if outcome.stalled < _STALL:
            return outcome
        outcomes.append(outcome)
    return min(outcomes, key=lambda outcome: outcome.own_seconds)

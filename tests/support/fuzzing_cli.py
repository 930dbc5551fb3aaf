"""A fuzzer of command lines: all forms of the program say the same, and nothing that is a secret.

Each case is a command line and an environment, made from the seed and its own number alone and then
spoiled as people spoil them: an option mistyped or left out, two words in one argument, quotes
forgotten. A case fails when the forms differ, when a secret shows, when nothing is said about a
failure, or when the output or the exit code is none that may be.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from healthchecker._cli.environment import can_use
from healthchecker._cli.main import cli
from healthchecker._cli.render import MAX_OUTPUT_BYTES
from tests.servers.http import http_service
from tests.support.forms import (
    COLD,
    PYTHON,
    SAVED,
    Zygote,
    forking,
    why_not_built,
    without_variables,
)

SECRET = "Hunter2Secret"
LIMIT = 20.0

_MAX_FAILURES = 10
_ATTEMPTS = 3
"""Of a line whose forms differ: most have a limit, which a machine that stands still exceeds."""
_GOOD = 0.9
_BAD = 0.4
_TIMES = re.compile(r"(\(|elapsed_ms\": )[\d.]+|(phases_ms\": )\{[^}]*\}|\d{4}-\d\d-\d\dT[\d:.]+Z")
_COMMANDS = ("check", "list", "wait")  # `watch` does not end

_GOOD_TARGETS = (
    "http://127.0.0.1:{port}/health",
    "http://127.0.0.1:{port}/status/503",
    "http://127.0.0.1:{port}/redirect/health",
    f"http://me:{SECRET}@127.0.0.1:{{port}}/health",
    "https://127.0.0.1:{closed}/",
    "tcp://127.0.0.1:{port}",
    "grpc://127.0.0.1:{closed}",
    "postgresql://me@127.0.0.1:{closed}/accounts",
    f"redis://:{SECRET}@127.0.0.1:{{port}}",
    "mysql://127.0.0.1:{closed}",
    "amqp://127.0.0.1:{port}",
    "file:///dev/null",
    "pid:///proc/self/stat",
    "unix:{socket}",
)
_TARGETS = (
    *_GOOD_TARGETS,
    f"http://me:{SECRET}@127.0.0.1:x/",
    f"http://me:{SECRET}@127.0.0.1:99999/",
    f"http://me:{SECRET}",
    f"http:/me:{SECRET}@127.0.0.1/",
    f"//me:{SECRET}@127.0.0.1/",
    f"me:{SECRET}@127.0.0.1:{{port}}",
    f"me:{SECRET}",
    f"grpc://me:{SECRET}@127.0.0.1:{{closed}}/name",
    f"ftp://me:{SECRET}@127.0.0.1/",
    f"postgresql://me:{SECRET}@127.0.0.1:{{closed}}/a?password={SECRET}",
    f"mysql://me:{SECRET}@127.0.0.1:x",
    f"redis://me:{SECRET}@127.0.0.1:{{closed}}/#{SECRET}",
    f"amqp://me:{SECRET}@[::1/",
    "file://etc/passwd",
    "pid:///nonexistent",
    "unix:",
    "http://127.0.0.1:${PORT}/${PATH_:-health}",
    "http://127.0.0.1:{closed}/",
    "http://[::1]:{closed}/",
    "http://[::1%25lo]:{closed}/",
    "HTTP://LOCALHOST:{port}/health",
    "tcp://127.0.0.1:{closed}",
    "tcp://127.0.0.1",
    "grpcs://127.0.0.1:{closed}/name",
    "127.0.0.1:{port}",
    "http://",
    "",
    "\udcff",
    "http://127.0.0.1:{port}/\x1b[2J",
    "http://" + "a" * 5000,
)
_DURATIONS = ("5s", "5", "1m", "24h", "0", "25h", "soon", "-1s", "1e3", "")
_VALUES: dict[str, Sequence[str]] = {
    "host": ("127.0.0.1", "localhost", "::1", "[::1]", "a b", "", f"me:{SECRET}@127.0.0.1"),
    "port": ("{port}", "{closed}", "0", "65536", "x", "-1", "", "9" * 500),
    "path": ("/health", "/status/204", "/echo", "health", "/x?y=1&z", "/\udcff", ""),
    "unix_socket": ("{socket}", "/nonexistent", "@", "@nobody", "", "/" + "a" * 200),
    "timeout": _DURATIONS,
    "connect_timeout": _DURATIONS,
    "deadline": ("300ms", "0", "soon"),
    "interval": ("50ms", "0", "soon"),
    "method": ("GET", "HEAD", "post", "CONNECT", "", "a b"),
    "headers": (
        f"Authorization: Bearer {SECRET}",
        f"Cookie: session={SECRET}",
        f"Authorization=Bearer {SECRET}",
        f"Authorization Bearer {SECRET}: ",
        f": {SECRET}",
        f"A: {SECRET}\nB: c",
        f"A: {SECRET}\udcff",
        "Host: app",
        "X: 1",
        "X:",
        "Content-Length: 5",
        "bad",
    ),
    "basic_auth": (
        f"me:{SECRET}",
        f":{SECRET}",
        "me:",
        f"{SECRET}",
        f"a:b:{SECRET}",
        f"\udcff:{SECRET}",
    ),
    "status": ("200", "2xx", "200,503", "200-399", "101", "600", "ok", "300-200", ""),
    "expect_json": ("status=UP", "status=DOWN", "a.b=1", "=", "status", "a..b=1", '"a=1'),
    "expect_body": ("UP", "DOWN", "", "\udcff"),
    "expect_header": ("X-State: fine", "X-State: bad", "X-State", ": x", "a b: c"),
    "cacert": ("/nonexistent", "/dev/null", "/", ""),
    "cert": ("/nonexistent", "/dev/null"),
    "key": ("/nonexistent", "/dev/null"),
    "server_name": ("localhost", "127.0.0.1", "a b", ""),
    "data": ("a=b", "@/nonexistent", "@", "", "\udcff"),
    "match_body": ("U.", "^DOWN$", "(a|b)*c", "(", r"(a)\1", "x" * 5000, "\udcff"),
    "send": (r"PING\r\n", "", r"\x", r"\xff\0", "\udcff"),
    "expect_reply": ("HTTP", "PONG", "", r"\q"),
    "cert_lifetime": ("1d", "24h", "0", "soon", "-1d"),
    "max_age": ("1s", "10m", "0", "soon"),
    "attempts": ("1", "2", "0", "x", "9" * 500),
    "on_unhealthy": ("CONT:4194304", "CONT", "KILL:1x", "NONE:1", ":", f"TERM:{SECRET}"),
    "output": ("text", "json", "json", "xml", ""),
}
_OTHERS = ("x", "", "1", "\udcff", "é")
_VARIABLES = ("PROT", "SERVICE_HOST", "PORT_80_TCP", "TOKEN")


@dataclass(frozen=True, slots=True)
class Line:
    """A command line and what is added to the environment."""

    args: tuple[str, ...]
    env: dict[str, str]

    @property
    def may_be_quiet(self) -> bool:
        return "q" in "".join(self.args) or "HEALTHCHECKER_QUIET" in self.env

    @property
    def may_ask_for_help(self) -> bool:
        return any("h" in arg for arg in self.args if arg.startswith("-"))

    @property
    def is_race(self) -> bool:
        """Whether which targets are checked to the end depends on time."""
        return "--any" in self.args or "HEALTHCHECKER_ANY" in self.env


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a form of the program made of it."""

    code: int
    stdout: str
    stderr: str

    @property
    def without_times(self) -> Outcome:
        """The same, without what differs from run to run."""
        out, err = (_TIMES.sub(r"\1\2N", text) for text in (self.stdout, self.stderr))
        return replace(self, stdout=out, stderr=err)


Runner = Callable[[Line], Outcome]


# How a command line is made


def make_line(chance: random.Random, places: dict[str, str]) -> Line:
    """Return a command line and an environment that are right, or wrong as people make them."""
    name = chance.choice(_COMMANDS)
    options = [one for one in cli.commands[name].params if isinstance(one, click.Option)]
    start = [] if name == "check" and chance.random() < 0.7 else [[name]]
    targets = [_target(chance) for _ in range(chance.choice((0, 1, 1, 1, 2, 3)))]
    fitting = [
        one
        for one in options
        if can_use(one.name, targets) and not (targets and one.name in ("host", "port", "path"))
    ]
    some = chance.sample(
        fitting if chance.random() < _GOOD else options, chance.choice((0, 1, 1, 2, 2, 3, 5))
    )
    words = [_option(chance, option) for option in some]
    for target in targets:
        words.insert(chance.randrange(len(words) + 1), [target])
    words = start + words
    if name == "wait" and not any(word[0].startswith("--deadline") for word in words):
        words.append(["--deadline=300ms"])
    args = [arg for word in words for arg in word]
    if chance.random() < _BAD and args:
        args = chance.choice(_MISTAKES)(chance, args)
    env = {}
    for option in chance.sample(options, chance.choice((0, 0, 0, 1, 2, 4))):
        env[str(option.envvar)] = "1" if option.is_flag else _value(chance, option)
    if chance.random() < 0.1:
        env["HEALTHCHECKER_TARGET"] = "\n".join(chance.choices(_TARGETS, k=chance.randint(1, 2)))
    if chance.random() < 0.1:
        env[f"HEALTHCHECKER_{chance.choice(_VARIABLES)}"] = SECRET
    return Line(
        tuple(_fill(arg, places) for arg in args),
        {key: _fill(value, places) for key, value in env.items() if "\0" not in value},
    )


def _target(chance: random.Random) -> str:
    return chance.choice(_GOOD_TARGETS if chance.random() < _GOOD else _TARGETS)


def _option(chance: random.Random, option: click.Option) -> list[str]:
    name = chance.choice(option.opts)
    if option.is_flag:
        return [name]
    value = _value(chance, option)
    if name.startswith("-") and len(name) == 2:
        return chance.choice(([name, value], [name + value]))
    return chance.choice(([name, value], [f"{name}={value}"]))


def _value(chance: random.Random, option: click.Option) -> str:
    """Return a value: mostly one of the first few, which are good ones."""
    values = _VALUES.get(option.name, _OTHERS)
    return chance.choice(values[:3] if chance.random() < _GOOD else values)


def _fill(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


Mistake = Callable[[random.Random, list[str]], list[str]]


def _join(chance: random.Random, args: list[str]) -> list[str]:
    """Put two words into one argument, as where a shell's quotes are around both."""
    at = chance.randrange(len(args))
    between = chance.choice((" ", ":", "\t", "") if args[at].startswith("-") else (" ", "\n"))
    return [*args[:at], between.join(args[at : at + 2]), *args[at + 2 :]]


def _unquote(chance: random.Random, args: list[str]) -> list[str]:
    """Forget the quotes around all that has a space in it."""
    return [word for arg in args for word in (arg.split(" ") if " " in arg else [arg])]


def _mistype(chance: random.Random, args: list[str]) -> list[str]:
    """Mistype an option."""
    ats = [at for at, arg in enumerate(args) if arg.startswith("-") and len(arg) > 3]
    if not ats:
        return args
    at = chance.choice(ats)
    name, separator, value = args[at].partition("=")
    place = chance.randrange(1, len(name))
    wrong = name[:place] + chance.choice(("", "x", "-", "=", " ", "_")) + name[place + 1 :]
    return [*args[:at], wrong + separator + value, *args[at + 1 :]]


def _leave_out(chance: random.Random, args: list[str]) -> list[str]:
    at = chance.randrange(len(args))
    return [*args[:at], *args[at + 1 :]]


def _end_options(chance: random.Random, args: list[str]) -> list[str]:
    """Put a `--` somewhere, but not before what keeps `wait` from waiting for a minute."""
    limits = [at for at, arg in enumerate(args) if arg.startswith("--deadline")]
    at = chance.randrange(max(limits, default=-1) + 1, len(args) + 1)
    return [*args[:at], "--", *args[at:]]


def _double(chance: random.Random, args: list[str]) -> list[str]:
    at = chance.randrange(len(args))
    return [*args[: at + 1], *args[at:]]


def _swap(chance: random.Random, args: list[str]) -> list[str]:
    args = list(args)
    one, other = chance.randrange(len(args)), chance.randrange(len(args))
    args[one], args[other] = args[other], args[one]
    return args


_MISTAKES: tuple[Mistake, ...] = (
    *(_join, _join, _unquote, _mistype, _mistype, _leave_out, _end_options, _double, _swap),
)


# What runs it


def _environment(line: Line) -> dict[str, str]:
    """Return the whole environment: with a limit for `wait`, which a mistake may have dropped."""
    return {**without_variables(), "HEALTHCHECKER_DEADLINE": "300ms", **line.env}


def _run_executable(path: str) -> Runner:
    def run(line: Line) -> Outcome:
        done = subprocess.run(
            [path.encode(), *map(os.fsencode, line.args)],
            env=_environment(line),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=LIMIT,
        )
        out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
        return Outcome(done.returncode, out, err)

    return run


def _run_forked(zygote: Zygote) -> Runner:
    def run(line: Line) -> Outcome:
        facts, *output = zygote.run(line.args, _environment(line), LIMIT)
        out, err = (text.decode(errors="surrogateescape") for text in output)
        return Outcome(facts["code"], out, err)

    return run


@contextmanager
def runners() -> Iterator[dict[str, Runner]]:
    """Return what runs a command line in each form that is built."""
    with forking() as forked:
        zygote = forked(PYTHON).zygote
        assert zygote
        made = {PYTHON.name: _run_forked(zygote)}
        made |= {
            form.name: _run_executable(form.argv[0])
            for form in (COLD, SAVED)
            if not why_not_built(form)
        }
        yield made


@contextmanager
def places() -> Iterator[dict[str, str]]:
    """Return what a command line may name: a healthy service's port and socket, a closed port."""
    path = Path(f"/tmp/healthchecker-fuzz-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(path.unlink, missing_ok=True)
        port = stack.enter_context(http_service())
        stack.enter_context(http_service(unix_socket=path))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        yield {"port": str(port), "closed": str(closed.getsockname()[1]), "socket": str(path)}


# What is right


def problems(line: Line, outcomes: dict[str, Outcome]) -> Iterator[str]:
    """Return what is wrong with what the forms made of a command line."""
    for name, outcome in outcomes.items():
        said = outcome.stdout + outcome.stderr
        for wrong, what in (
            (outcome.code not in (0, 1), f"exit code {outcome.code}"),
            (SECRET in said, "a secret shows"),
            (outcome.code == 1 and not said and not line.may_be_quiet, "silence about a failure"),
            (re.search("internal_error|Traceback|0x[0-9a-f]{6}", said), "a bug"),
            (not re.fullmatch(r"[\x20-\x7e\n]*", said), "not fit for a terminal"),
            (len(said) > MAX_OUTPUT_BYTES and not line.may_ask_for_help, "too much output"),
        ):
            if wrong:
                yield f"{name}: {what}"
    first, *others = outcomes
    for other in others:
        if not line.is_race and outcomes[first].without_times != outcomes[other].without_times:
            yield f"{first} and {other} differ"


def fuzz_cli(cases: int, seed: int, say: Callable[[str], object], only: int | None = None) -> bool:
    """Run the cases; say what went wrong and a summary, and return whether all is well."""
    failures = 0
    reasons: Counter[str] = Counter()
    start = time.monotonic()
    with places() as where, runners() as forms:
        for number in range(cases) if only is None else (only,):
            line = make_line(random.Random(f"{seed}/{number}"), where)
            for _ in range(_ATTEMPTS):
                outcomes = {name: run(line) for name, run in forms.items()}
                wrong = list(problems(line, outcomes))
                if not any("differ" in what for what in wrong):
                    break
            match = re.search(r"\b[a-z]+(_[a-z]+)+\b", outcomes[PYTHON.name].stderr)
            reasons[match[0] if match else f"exit code {outcomes[PYTHON.name].code}"] += 1
            if wrong:
                failures += 1
                say(f"case {number}: {', '.join(wrong)}: {line}")
                for name, outcome in outcomes.items():
                    say(f"  {name}: {outcome}")
                say(f"  to run it again: scripts/fuzz cli --seed {seed} --only {number}")
                if failures == _MAX_FAILURES:
                    break
        compared = " and ".join(forms)
    say(
        f"seed {seed}: {sum(reasons.values())} command lines in {time.monotonic() - start:.1f} s, "
        f"{failures} failures, {compared}"
    )
    say(", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    return failures == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz cli", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cases", type=int, default=1000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of a run to do again (default: a new one)")
    parser.add_argument("--only", type=int, metavar="N", help="run this one case of the seed")
    arguments = parser.parse_args(argv)
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seed}\n")
    well = fuzz_cli(
        arguments.cases, seed, lambda line: sys.stdout.write(f"{line}\n"), arguments.only
    )
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

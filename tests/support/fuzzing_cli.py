"""A fuzzer of command lines: all forms of the program print the same, and never a secret.

Each case is a command line and an environment, made from the seed and its number alone and then
damaged by typical mistakes: an option mistyped or dropped, two words in one argument, quotes
forgotten, an argument doubled. A case fails if the forms differ, if any part of a secret is
printed, if a failure is silent, or if the output or the exit code is not an allowed one.
"""

from __future__ import annotations

import argparse
import base64
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

SECRET = "Z7zx-Vk3Wp_Jd9"
LIMIT = 200.0

_MAX_FAILURES = 10
_ATTEMPTS = 3
"""Of a line whose forms differ: most have a timeout, which a stalled machine exceeds."""
_SHORTEST_PART = 5
"""How many characters of a secret must not be printed in a row."""
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
    "redis://:${TOKEN}@127.0.0.1:{port}",
    "http://me:${TOKEN}@127.0.0.1:{port}/health",
    "http://127.0.0.1:{port}/status/503?key=${TOKEN}",
    "http://127.0.0.1:{port}/${UNSET:-health}",
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
        "Authorization: Bearer ${TOKEN}",
        "X-Key: ${AWKWARD}",
        "${TOKEN}: x",
        "Authorization: Bearer ${TOKEN",
        "X: ${file:{secret_file}}",
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
        "me:${TOKEN}",
        "${TOKEN}",
        "me:${file:{secret_file}}",
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
    "data": ("a=b", "key=${TOKEN}", f"key={SECRET}", "@/nonexistent", "@", "", "\udcff"),
    "match_body": ("U.", "^DOWN$", "(a|b)*c", "(", r"(a)\1", "x" * 5000, "\udcff"),
    "send": (
        r"PING\r\n",
        r"GET /${TOKEN} HTTP/1.0\r\n\r\n",
        rf"AUTH {SECRET}\r\n",
        "",
        r"\x",
        r"\xff\0",
        "\udcff",
    ),
    "expect_reply": ("HTTP", "PONG", "", r"\q"),
    "cert_lifetime": ("1d", "24h", "0", "soon", "-1d"),
    "max_age": ("1s", "10m", "0", "soon"),
    "attempts": ("1", "2", "0", "x", "9" * 500),
    "on_unhealthy": ("CONT:4194304", "CONT", "KILL:1x", "NONE:1", ":", f"TERM:{SECRET}"),
    "output": ("text", "json", "json", "xml", ""),
}
_OTHERS = ("x", "", "1", "\udcff", "é")
_SECRET_VARIABLES = {
    "TOKEN": SECRET,
    "AWKWARD": f"/{SECRET}#?@100%25%FF ",
    "OTHER": f"{SECRET}\n",
    "TARGET_URL": f"redis://me:{SECRET}@127.0.0.1:{{closed}}",
}
"""For `${NAME}` in values; they are in the environment of every case."""
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
        """Whether the targets that are checked to the end depend on time."""
        return "--any" in self.args or "HEALTHCHECKER_ANY" in self.env


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one form of the program."""

    code: int
    stdout: str
    stderr: str

    @property
    def without_times(self) -> Outcome:
        """The same, without times."""
        out, err = (_TIMES.sub(r"\1\2N", text) for text in (self.stdout, self.stderr))
        return replace(self, stdout=out, stderr=err)


Runner = Callable[[Line], Outcome]


# How a command line is made


def make_line(chance: random.Random, places: dict[str, str]) -> Line:
    """Return a command line and an environment: correct ones, or with typical mistakes."""
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
    env = dict(_SECRET_VARIABLES)
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
    """Return a value, most often one of the first three, which are good."""
    values = _VALUES.get(option.name, _OTHERS)
    return chance.choice(values[:3] if chance.random() < _GOOD else values)


def _fill(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text


Mistake = Callable[[random.Random, list[str]], list[str]]


def _join(chance: random.Random, args: list[str]) -> list[str]:
    """Put two words into one argument, as with quotes around both in a shell."""
    at = chance.randrange(len(args))
    between = chance.choice((" ", ":", "\t", "") if args[at].startswith("-") else (" ", "\n"))
    return [*args[:at], between.join(args[at : at + 2]), *args[at + 2 :]]


def _unquote(chance: random.Random, args: list[str]) -> list[str]:
    """Drop the quotes around every argument with a space."""
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
    """Insert a `--`, but not before the --deadline that keeps `wait` short."""
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


# Runners


def _environment(line: Line) -> dict[str, str]:
    """Return the whole environment, with a deadline for `wait`: a mistake may drop its own."""
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
def runners(*, alone: bool) -> Iterator[dict[str, Runner]]:
    """Yield a runner for each form that is built, or for the Python form alone."""
    with forking() as forked:
        zygote = forked(PYTHON).zygote
        assert zygote
        made = {PYTHON.name: _run_forked(zygote)}
        made |= {
            form.name: _run_executable(form.argv[0])
            for form in (COLD, SAVED)
            if not (alone or why_not_built(form))
        }
        yield made


@contextmanager
def places() -> Iterator[dict[str, str]]:
    """Yield values for command lines: port and socket of a healthy service, a closed port."""
    path = Path(f"/tmp/healthchecker-fuzz-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(path.unlink, missing_ok=True)
        port = stack.enter_context(http_service())
        stack.enter_context(http_service(unix_socket=path))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        secret_file = path.with_suffix(".secret")
        stack.callback(secret_file.unlink, missing_ok=True)
        secret_file.write_text(f"{SECRET}\n")
        yield {
            "port": str(port),
            "closed": str(closed.getsockname()[1]),
            "socket": str(path),
            "secret_file": str(secret_file),
        }


# The properties


def _parts_of_secret() -> frozenset[str]:
    """Return the parts of the secret, plain and in Base64 wherever it may begin there."""
    shown = [SECRET.lower()]
    for offset in range(3):
        encoded = base64.b64encode(b"x" * offset + SECRET.encode()).decode()
        shown.append(encoded[4:-4].lower())  # its ends depend on what is beside the secret
    return frozenset(
        text[at : at + _SHORTEST_PART]
        for text in shown
        for at in range(len(text) - _SHORTEST_PART + 1)
    )


_PARTS = _parts_of_secret()


def shows_secret(output: str) -> bool:
    """Return whether a part of the secret is in the output, in either case."""
    lowered = output.lower()
    return any(part in lowered for part in _PARTS)


def problems(line: Line, outcomes: dict[str, Outcome]) -> Iterator[str]:
    """Yield the properties that the outcomes of a command line do not have."""
    for name, outcome in outcomes.items():
        output = outcome.stdout + outcome.stderr
        for wrong, problem in (
            (outcome.code not in (0, 1), f"exit code {outcome.code}"),
            (shows_secret(output), "a secret is shown"),
            (outcome.code == 1 and not output and not line.may_be_quiet, "a silent failure"),
            (re.search("internal_error|Traceback|0x[0-9a-f]{6}", output), "a bug"),
            (not re.fullmatch(r"[\x20-\x7e\n]*", output), "not printable"),
            (len(output) > MAX_OUTPUT_BYTES and not line.may_ask_for_help, "too much output"),
        ):
            if wrong:
                yield f"{name}: {problem}"
    first, *others = outcomes
    for other in others:
        if not line.is_race and outcomes[first].without_times != outcomes[other].without_times:
            yield f"{first} and {other} differ"


def fuzz_cli(
    cases: int,
    seed: int,
    report: Callable[[str], object],
    only: int | None = None,
    *,
    alone: bool = False,
) -> bool:
    """Run the cases; report failures and a summary, and return whether there are none.

    It is a failure if only one form is built, as nothing is compared then, unless `alone`.
    """
    failures = 0
    reasons: Counter[str] = Counter()
    start = shown = time.monotonic()
    with places() as values, runners(alone=alone) as forms:
        if len(forms) == 1 and not alone:
            report(f"only one form, nothing to compare: {why_not_built(SAVED)}")
            return False
        for number in range(cases) if only is None else (only,):
            line = make_line(random.Random(f"{seed}/{number}"), values)
            for _ in range(_ATTEMPTS):
                outcomes = {name: run(line) for name, run in forms.items()}
                wrong = list(problems(line, outcomes))
                if not any("differ" in problem for problem in wrong):
                    break
            match = re.search(r"\b[a-z]+(_[a-z]+)+\b", outcomes[PYTHON.name].stderr)
            reasons[match[0] if match else f"exit code {outcomes[PYTHON.name].code}"] += 1
            if wrong:
                failures += 1
                report(f"case {number}: {', '.join(wrong)}: {line}")
                for name, outcome in outcomes.items():
                    report(f"  {name}: {outcome}")
                report(f"  to run it again: scripts/fuzz cli --seed {seed} --only {number}")
                if failures == _MAX_FAILURES:
                    break
            if time.monotonic() > shown + 1:
                shown = time.monotonic()
                report(f"case {number} of {cases}, {failures} failures")
        compared = " and ".join(forms)
    report(
        f"seed {seed}: {sum(reasons.values())} command lines in {time.monotonic() - start:.1f} s, "
        f"{failures} failures, {compared}"
    )
    report(", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    return failures == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz cli", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cases", type=int, default=1000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="repeat a run (default: a new seed)")
    parser.add_argument("--only", type=int, metavar="N", help="repeat this case of the seed")
    parser.add_argument("--alone", action="store_true", help="compare with no other form")
    arguments = parser.parse_args(argv)
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seed}\n")

    def report(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    passed = fuzz_cli(arguments.cases, seed, report, arguments.only, alone=arguments.alone)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""A user who is wrong is helped: each mistake is named, and what to write instead."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from healthchecker._cli.main import main
from tests.support import ROOT

_PACKAGE = ROOT / "healthchecker"
_LONG = "x" * 300

MISTAKES: dict[str, str] = {
    # Options and arguments
    "--port": "'--port' requires an argument; write --port PORT",
    "--verbose=1": "'--verbose' does not take a value; write --verbose",
    "--help=1": "'--help' does not take a value; write --help",
    "--prot 1": "unknown option '--prot'; did you mean --path, --port or -port?",
    "--zzz": "unknown option '--zzz'; see --help",
    "--non:sense": "unknown option '--non'; see --help",
    "--=x": "unknown option (not shown, because it may contain a secret); see --help",
    "'--port 80'": "pass '--port' and its value as two arguments, or join them with '='",
    "list": "Missing argument 'TARGET'; write healthchecker list [OPTIONS] TARGET",
    "install": "Missing argument 'DEST'; write healthchecker install [OPTIONS] DEST",
    "licenses x": "extra argument (...); write healthchecker licenses [OPTIONS]",
    "list grpc://a:1 grpc://b:1": "(grpc://b:1); write healthchecker list [OPTIONS] TARGET",
    "wait tcp://a:1 -- ''": "COMMAND is empty; name a program after --",
    "-q -v": "--quiet cannot be combined with --verbose; leave one out",
    "--port 1 tcp://a:1": "--port cannot be combined with a TARGET; the TARGET itself says it",
    "--port ${NO_SUCH}": "${NO_SUCH} is not set; ${NO_SUCH:-DEFAULT} would have a default",
    "--port x": "'x' is not a port from 1 to 65535",
    "--timeout soon": "'soon' is not a duration such as 500ms, 2s, 1m or a number of seconds",
    "--timeout 0": "'0' is not more than 0 and at most 24h",
    "watch --initial-delay 25h": "'25h' is not from 0 and at most 24h",
    "--attempts 0": "'0' is not a number from 1 to 1000000",
    "--output xml": "'xml' is not one of 'text', 'json'",
    "--on-unhealthy FIRE:1": "names no signal such as TERM, HUP or RTMIN+3",
    "--on-unhealthy TERM": "names no process; write TERM:1",
    "tcp://a:1 --send '\\q'": r"\q is not an escape such as \r \n \t \0 \xNN or \\",
    "-H Authorization": "the value is not of the form 'N: v'",
    "--basic-auth me": "the value is not of the form 'USER:PASSWORD'",
    # How to ask
    "--host localhost:80": "not a host name such as db.example.org, or an IP address; a port goes",
    "--host http://a": "or an IP address; a URL is a TARGET, without --host",
    "--path health": "must begin with a slash, such as /health",
    "--path '/a\nb'": "has a character that no path has; write it as %XX",
    "--method 'G T'": "not an HTTP method such as GET or POST",
    "--unix-socket @": "not a path or @NAME",
    f"--unix-socket /{_LONG}": "longer than 107 bytes; a relative path may be shorter",
    "-H 'a b: c'": "not a header name such as X-Token",
    "-H 'a: b\nc'": "its value may not have line feeds or other control characters",
    "-H 'content-length: 1'": "is set by --data alone; leave it out",
    "-H 'host: a' -H 'host: b'": "can be given only once; leave one out",
    "grpc://a:1 -H 'host: a b'": "not a host and port such as example.org:443",
    "grpc://a:1 -H 'te: a'": "is reserved by gRPC; remove it",
    "grpc://a:1 -H 'a!: b'": "not a valid gRPC metadata name, such as x-token",
    "grpc://a:1 -H 'a: ü'": "must be printable ASCII, or base64 if the name ends in -bin",
    "grpc://a:1 -H 'a-bin: ?'": "its value must be base64",
    "watch --timeout 6s": "longer than the interval (5 s)",
    # How to judge
    "--status ok": "not a list such as 200, 200,204, 2xx, 200-399",
    "--status 300-200": "a range that ends before it begins; write 200-299",
    "--status 100": "no answer ends with a status below 200; write 200-599",
    "--status 101": "101 can only be expected when the request has an Upgrade header; add one",
    "--expect-json '\"a=b'": 'not steps between dots, each bare or in quotes, as in checks.0."',
    "--match-body '('": "invalid regular expression: missing ), unterminated subpattern (use",
    r"--match-body '(a)\1'": "unsupported: back-references, look-around and other",
    "--match-body '(a{1000}){1000}'": "regular expression too large; use smaller repeat counts",
    "--method HEAD --expect-body x": "HEAD cannot be combined with --expect-body; leave one out",
    "tcp://a:1 --status 2xx": "only applies to http[s]:// targets",
    # TLS
    "https://a --insecure --cacert x": "--insecure cannot be combined with --cacert; leave one",
    "https://a --key x": "also needs a certificate (cert)",
    "https://a --cacert /no/such": "No such file or directory",
    "https://a --cacert /dev/null": "must be a file of PEM certificates",
    "https://a --cert /dev/null": "must be a PEM certificate with its matching, unencrypted",
    "https://a --server-name 'a b'": "not a host name such as db.example.org, or an IP address",
    # Targets
    "localhost:80": "not a URL; did you mean http://localhost:80 or tcp://localhost:80?",
    "8080": "not a URL; did you mean --port?",
    "/health": "not a URL; did you mean --path, file:// or unix://?",
    "@app": "not a URL; did you mean unix:@NAME?",
    "secret": "not a URL, which begins with a scheme such as http://",
    "htp://localhost": "not a scheme that is known; a TARGET is one of http://HOST, ",
    "http://[::1": "not a URL such as http://HOST:PORT/PATH",
    "http://": "has no usable host; the form is http://HOST",
    "http://a:0": "its port is not from 1 to 65535",
    "'http://a\x1b'": "has a character that no URL has; write it as %XX",
    "'tcp://a:1 tcp://b:1'": "is more than one; make each an argument of its own",
    "tcp://a": "needs a port; the form is tcp://HOST:PORT",
    "tcp://a:1/b": "not of the form tcp://HOST:PORT",
    "postgresql://a?b": "postgresql:// takes nothing after ? or #; leave that out",
    "redis://%00@a": "has a NUL (%00); leave it out",
    "file://a/b": "not of the form file:///PATH",
    f"unix:///{_LONG}": "longer than 107 bytes; make a symbolic link to it",
    "file:///a --unix-socket /b": "file:// does not go over a Unix socket; leave that out",
    "grpc://a:1?b": "gRPC targets take no query string; remove everything after the ?",
    f"grpc://a:1/{100 * _LONG}": "service name longer than 8192 bytes",
    "list http://a": "not a gRPC target such as grpc://HOST:PORT",
    "list grpc://a:1/b": "list always covers all services; remove the service name",
    # Others
    "install /tmp": "only the static executable can install itself; run that instead",
}
VARIABLES = {
    ("PORT", "x"): "HEALTHCHECKER_PORT: Invalid value for '-p' / '--port' / '-port': 'x' is not",
    ("QUIET", "maybe"): "HEALTHCHECKER_QUIET: ... 'maybe' is neither 1 nor 0",
    ("TARGET", "grpc://a:1\ngrpc://b:1"): "HEALTHCHECKER_TARGET: list takes one TARGET; leave one",
    ("CERT_LIFETIME", "11y"): "is not a duration such as 500ms, 2s, 1m or a number of seconds",
}
# Mistakes that no command line can make, or that only its state on a machine makes.
OF_PROGRAMS = (
    "lone surrogate",
    "are only available on Linux",
    "must be a",
    "must be several",
    "must be True or False",
    "must be codes",
    "must be bytes",
    "must be 1 or more",
    "must be {least}",
    "its value must be a string",
    "must not contain a colon",
    "with = in it must be quoted",
    "nothing that JSON has",
    "cannot be combined with insecure",
    "a response to HEAD",
    "contains a NUL",
    "cannot be written",
    "no such directory; create it first",
    "is empty; name a directory",
    "cannot be located without /proc",
    "not from 0 to",
    "is for targets",
    "not a name of letters",
    "encrypted key",  # OpenSSL is told so
    "is Python's",  # as is the parser of JSON
)


def said(arguments: Sequence[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a mistake is answered with, without what it begins with."""
    assert main(arguments) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    match = re.fullmatch(r"healthchecker: usage_error: (.*)\n", stderr)
    assert match, stderr
    return match[1]


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert MISTAKES[line] in said(shlex.split(line), capfd)


@pytest.mark.parametrize("variable", VARIABLES)
def test_mistakes_in_variables(
    variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name, value = variable
    monkeypatch.setenv(f"HEALTHCHECKER_{name}", value)
    command = ["list"] if name == "TARGET" else ["https://a"] if name == "CERT_LIFETIME" else []
    words = VARIABLES[variable].split("... ")
    told = said(command, capfd)
    assert all(part in told for part in words), told


def problems(module: ast.Module) -> Iterator[str]:
    """Yield what a module says of mistakes, with `*` for what it puts in."""
    for function in (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)):
        named = {
            node.targets[0].id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and (found := _PROBLEM.get(called(node))) is not None:
                problem = node.args[found] if len(node.args) > found else None
                if isinstance(problem, ast.Name):
                    problem = named.get(problem.id)
                yield template(problem)


_PROBLEM = {"BadArgumentError": 2, "fail": 0, "UsageError": 0, "ValueError": 0}
"""Which argument of these says what is wrong."""


def called(call: ast.Call) -> str:
    name: str = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name


def template(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    return "*"


def modules() -> list[Path]:
    return sorted(_PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", modules(), ids=lambda path: str(path.relative_to(_PACKAGE)))
def test_every_mistake_is_in_the_table(module: Path) -> None:
    known = [*MISTAKES.values(), *VARIABLES.values(), *OF_PROGRAMS]
    for problem in problems(ast.parse(module.read_text())):
        pieces = [piece[:40] for piece in problem.split("*") if len(piece) > len("not ")]
        found = any(piece in one or one in problem for piece in pieces for one in known)
        assert found or not pieces, problem

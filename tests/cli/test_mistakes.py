"""Usage errors: each names the mistake and what to write instead."""

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
    "--prot 1": "unknown option '--prot'; did you mean --port or --role?",
    "--timeot 1s": "unknown option '--timeot'; did you mean --timeout, --",
    "--zzz": "unknown option '--zzz'; see --help",
    "--non:sense": "unknown option '--non'; see --help",
    "--=x": "unknown option (not shown, because it may contain a secret); see --help",
    "'--port 80'": "pass '--port' and its value as two arguments, or join them with '='",
    "list": "Missing argument 'TARGET'; write healthchecker list [OPTIONS] TARGET",
    "install": "Missing argument 'DEST'; write healthchecker install [OPTIONS] DEST",
    "licenses x": "unexpected argument: ...; write healthchecker licenses [OPTIONS]",
    "list grpc://a:1 grpc://b:1": "argument: grpc://b:1; write healthchecker list [OPTIONS] TARGET",
    "wait tcp://a:1 -- ''": "no COMMAND after --",
    "wiat tcp://a:1": "unknown command 'wiat'; did you mean wait?",
    "chekc": "unknown command 'chekc'; did you mean check?",
    "--port 1 '||' exit 1": "'||' needs a shell, which the exec form does not have; remove it",
    "http://a '&&' x": "'&&' needs a shell",
    "'http://a || exit 1'": "looks like several arguments in one",
    "wait tcp://a:1 ./server": "TARGET: '...': not a URL; write -- before a COMMAND",
    "wait tcp://a:1 server --flag": "(write -- before a COMMAND and its options)",
    "-q -v": "--quiet cannot be combined with --verbose; use one",
    "--port 1 tcp://a:1": "--port cannot be combined with a TARGET; put it in the TARGET",
    "--port ${NO_SUCH}": "NO_SUCH is not set; use ${NO_SUCH:-DEFAULT}",
    "--port x": "'...' is not a port number (1 to 65535)",
    "--port -1": "'-1' is not a port number (1 to 65535)",
    "wait -pSECRET": "'...' is not a port number (1 to 65535)",
    "--timeout soon": "'soon' is not a duration (500ms, 2s, 1m30s, 1h, 7d, or seconds)",
    "--timeout 0": "'0' is out of range (more than 0, at most 24h)",
    "watch --initial-delay 25h": "'25h' is out of range (from 0, at most 24h)",
    "--attempts 0": "'0' is not a number from 1 to 1000000",
    "--output xml": "'xml' is neither 'text' nor 'json'",
    "--on-unhealthy FIRE:1": "unknown signal (expected TERM, HUP, RTMIN+3, ...)",
    "--on-unhealthy TERM": "missing or invalid process id (expected SIGNAL:PID, such as",
    "tcp://a:1 --send '\\q'": r"\q is not an escape such as \r \n \t \0 \xNN or \\",
    "-H Authorization": "expected 'NAME: VALUE'",
    "--basic-auth me": "expected 'USER:PASSWORD'",
    # Request
    "--host localhost:80": "not a host name such as db.example.org, or an IP address; pass the",
    "--host http://a": "or an IP address; pass a URL as a TARGET, not with --host",
    "--path health": "must begin with a slash, such as /health",
    "--path '/a\nb'": "contains a character that is not allowed in a path; encode it as %XX",
    "--path '/a\r'": "ends with a carriage return (CR); remove it",
    "'http://a/x,http://b'": "looks like a list; pass each target separately",
    "redis://app:7/x@db": "has an @ after / or ?; in a password write / as %2F and ? as %3F",
    "''": "empty; expected a URL such as http://HOST",
    "-H 'A: ${A-b}'": "${...} is not supported; use ${NAME}, ${NAME:-DEFAULT} or ${file:/",
    "-H 'A: $PORT_X'": "$... is not replaced; use ${NAME}, or ${X:-$} for a dollar sign",
    "-H 'A: ${file:/dev/null}'": "/dev/null: not a regular file",
    "-H 'A: ${file:/no/such}'": "/no/such: No such file or directory",
    "--expect-body ''": "empty; expected text to look for",
    "--match-body ''": "empty; expected a regular expression",
    "--expect-json ''": "empty; expected a path such as checks[0].",
    "--expect-json 'a<b'": "expected a number after <",
    "tcp://a:1 --expect-reply ''": "empty; expected text to look for",
    "--method 'G T'": "not an HTTP method such as GET or POST",
    "--unix-socket @": "not a path or @NAME",
    f"--unix-socket /{_LONG}": "path longer than 107 bytes; try a relative path",
    "-H 'a b: c'": "not a header name such as X-Token",
    "-H 'a: b\nc'": "value contains a line feed or another control character",
    "-H 'content-length: 1'": "is set by healthchecker; remove it",
    "-H 'host: a' -H 'host: b'": "may only be given once",
    "grpc://a:1 -H 'host: a b'": "not a host and port such as example.org:443",
    "grpc://a:1 -H 'te: a'": "is reserved by gRPC; remove it",
    "grpc://a:1 -H 'a!: b'": "not a valid gRPC metadata name, such as x-token",
    "grpc://a:1 -H 'a: ü'": "must be printable ASCII, or base64 if the name ends in -bin",
    "grpc://a:1 -H 'a-bin: ?'": "its value must be base64",
    "watch --timeout 6s": "longer than the interval (5 s)",
    # Expectations
    "--status ok": "not a status list; expected e.g. 200 or 200,204 or 2xx or 200-399",
    "--status 300-200": "the range ends before it begins; use 200-299",
    "--status 100": "1xx statuses are never final; use 200-599",
    "--status 101": "101 can only be expected when the request has an Upgrade header; add one",
    "--expect-json '\"a=b'": 'not a dotted path such as checks[0]."a=b.c"',
    "--match-body '('": "invalid regular expression: missing ), unterminated subpattern (use",
    r"--match-body '(a)\1'": "unsupported: back-references, look-around and other",
    "--match-body '(a{1000}){1000}'": "regular expression too large; use smaller repeat counts",
    "--method HEAD --expect-body x": "HEAD cannot be combined with --expect-body; use one of them",
    "tcp://a:1 --status 2xx": "only applies to http[s]:// ",
    # TLS
    "https://a --insecure --cacert x": "--insecure cannot be combined with --cacert; use one",
    "https://a --key x": "also needs a certificate (--cert)",
    "https://a --cacert /no/such": "No such file or directory",
    "https://a --cacert /dev/null": "must be a file of PEM certificates",
    "https://a --cert /dev/null": "must be a PEM certificate with its matching, unencrypted",
    "https://a --server-name 'a b'": "not a host name such as db.example.org, or an IP address",
    # Targets
    "localhost:80": "not a URL; did you mean http://localhost:80 or tcp://localhost:80?",
    "8080": "not a URL; did you mean http://127.0.0.1:PORT/health?",
    "/health": "not a URL; did you mean http://127.0.0.1/PATH, file:///PATH or",
    "@app": "not a URL; did you mean unix:@NAME?",
    "secret": "not a URL: no scheme such as http://",
    "htp://localhost": "unknown scheme; expected one of http://HOST, ",
    "http://[::1": "not a URL such as http://HOST:PORT/PATH",
    "http://": "no valid host; expected http://HOST",
    "http://a:0": "port out of range (1 to 65535)",
    "'http://a\x1b'": "contains a character that is not allowed in a URL; encode it as %XX",
    "'tcp://a:1 tcp://b:1'": "looks like several arguments in one; pass each separately",
    "tcp://a": "missing port; expected tcp://HOST:PORT",
    "tcp://a:1/b": "expected tcp://HOST:PORT",
    "postgresql://a?b": "postgresql:// takes no query or fragment; remove everything from ?",
    "redis://%00@a": "contains a NUL (%00); remove it",
    "file://a/b": "expected file:///PATH",
    f"unix:///{_LONG}": "path longer than 107 bytes; use a symbolic link",
    "file:///a --unix-socket /b": "file:// cannot be used with --unix-socket; remove it",
    "grpc://a:1?b": "gRPC targets take no query string; remove everything after the ?",
    f"grpc://a:1/{100 * _LONG}": "service name longer than 8192 bytes",
    "list http://a": "not a gRPC target such as grpc://HOST:PORT",
    "list grpc://a:1/b": "list always covers all services; remove the service name",
    "udp://a:1": "needs --send: without a request, nothing replies",
    "dns://a": "needs a NAME to look up",
    "'dns://a/b?x=1'": "expected ?type= and one of ",
    "mysql://a --login": "needs a user (and a password) in the TARGET",
    "mysql://a --role primary": "also needs --login here",
    # Others
    "install /tmp": "only the static executable can install itself; run that instead",
}
VARIABLES = {
    ("PORT", "x"): "HEALTHCHECKER_PORT: ... is not a port",
    ("QUIET", "maybe"): "HEALTHCHECKER_QUIET: ... 'maybe' is not a boolean (use 1 or 0)",
    ("TARGET", "grpc://a:1\ngrpc://b:1"): "HEALTHCHECKER_TARGET: list takes a single TARGET",
    ("CERT_LIFETIME", "11y"): "is not a duration (500ms, 2s, 1m30s, 1h, 7d, or seconds)",
}
# Mistakes that no command line can make, or that depend on the state of the machine.
OF_PROGRAMS = (
    "lone surrogate",
    "are only available on Linux",
    "must be a",
    "must be an iterable of targets",
    "must be True or False",
    "must be a status",
    "must be bytes",
    "must be 1 or more",
    "must be {least}",
    "value must be a string",
    "must not contain a colon",
    "quote a path step that contains",
    "cannot be represented in JSON",
    "cannot be combined with insecure",
    "a response to HEAD",
    "contains a NUL",
    "cannot be written",
    "no such directory; create it first",
    "is empty; name a directory",
    "cannot be located without /proc",
    "must be between 0 and",
    "only applies to targets",
    "must consist of letters",
    "is served already",
    "not one of ",
    "must be one of ",
    "must map names to checks",
    "encrypted key",  # OpenSSL must know
    "is Python's",
    "this Python's re module",
    "but is not before an @",
    "use a variable for the whole URL",
    "begins with /",
    "text in UTF-8",
    "not read within",
    "larger than",
    "contains a NUL",
    "contains a colon",  # as is the parser of JSON
)


def usage_error(arguments: Sequence[str], capfd: pytest.CaptureFixture[str]) -> str:
    """Return the one line of a usage error, without its prefix."""
    assert main(arguments) == 1
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    match = re.fullmatch(r"healthchecker: usage_error: (.*)\n", stderr)
    assert match, stderr
    return match[1]


@pytest.mark.parametrize("line", MISTAKES)
def test_mistakes(line: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert MISTAKES[line] in usage_error(shlex.split(line), capfd)


@pytest.mark.parametrize("variable", VARIABLES)
def test_mistakes_in_variables(
    variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name, value = variable
    monkeypatch.setenv(f"HEALTHCHECKER_{name}", value)
    command = ["list"] if name == "TARGET" else ["https://a"] if name == "CERT_LIFETIME" else []
    parts = VARIABLES[variable].split("... ")
    message = usage_error(command, capfd)
    assert all(part in message for part in parts), message


def problems(module: ast.Module) -> Iterator[str]:
    """Yield the usage errors of a module, with `*` in place of values."""
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
"""The position of the message among the arguments of each."""


def called(call: ast.Call) -> str:
    name: str = getattr(call.func, "id", getattr(call.func, "attr", ""))
    return name


def template(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant):
        return re.sub(r"\b[a-z_]+=(?=[ :;)]|$)", "*", str(node.value))
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

"""The table of what the command line does: the same for every form of the program.

`{port}` stands for a healthy HTTP service, `{closed}` for a port where nothing listens, `{socket}`
for a Unix socket that leads to the service. Expected texts are regular expressions for the whole
of an output; `LINE` is one line's end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MS = r" \(\d+(\.\d)? ms\)\n"
HEALTH = r"http://127\.0\.0\.1:\d+/health"


@dataclass(frozen=True)
class Case:
    name: str
    args: str | list[str | bytes]
    code: int
    stdout: str = ""
    stderr: str = ""
    env: dict[str, str] = field(default_factory=dict)


def usage(problem: str) -> str:
    return f"healthchecker: usage_error: {problem}\n"


def unhealthy(reason: str, detail: str, target: str = r"\S+") -> str:
    return rf"unhealthy: {target}: {reason}: {detail}\n"


def healthy(detail: str = "HTTP status 200", target: str = HEALTH) -> str:
    return f"healthy: {target}: {detail}{MS}"


VERSION = (
    r"healthchecker, version \d+\.\d+\.\d+\n"
    r"CPython 3\.\d+\.\d+, OpenSSL 3\.\d+\.\d+ [^,]+, CA certificates of \d{4}-\d\d-\d\d\n"
)

REFUSED = unhealthy("connection_refused", r"connect: 127\.0\.0\.1:\d+: Connection refused")
_WARNING = "healthchecker: warning: ignoring unknown environment"
UNKNOWN = f"{_WARNING} variable: HEALTHCHECKER_PROT\n"
SEVERAL_UNKNOWN = f"{_WARNING} variables: HEALTHCHECKER_HSOT, HEALTHCHECKER_PROT\n"

STARTTLS = "postgresql://, postgres://, mysql://, smtp://, imap://, pop3:// and ldap://"
ROLES = r"postgresql://, postgres://, mysql://, redis\[s\]:// and mongodb\[s\]://"

CASES = [
    # The main job.
    Case("port", "--port {port}", 0),
    Case("port with equals sign", "--port={port}", 0),
    Case("port in the Go spelling", "-port={port}", 0),
    Case("port in the Go spelling, apart", "-port {port}", 0),
    Case("port in short", "-p {port}", 0),
    Case("port in short, together", "-p{port}", 0),
    Case("path", "--port {port} --path /health", 0),
    Case("path with a query", "--port {port} --path /health?deep=1", 0),
    Case(
        "path with a space",
        ["--port", "{port}", "--path", "/health?a b", "-v"],
        0,
        healthy(target=r"http://127\.0\.0\.1:\d+/health\?a%20b"),
    ),
    Case("named command", "check --port {port}", 0),
    Case("nothing listens", "--port {closed}", 1, stderr=REFUSED),
    Case(
        "another path",
        "--port {port} --path /nothing",
        1,
        stderr=unhealthy("unexpected_status", "HTTP status 404, expected 200"),
    ),
    Case(
        "unhealthy",
        "--port {port} --path /status/503",
        1,
        stderr=unhealthy("unexpected_status", "HTTP status 503, expected 200"),
    ),
    Case(
        "204 is not 200",
        "--port {port} --path /status/204",
        1,
        stderr=unhealthy("unexpected_status", "HTTP status 204, expected 200"),
    ),
    # Where.
    Case("host", "--host localhost --port {port}", 0),
    Case(
        "host by IPv6 literal",
        "--host ::1 --port {closed}",
        1,
        stderr=unhealthy("connection_[a-z]+", r"connect: \[::1\]:\d+: .+"),
    ),
    Case("URL", "http://127.0.0.1:{port}/health", 0),
    Case("URL with credentials", "-v http://me:secret@127.0.0.1:{port}/health", 0, healthy()),
    Case(
        "unknown name",
        "http://no-such-host.invalid/ --timeout 15s",
        1,
        stderr=unhealthy("dns_failure", "lookup: .*no-such-host.invalid.*"),
    ),
    Case(
        "name in another script",
        "http://bücher.invalid/ --timeout 15s",
        1,
        stderr=unhealthy("dns_failure", "lookup: .*", r"http://xn--bcher-kva\.invalid/"),
    ),
    Case(
        "name that no script can spell",
        "http://xn--a.invalid/ --timeout 15s",
        1,
        stderr=unhealthy("dns_failure", "lookup: .*", r"http://xn--a\.invalid/"),
    ),
    Case(
        "name that breaks a rule",
        "http://٣.invalid/",
        1,
        stderr=usage(
            r"TARGET: 'http://\\u0663\.invalid/': not a URL such as \S+ \(.*\\u0663\.invalid'\)"
        ),
    ),
    Case(
        "value with characters beyond ASCII",
        ["-Hü: x", "--port", "{port}"],
        1,
        stderr=usage(r"--header: '\\xfc': not a header name such as X-Token"),
    ),
    Case("tcp", "-v tcp://127.0.0.1:{port}", 0, healthy("connected", r"tcp://127\.0\.0\.1:\d+")),
    Case("tcp to nothing", "tcp://127.0.0.1:{closed}", 1, stderr=REFUSED),
    *(
        Case(f"{scheme} to nothing", f"{scheme}://127.0.0.1:{{closed}}", 1, stderr=REFUSED)
        for scheme in ("postgresql", "postgres", "mysql", "redis", "rediss", "amqp", "amqps")
    ),
    *(
        Case(
            f"credentials of {scheme}",
            f"{scheme}://us3r:s3cret@127.0.0.1:{{closed}}/name",
            1,
            stderr=unhealthy("connection_refused", ".*", rf"{scheme}://127\.0\.0\.1:\d+/name"),
        )
        for scheme in ("postgresql", "mysql", "redis", "amqps")
    ),
    Case(
        "another protocol than Redis",
        "redis://127.0.0.1:{port}",
        1,
        stderr=unhealthy("invalid_response", "response: not a Redis reply"),
    ),
    Case(
        "secret of a query",
        "postgresql://127.0.0.1/name?password=s3cret",
        1,
        stderr=usage("TARGET: 'postgresql://127.0.0.1/name.*': .* takes no query or fragment; .*"),
    ),
    Case("socket as a target", "-v unix://{socket}", 0, healthy("connected", r"unix:///\S+")),
    Case(
        "messages over a socket",
        [
            "unix://{socket}",
            *("--send", r"GET /health HTTP/1.0\r\n\r\n", "--expect-reply", r"200 OK\r\n"),
        ],
        0,
    ),
    Case(
        "another reply",
        ["tcp://127.0.0.1:{port}", "--send", r"GET / HTTP/1.0\r\n\r\n", "--expect-reply=PONG"],
        1,
        stderr=unhealthy("unexpected_reply", r"no 'PONG' in the reply '.*'"),
    ),
    Case("no file", "file:///nonexistent", 1, stderr=unhealthy("missing", "No such file.*")),
    Case("no pid file", "pid:///nonexistent", 1, stderr=unhealthy("missing", "No such file.*")),
    Case("loopback only", "--loopback-only http://localhost:{port}/health", 0),
    Case("Unix socket", ["--unix-socket", "{socket}"], 0),
    Case(
        "Unix socket with a target",
        ["-v", "--unix-socket", "{socket}", "http://app/health"],
        0,
        healthy(target=r"http://app/health over \S+"),
    ),
    Case(
        "Unix socket that is not there",
        ["--unix-socket", "/nonexistent"],
        1,
        stderr=unhealthy(
            "connection_failed",
            "connect: /nonexistent: No such file or directory",
            "http://localhost/health over /nonexistent",
        ),
    ),
    # How.
    Case("method", "--port {port} --method post", 0),
    Case("HEAD", "--port {port} --method HEAD", 0),
    Case("status list", "--port {port} --path /status/204 --status 200,204", 0),
    Case("status class", "--port {port} --path /status/204 --status 2xx", 0),
    Case("status range", "--port {port} --path /status/302 --status 200-399", 0),
    Case(
        "header",
        [
            "--port",
            "{port}",
            "--path",
            "/echo",
            "-H",
            "X-Probe: yes: it is",
            "--expect-json",
            "headers.X-Probe=yes: it is",
        ],
        0,
    ),
    Case(
        "Host header",
        [
            "--port",
            "{port}",
            "--path",
            "/echo",
            "-H",
            "Host: app.example",
            "--expect-json",
            "headers.Host=app.example",
        ],
        0,
    ),
    Case(
        "basic auth",
        [
            "--port",
            "{port}",
            "--path",
            "/echo",
            "--basic-auth",
            "me:pass:word",
            "--expect-json",
            "headers.Authorization=Basic bWU6cGFzczp3b3Jk",
        ],
        0,
    ),
    Case(
        "basic auth without a user",
        [
            *("--port", "{port}", "--path", "/echo", "--basic-auth", ":password"),
            "--expect-json=headers.Authorization=Basic OnBhc3N3b3Jk",
        ],
        0,
    ),
    Case(
        "basic auth without a password",
        [
            *("--port", "{port}", "--path", "/echo", "--basic-auth", " me :"),
            "--expect-json=headers.Authorization=Basic IG1lIDo=",
        ],
        0,
    ),
    Case(
        "basic auth that is not UTF-8",
        [
            *("--port", "{port}", "--path", "/echo", b"--basic-auth=\xff:\xfe"),
            "--expect-json=headers.Authorization=Basic /zr+",
        ],
        0,
    ),
    Case(
        "text that is not UTF-8",
        [*("--port", "{port}", "--path", "/bytes"), b"--expect-body=\xff\xfe"],
        0,
    ),
    Case(
        "text that is UTF-8 where bytes are not",
        ["--port", "{port}", "--path", "/bytes", "--expect-body=\xff"],
        1,
        stderr=unhealthy("unexpected_body", r"'\\xff' not found in the body"),
    ),
    Case(
        "two hosts",
        ["--port", "{port}", "-H", "Host: a", "-H", "host: b"],
        1,
        stderr=usage("--header: 'Host': may only be given once"),
    ),
    Case(
        "an informational status",
        "--port {port} --status 101",
        1,
        stderr=usage("--status: .*"),
    ),
    Case(
        "a default header left out",
        [
            *("--port", "{port}", "--path", "/echo", "-H", "User-Agent:", "-H", "X-Empty:"),
            *("--expect-json=headers.X-Empty=", "--expect-json=headers.Accept=*/*", "-v"),
            "--expect-body=X-Empty",
        ],
        0,
        healthy(target=r"http://127\.0\.0\.1:\d+/echo"),
    ),
    Case(
        "a default header that is not there",
        [
            *("--port", "{port}", "--path", "/echo", "-H", "User-Agent:"),
            "--expect-json=headers.User-Agent",
        ],
        1,
        stderr=unhealthy("unexpected_body", "JSON body: headers.User-Agent is missing"),
    ),
    Case(
        "auth of the URL",
        [
            "http://me:pw@127.0.0.1:{port}/echo",
            "--expect-json",
            "headers.Authorization=Basic bWU6cHc=",
        ],
        0,
    ),
    Case(
        "expected JSON", "--port {port} --expect-json status=UP --expect-json checks.0.ok=true", 0
    ),
    Case("expected JSON number", "--port {port} --expect-json checks.0.n=3", 0),
    Case(
        "expected JSON number, spelled otherwise", "--port {port} --expect-json checks.0.n=3e0", 0
    ),
    Case("expected JSON anywhere", "--port {port} --expect-json checks.0.n", 0),
    Case("expected JSON in quotes", ["--port", "{port}", '--expect-json="status"=UP'], 0),
    Case("a JSON comparison", ["--port", "{port}", "--expect-json", "status~^(UP|OK)$"], 0),
    Case(
        "JSON that is not there",
        "--port {port} --expect-json checks.1",
        1,
        stderr=unhealthy("unexpected_body", r"JSON body: checks\.1 is missing"),
    ),
    Case(
        "invalid JSON path",
        ["--port", "{port}", '--expect-json="status=UP'],
        1,
        stderr=usage("--expect-json: .*: not a dotted path .*"),
    ),
    Case(
        "other JSON",
        "--port {port} --expect-json status=DOWN",
        1,
        stderr=unhealthy("unexpected_body", "JSON body: status is UP, expected DOWN"),
    ),
    Case(
        "JSON true is no text",
        "--port {port} --expect-json checks.0.ok=1",
        1,
        stderr=unhealthy("unexpected_body", ".*"),
    ),
    Case(
        "no JSON",
        "--port {port} --path /delay --expect-json a=1",
        1,
        stderr=unhealthy("unexpected_body", "the body is not JSON"),
    ),
    Case("expected body", ["--port", "{port}", "--expect-body", '"UP"'], 0),
    Case(
        "other body",
        ["--port", "{port}", "--expect-body", "DOWN"],
        1,
        stderr=unhealthy("unexpected_body", "'DOWN' not found in the body"),
    ),
    Case("expected header", ["--port", "{port}", "--expect-header", "x-state: fine"], 0),
    Case(
        "other header",
        ["--port", "{port}", "--expect-header", "X-State: fin"],
        1,
        stderr=unhealthy("unexpected_header", "header X-State does not .*"),
    ),
    Case(
        "redirect",
        "--port {port} --path /redirect/health",
        1,
        stderr=unhealthy(
            "redirect", r"response: HTTP status 302: redirect to .* \(not followed; .*"
        ),
    ),
    Case("redirect followed", "--port {port} --path /redirect/health --follow-redirects", 0),
    Case(
        "redirect elsewhere",
        "--port {port} --path /elsewhere --follow-redirects",
        1,
        stderr=unhealthy("redirect", "response: HTTP status 302: redirect to another host: .*"),
    ),
    Case(
        "five redirects",
        "--port {port} --path "
        "/redirect/redirect/redirect/redirect/redirect/health --follow-redirects",
        0,
    ),
    Case(
        "six redirects",
        "--port {port} --path "
        "/redirect/redirect/redirect/redirect/redirect/redirect/health --follow-redirects",
        1,
        stderr=unhealthy("redirect", "response: more than 5 redirects"),
    ),
    Case(
        "too late",
        "tcp://127.0.0.1:{port} --send no-request --timeout 1s",
        1,
        stderr=unhealthy("timeout", "timed out after 1000 ms \\(response\\)"),
    ),
    # Several.
    Case("two", "http://127.0.0.1:{port}/health tcp://127.0.0.1:{port}", 0),
    Case(
        "one of two fails",
        "http://127.0.0.1:{port}/health tcp://127.0.0.1:{closed}",
        1,
        stderr=REFUSED,
    ),
    Case(
        "one of two is enough", "--any http://127.0.0.1:{port}/health tcp://127.0.0.1:{closed}", 0
    ),
    Case(
        "not one of two",
        "--any tcp://127.0.0.1:{closed} tcp://localhost:{closed}",
        1,
        stderr=f"{REFUSED}unhealthy: tcp://localhost:.*[^)]\n",
    ),
    Case("text matched", ["--port", "{port}", "--match-body", '"status": ?"UP"'], 0),
    Case(
        "text not matched",
        ["--port", "{port}", "--match-body", "^DOWN$"],
        1,
        stderr=unhealthy("unexpected_body", r"'\^DOWN\$' does not match the body"),
    ),
    Case(
        "a regular expression that a later Python may read otherwise",
        ["--port", "{port}", "--match-body", "[[a]"],
        0,
    ),
    Case(
        "no regular expression",
        ["--port", "{port}", "--match-body", "("],
        1,
        stderr=usage(r"--match-body: '\(': invalid regular expression: .* \(use --expect-body .*"),
    ),
    Case("header that is there", "--port {port} --expect-header x-state", 0),
    Case(
        "header that is not there",
        "--port {port} --expect-header X-Other",
        1,
        stderr=unhealthy("unexpected_header", "missing header X-Other"),
    ),
    Case("path that is there", "--port {port} --expect-json checks.0.name", 0),
    Case(
        "path that is not there",
        "--port {port} --expect-json checks.1",
        1,
        stderr=unhealthy("unexpected_body", r"JSON body: checks\.1 is missing"),
    ),
    Case(
        "data",
        ["--port", "{port}", "--path", "/echo", "--data", "a=b", "--expect-json", "body=a=b"],
        0,
    ),
    Case(
        "data is sent by POST, as a form",
        [
            *("--port", "{port}", "--path", "/echo", "--data", "a=b"),
            *("--expect-json", "method=POST", "--expect-json", "headers.Content-Length=3"),
            *("--expect-json", "headers.Content-Type=application/x-www-form-urlencoded"),
        ],
        0,
    ),
    Case(
        "data by another method, of another type",
        [
            *("--port", "{port}", "--path", "/echo", "--data", "{}", "--method", "PUT"),
            *("-H", "Content-Type: application/json", "--expect-json", "method=PUT"),
            *("--expect-json", "headers.Content-Type=application/json"),
        ],
        0,
    ),
    Case(
        "data that is no text",
        ["--port", "{port}", "--path", "/echo", b"--data=\xff", "--expect-body", "ff"],
        0,
    ),
    Case(
        "body of an unexpected response",
        "--port {port} --path /nothing -v",
        1,
        stderr="unhealthy: .*: HTTP status 404, expected 200" + MS[:-2] + ", body: no such route\n",
    ),
    Case(
        "body of an unexpected response in JSON",
        "--port {port} --path /nothing --output json",
        1,
        '\\{.*"body": "no such route"\\}\\]\\}\n',
    ),
    # Variables.
    Case("variable", ["--port", "${P}", "--path", "/${Q:-health}"], 0, env={"P": "{port}"}),
    Case("variable in a target", ["http://127.0.0.1:${P}/health"], 0, env={"P": "{port}"}),
    Case("empty variable", ["--port", "{port}", "--path", "${P:-/health}"], 0, env={"P": ""}),
    Case(
        "variable that holds one",
        ["--path", "${P}", "--port", "{port}"],
        1,
        env={"P": "/${Q}"},
        stderr=unhealthy("unexpected_status", ".*"),
    ),
    Case(
        "variable in credentials and headers",
        [
            *("--port", "{port}", "--path", "/echo", "--basic-auth", "${U}:${V}", "-H", "X: ${U}"),
            *("--expect-json", "headers.X=me"),
            *("--expect-json", "headers.Authorization=Basic bWU6c2VjcmV0"),
        ],
        0,
        env={"U": "me", "V": "secret"},
    ),
    Case(
        "variable that is not set",
        ["--port", "${NO_SUCH_PORT}"],
        1,
        stderr=usage(r"--port: environment variable NO_SUCH_PORT is not set; .*"),
    ),
    Case(
        "variable of a target that is not set",
        ["tcp://db:${NO_SUCH_PORT}"],
        1,
        stderr=usage(r"a TARGET: environment variable NO_SUCH_PORT is not set; .*"),
    ),
    Case(
        "no variable elsewhere",
        ["--port", "{port}", "--expect-body", "${P}"],
        1,
        env={"P": "U"},
        stderr=unhealthy("unexpected_body", ".*"),
    ),
    *(
        Case(
            f"{text} is not supported",
            ["--port", "{port}", "-H", f"A: {text}"],
            1,
            stderr=usage(r"--header: \$.* use \$\{.*"),
            env={"A": "s3cret", "a": "s3cret", "PORT": "80"},
        )
        for text in [
            *("${A-b}", "${A:?x}", "${A:+x}", "${A%x}", "${A:-${B}}", "${a.b}", "$PORT", "${A"),
            *("${}", "${ A}", "${file:x}", "${file:}", "$PORT_", "x$NO_SUCH", "${A:-$PORT}"),
        ]
    ),
    Case(
        "dollar signs that are no variables",
        [
            *("--port", "{port}", "--path", "/echo", "-H", "A: Pa$$WORD $a $1 ${X:-$}PORT"),
            *("--expect-json", "headers.A=Pa$$WORD $a $1 $PORT"),
        ],
        0,
        env={"PORT": "80"},
    ),
    Case(
        "a secret that ends with a line end",
        [
            *("--port", "{port}", "--path", "/echo", "--basic-auth", "u:${P}", "-H", "A: ${P}"),
            *("--expect-json", "headers.Authorization=Basic dTpwdw==", "--expect-json"),
            "headers.A=pw",
        ],
        0,
        env={"P": "pw\r\n"},
    ),
    Case(
        "a variable in data",
        ["--port={port}", "--path=/echo", "--data", "a=${P}", "--expect-json", r"body=a=1\n2"],
        0,
        env={"P": r"1\n2"},
    ),
    Case(
        "a variable in --send",
        [
            "tcp://127.0.0.1:{port}",
            "--send",
            r"GET /echo${P} HTTP/1.0\r\n\r\n",
            "--expect-reply= 40",
        ],
        0,
        env={"P": r"\r\n"},
    ),
    Case(
        "a device instead of a file",
        ["--port", "{port}", "-H", "A: ${file:/dev/zero}"],
        1,
        stderr=usage("--header: /dev/zero: not a regular file"),
    ),
    *(
        Case(
            f"the password {password} in a target",
            ["--timeout=1s", "redis://:${P}@127.0.0.1:{closed}"],
            1,
            stderr=unhealthy("connection_refused", "connect: .*", r"redis://127\.0\.0\.1:\d+"),
            env={"P": password},
        )
        for password in ("a/b", "a#b", "a?b", "100%25", "%FF", "@", ":", "7/s3cret", "s\u00fc")
    ),
    Case(
        "a query from a variable",
        ["http://127.0.0.1:{closed}/${A}?a=b&key=${KEY}#${KEY}"],
        1,
        stderr=unhealthy(
            "connection_refused",
            "connect: .*",
            r"http://127\.0\.0\.1:\d+/path\?a=b&key=\$\{KEY\}",
        ),
        env={"KEY": "s3cret", "A": "path"},
    ),
    Case(
        "a URL from a variable",
        ["${DATABASE_URL}"],
        1,
        stderr=unhealthy(
            "connection_refused",
            "connect: .*",
            r"http://127\.0\.0\.1:\d+/h\?\$\{DATABASE_URL\}",
        ),
        env={"DATABASE_URL": "http://u:s3cret@127.0.0.1:{closed}/h?key=s3cret"},
    ),
    *(
        Case(
            f"a password that is not encoded in {target}",
            [target],
            1,
            stderr=usage("TARGET: '[a-z]+://db[^/]*': has an @ after / or .* write / as %2F .*"),
        )
        for target in [
            *("redis://app:7/s3cret@db", "redis://app:/s3cret@db", "redis://app:?s3cret@db"),
            *("http://app:7?s3cret@db", "https://:/s3cret@db", "amqp://app/s3cret@db:1"),
            *("tcp://app:7/s3cret@db:1", "postgresql://app:7#s3cret@db", "grpc://app:1/s3cret@db"),
        ]
    ),
    Case("an @ in a path", ["http://127.0.0.1:{port}/health?a@b", "--status=2xx,404"], 0),
    Case(
        "a mistyped target with a secret",
        ["redis://:${P}cache"],
        1,
        stderr=usage(r"a TARGET: .*"),
        env={"P": "12/34s3cret"},
    ),
    # Targets without a scheme.
    *(
        Case(
            f"target {text}",
            [text],
            1,
            stderr=usage(f"TARGET: .*: not a URL; did you mean {meant}\\?"),
        )
        for text, meant in {
            "localhost": "http://localhost or tcp://localhost",
            "localhost:8080": "http://localhost:8080 or tcp://localhost:8080",
            "8080": "http://127.0.0.1:PORT/health",
            "/health": "http://127.0.0.1/PATH, file:///PATH or unix:///PATH",
            "@name": "unix:@NAME",
        }.items()
    ),
    Case(
        "target of an unknown scheme",
        ["htp://localhost"],
        1,
        stderr=usage("TARGET: .*: unknown scheme; expected one of http://HOST, .*"),
    ),
    # Actions
    Case("attempts", "--attempts 3 --interval 10ms --port {port}", 0),
    Case("attempts that fail", "--attempts 3 --interval 10ms --port {closed}", 1, stderr=REFUSED),
    Case(
        "signal to no process",
        "--on-unhealthy TERM:4000000 --port {closed}",
        1,
        stderr=REFUSED + "healthchecker: cannot send SIGTERM to process 4000000: No such process\n",
    ),
    Case("signal to no process, quietly", "--on-unhealthy TERM:4000000 -q --port {closed}", 1),
    Case("no signal when healthy", "--on-unhealthy TERM:4000000 --port {port}", 0),
    *(
        Case(
            f"signal {word}",
            ["--on-unhealthy", word, "--port", "{port}"],
            1,
            stderr=usage(r"--on-unhealthy: '.*: .*expected .*"),
        )
        for word in ("TERM", "TERM:", "TERM:0", "TERM:-1", ":1", "FIRE:1", "99:1", "TERM:x")
    ),
    # Messages
    Case("verbose", "--port {port} -v", 0, healthy()),
    Case("verbose and unhealthy", "--port {closed} -v", 1, stderr=REFUSED[:-2] + MS),
    Case("quiet", "--port {closed} -q", 1),
    Case(
        "JSON",
        "--port {port} --output json",
        0,
        r'\{"healthy": true, "checks": \[\{"target": "' + HEALTH + r'", "healthy": true, '
        r'"reason": "ok", "detail": "HTTP status 200", "status": 200, "elapsed_ms": [\d.]+, '
        r'"phases_ms": \{"lookup": [\d.]+, "connect": [\d.]+, "response": [\d.]+\}\}\]\}'
        "\n",
    ),
    Case(
        "JSON of a failure",
        "--port {port} --path /status/500 --output json",
        1,
        r'\{"healthy": false, "checks": \[\{"target": "\S+", "healthy": false, '
        r'"reason": "unexpected_status", "detail": "HTTP status 500, expected 200", '
        r'"status": 500, "elapsed_ms": [\d.]+, "phases_ms": \{[^}]*\}\}\]\}'
        "\n",
    ),
    Case(
        "JSON of a usage error",
        "--port 0 --output json",
        1,
        r'\{"healthy": false, "checks": \[\{"target": "", "healthy": false, "reason": '
        r'"usage_error", "detail": ".*--port.*", "status": null, "elapsed_ms": [\d.]+\}\]\}'
        "\n",
    ),
    Case("version", "--version", 0, VERSION),
    Case("short help", "-h", 0, r"(?s)Usage: healthchecker \[OPTIONS\] \[TARGET\]\.\.\..*"),
    Case(
        "short help of a command",
        "watch -h",
        0,
        r"(?s)Usage: healthchecker watch \[OPTIONS\] \[TARGET\]\.\.\.\n.*-h, --help .*",
    ),
    Case("help", "--help", 0, r"(?s)Usage: healthchecker \[OPTIONS\] \[TARGET\]\.\.\..*"),
    # The environment.
    Case("port of the environment", "", 0, env={"HEALTHCHECKER_PORT": "{port}"}),
    Case("the command line wins", "--port {port}", 0, env={"HEALTHCHECKER_PORT": "{closed}"}),
    Case(
        "a target wins", "http://127.0.0.1:{port}/health", 0, env={"HEALTHCHECKER_PORT": "{closed}"}
    ),
    Case(
        "flags of the environment",
        "--port {port}",
        0,
        healthy(),
        env={"HEALTHCHECKER_VERBOSE": "1"},
    ),
    Case(
        "quiet wins over the environment", "--port {port} -q", 0, env={"HEALTHCHECKER_VERBOSE": "1"}
    ),
    Case(
        "headers of the environment",
        "--port {port} --path /echo --expect-json headers.A=1 --expect-json headers.B=2",
        0,
        env={"HEALTHCHECKER_HEADER": "A: 1\nB: 2"},
    ),
    Case(
        "targets of the environment",
        "-v",
        0,
        healthy() + healthy("connected", r"tcp://127\.0\.0\.1:\d+"),
        env={"HEALTHCHECKER_TARGET": "http://127.0.0.1:{port}/health\n\ntcp://127.0.0.1:{port}\n"},
    ),
    Case(
        "a target wins over those of the environment",
        "tcp://127.0.0.1:{port}",
        0,
        env={"HEALTHCHECKER_TARGET": "tcp://127.0.0.1:{closed}"},
    ),
    Case(
        "a port wins over the targets of the environment",
        "--port {port}",
        0,
        env={"HEALTHCHECKER_TARGET": "tcp://127.0.0.1:{closed}"},
    ),
    Case(
        "a target of the environment wins over its port",
        "",
        0,
        env={
            "HEALTHCHECKER_TARGET": "http://127.0.0.1:{port}/health",
            "HEALTHCHECKER_PORT": "{closed}",
        },
    ),
    Case(
        "defaults that a target cannot use",
        "tcp://127.0.0.1:{port}",
        0,
        env={
            "HEALTHCHECKER_EXPECT_JSON": "status=DOWN",
            "HEALTHCHECKER_UNIX_SOCKET": "/nonexistent",
            "HEALTHCHECKER_CACERT": "/nonexistent",
            "HEALTHCHECKER_STATUS": "no status",
            "HEALTHCHECKER_HEADER": "no header",
            "HEALTHCHECKER_PORT": "no port",
        },
    ),
    Case(
        "a default that one of two targets can use",
        "tcp://127.0.0.1:{port} http://app/health",
        0,
        env={"HEALTHCHECKER_UNIX_SOCKET": "{socket}"},
    ),
    Case(
        "a default method that has no body",
        "--port {port} --expect-json status=UP",
        0,
        env={"HEALTHCHECKER_METHOD": "HEAD"},
    ),
    Case(
        "a default expectation of no use",
        "--port {port} --method HEAD",
        0,
        env={"HEALTHCHECKER_EXPECT_BODY": "DOWN"},
    ),
    Case(
        "two defaults that contradict each other",
        "https://127.0.0.1:{port}/",
        1,
        stderr=usage(
            "HEALTHCHECKER_INSECURE cannot be combined with HEALTHCHECKER_CACERT; use one of them"
        ),
        env={"HEALTHCHECKER_INSECURE": "1", "HEALTHCHECKER_CACERT": "/nonexistent"},
    ),
    Case(
        "what Kubernetes sets for a Service of this name",
        "--host 127.0.0.1 --path /health -v",
        1,
        stderr=unhealthy(
            "connection_refused",
            r"connect: 127\.0\.0\.1:80: Connection refused \([\d.]+ ms\)",
            r"http://127\.0\.0\.1/health",
        ),
        env={
            "HEALTHCHECKER_PORT": "tcp://10.0.0.1:8080",
            "HEALTHCHECKER_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "HEALTHCHECKER_PORT_8080_TCP_ADDR": "10.0.0.1",
            "HEALTHCHECKER_PORT_8080_TCP_PORT": "8080",
            "HEALTHCHECKER_PORT_8080_TCP_PROTO": "tcp",
            "HEALTHCHECKER_SERVICE_HOST": "10.0.0.1",
            "HEALTHCHECKER_SERVICE_PORT": "8080",
            "HEALTHCHECKER_SERVICE_PORT_HTTP": "8080",
            "HEALTHCHECKER_CANARY_PORT": "tcp://10.0.0.2:8080",
            "HEALTHCHECKER_CANARY_SERVICE_HOST": "10.0.0.2",
        },
    ),
    Case(
        "a mistyped variable does not show on success",
        "--port {port}",
        0,
        env={"HEALTHCHECKER_PROT": "8080"},
    ),
    Case(
        "a mistyped variable",
        "--port {closed}",
        1,
        stderr=REFUSED + UNKNOWN,
        env={"HEALTHCHECKER_PROT": "s3cret"},
    ),
    Case(
        "mistyped variables with -v",
        "--port {port} -v",
        0,
        healthy(),
        SEVERAL_UNKNOWN,
        env={"HEALTHCHECKER_PROT": "8080", "HEALTHCHECKER_HSOT": "a"},
    ),
    Case(
        "a mistyped variable in JSON",
        "--port {closed} --output json",
        1,
        r'\{.*\], "unknown_variables": \["HEALTHCHECKER_PROT"\]\}\n',
        env={"HEALTHCHECKER_PROT": "8080"},
    ),
    Case(
        "a mistyped variable and a mistake",
        "--port 0",
        1,
        stderr=usage(".*") + UNKNOWN,
        env={"HEALTHCHECKER_PROT": "8080"},
    ),
    Case(
        "a bad default that is verified late",
        "",
        1,
        stderr=usage("HEALTHCHECKER_STATUS: 'ok': not .*"),
        env={"HEALTHCHECKER_STATUS": "ok"},
    ),
    Case(
        "an empty variable is as if it were not set",
        "--port {port}",
        0,
        env={"HEALTHCHECKER_TIMEOUT": "", "HEALTHCHECKER_CACERT": "", "HEALTHCHECKER_PROT": ""},
    ),
    Case(
        "a bad value in the environment",
        "",
        1,
        stderr=usage(r".*HEALTHCHECKER_PORT.*'\.\.\.' is not a port number \(1 to 65535\)"),
        env={"HEALTHCHECKER_PORT": "x"},
    ),
    Case(
        "proxies are not used",
        "--port {port}",
        0,
        env={
            "http_proxy": "http://127.0.0.1:{closed}",
            "HTTP_PROXY": "http://127.0.0.1:{closed}",
            "ALL_PROXY": "http://127.0.0.1:{closed}",
            "all_proxy": "http://127.0.0.1:{closed}",
        },
    ),
    Case(
        "no other program by environment",
        "--port {port} -v",
        0,
        healthy(),
        env={"_HEALTHCHECKER_COMPLETE": "bash_source"},
    ),
    # Mistakes.
    Case("no number", "--port abc", 1, stderr=usage(r".*--port.*'\.\.\.' is not a port .*")),
    Case("port 0", "--port 0", 1, stderr=usage(".*--port.*'0' is not a port .*")),
    Case("port too large", "--port 65536", 1, stderr=usage(".*--port.*'65536' is not a port .*")),
    Case("port far too large", f"--port {'9' * 5000}", 1, stderr=usage(".*--port.*")),
    Case("negative port", "--port=-1", 1, stderr=usage(".*--port.*'-1' is not a port .*")),
    Case("port missing", "--port", 1, stderr=usage(".*--port.* requires an argument.*")),
    Case("path without a slash", "--path health", 1, stderr=usage("--path: 'health': must .*")),
    Case("no duration", "--timeout soon", 1, stderr=usage(".*--timeout.*'soon' is not a .*")),
    Case("no time", "--timeout 0", 1, stderr=usage(".*--timeout.*'0' is out of range .*")),
    Case("negative time", "--timeout=-1s", 1, stderr=usage(".*--timeout.*'-1s' is not .*")),
    Case("infinite time", "--timeout inf", 1, stderr=usage(".*--timeout.*'inf' is not .*")),
    Case("unknown option", "--prot 1", 1, stderr=usage("unknown option '--prot'.*")),
    Case("unknown output", "--output xml", 1, stderr=usage(".*--output.*'xml' is neither .*")),
    Case("invalid status", "--status ok", 1, stderr=usage("--status: 'ok': not .*")),
    Case("status backwards", "--status 300-200", 1, stderr=usage("--status: '300-200': .*")),
    Case(
        "quiet and verbose",
        "-q -v",
        1,
        stderr=usage("--quiet cannot be combined with --verbose; use one of them"),
    ),
    Case(
        "a target and a port",
        "http://127.0.0.1/ --port 1",
        1,
        stderr=usage("--port cannot be combined with a TARGET; put it in the TARGET"),
    ),
    Case(
        "insecure and an authority",
        "--insecure --cacert /nonexistent",
        1,
        stderr=usage("--insecure cannot be combined with --cacert; use one of them"),
    ),
    Case(
        "a key alone",
        "--key /nonexistent https://127.0.0.1/",
        1,
        stderr=usage("--key: '/nonexistent': also needs .*"),
    ),
    Case(
        "no such authority",
        "--cacert /nonexistent https://127.0.0.1/",
        1,
        stderr=usage("--cacert: '/nonexistent': No such file or directory"),
    ),
    Case(
        "HEAD has no body",
        "--method head --expect-body x",
        1,
        stderr=usage("--method HEAD cannot be combined with --expect-body; use one of them"),
    ),
    Case(
        "a status of tcp",
        "tcp://127.0.0.1:1 --status 204",
        1,
        stderr=usage(r"--status: 'tcp://': only applies to http\[s\]://.* targets"),
    ),
    Case(
        "an option that suits none of the targets, of which the first is not valid",
        "--cert missing.pem lists tcp://127.0.0.1:1",
        1,
        stderr=usage("--cert: 'tcp://': only applies to TLS targets, such as https://"),
    ),
    Case(
        "a header for tcp",
        ["tcp://127.0.0.1:1", "-H", "A: b"],
        1,
        stderr=usage(r"--header: 'tcp://': only applies to http\[s\]://, grpc\[s\]://.* targets"),
    ),
    Case(
        "an authority without TLS",
        "--cacert missing.pem http://127.0.0.1:{port}/health",
        1,
        stderr=usage("--cacert: 'http://': only applies to TLS targets, such as https://"),
    ),
    Case(
        "insecure without TLS",
        "--insecure grpc://127.0.0.1:{port}",
        1,
        stderr=usage("--insecure: 'grpc://': only applies to TLS targets, such as https://"),
    ),
    Case(
        "insecure without a target",
        "--insecure --port {port}",
        1,
        stderr=usage("--insecure: 'http://': only applies to TLS targets, such as https://"),
    ),
    *(
        Case(
            f"TLS of {scheme} without its command",
            f"{scheme}://127.0.0.1:{{closed}} --cert-lifetime 1d",
            1,
            stderr=usage(f"--cert-lifetime: '{scheme}://': also needs --starttls here"),
        )
        for scheme in ("postgresql", "mysql", "smtp", "imap", "pop3", "ldap")
    ),
    Case(
        "TLS by its command",
        "smtp://127.0.0.1:{closed} --starttls --cert-lifetime 1d",
        1,
        stderr=REFUSED,
    ),
    *(
        Case(
            f"starttls of {scheme}",
            f"{scheme}://127.0.0.1:1 --starttls",
            1,
            stderr=usage(f"--starttls: '{scheme}://': only applies to {STARTTLS} targets"),
        )
        for scheme in ("http", "tcp", "tls", "smtps", "redis", "nats")
    ),
    *(
        Case(
            f"login of {scheme}",
            f"{scheme}://us3r:s3cret@127.0.0.1 --login",
            1,
            stderr=usage(
                f"--login: '{scheme}://': only applies to postgresql://, postgres:// and mysql:// "
                "targets"
            ),
        )
        for scheme in ("http", "redis", "mqtt", "mongodb", "ldap")
    ),
    *(
        Case(
            f"login of {scheme} without a user",
            f"{scheme}://{credentials}127.0.0.1 --login",
            1,
            stderr=usage(
                f"--login: '{scheme}://127.0.0.1': "
                r"needs a user \(and a password\) in the TARGET"
            ),
        )
        for scheme, credentials in (("postgresql", ""), ("postgres", ":s3cret@"), ("mysql", ""))
    ),
    *(
        Case(
            f"role of {scheme}",
            f"{scheme}://127.0.0.1:1 --role primary",
            1,
            stderr=usage(f"--role: '{scheme}://': only applies to {ROLES} targets"),
        )
        for scheme in ("http", "tcp", "kafka", "zookeeper")
    ),
    *(
        Case(
            f"unknown role of {target}",
            f"{target} --role master",
            1,
            stderr=usage("--role: 'master': not one of primary, replica, secondary"),
        )
        for target in ("redis://127.0.0.1", "mongodb://127.0.0.1", "mysql://u:p@127.0.0.1 --login")
    ),
    *(
        Case(
            f"role of {scheme} without a login",
            f"{scheme}://us3r:s3cret@127.0.0.1 --role primary",
            1,
            stderr=usage(f"--role: '{scheme}://127.0.0.1': also needs --login here"),
        )
        for scheme in ("postgresql", "mysql")
    ),
    *(
        Case(f"{name} in order", args, 1, stderr=REFUSED)
        for name, args in {
            "starttls": "ldap://127.0.0.1:{closed} --starttls --insecure",
            "login": "postgresql://us3r:s3cret@127.0.0.1:{closed}/name --login",
            "login and role": "mysql://us3r:s3cret@127.0.0.1:{closed} --login --role replica",
            "role of a cache": "redis://127.0.0.1:{closed} --role primary",
            "role of a document database": "mongodb://127.0.0.1:{closed} --role secondary",
        }.items()
    ),
    Case(
        "login for one of two targets",
        "mysql://us3r:s3cret@127.0.0.1:{closed} tcp://127.0.0.1:{closed} --login",
        1,
        stderr=2 * REFUSED,
    ),
    Case(
        "insecure for a redirect",
        "--insecure --follow-redirects --port {port} --path /redirect/health",
        0,
    ),
    Case(
        "insecure for one of two",
        "--any --insecure http://127.0.0.1:{port}/health https://127.0.0.1:{closed}/",
        0,
    ),
    Case(
        "a status of one of two",
        "--status 2xx tcp://127.0.0.1:{port} http://127.0.0.1:{port}/health",
        0,
    ),
    Case("not a URL", "127.0.0.1:80", 1, stderr=usage("TARGET: '127.0.0.1:80': not .*")),
    Case(
        "two targets in one argument",
        ["http://127.0.0.1/ http://me:s3cret@127.0.0.1/"],
        1,
        stderr=usage(
            "TARGET: ((?!s3cret).)*: looks like several arguments in one; pass each separately"
        ),
    ),
    *(
        Case(
            f"{what} and more in one argument",
            [*args],
            1,
            stderr=usage(
                "((?!s3cret).)*: looks like several arguments in one; pass each separately"
            ),
        )
        for what, args in {
            "a URL": ["http://127.0.0.1/ --basic-auth me:s3cret"],
            "a URL and a header": ["http://127.0.0.1/ Authorization: s3cret"],
            "a file": ["file:///nonexistent --basic-auth=me:s3cret"],
            "a socket as a target": ["unix:/nonexistent -H A:s3cret"],
            "a path": ["--path", "/health --basic-auth s3cret"],
            "a socket": ["--unix-socket", "/nonexistent --basic-auth s3cret"],
            "a socket and a URL": ["--unix-socket=/nonexistent\thttp://me:s3cret@127.0.0.1/"],
            "a socket and a header": ["--unix-socket", "/nonexistent\tAuthorization: s3cret"],
        }.items()
    ),
    Case(
        "a second target for a command that takes one",
        "list grpc://127.0.0.1:1 grpc://me:s3cret@127.0.0.1:2",
        1,
        stderr=usage(r"unexpected argument: grpc://127\.0\.0\.1:2; write .* TARGET"),
    ),
    Case(
        "an option and its value in one argument",
        ["--basic-auth me:s3cret"],
        1,
        stderr=usage("pass '--basic-auth' and its value as two arguments, or join them with '='"),
    ),
    Case(
        "a header without quotes",
        "-H Authorization: s3cret --port {port}",
        1,
        stderr=usage("--port cannot be combined with a TARGET; put it in the TARGET"),
    ),
    Case(
        "a header without quotes and no other option",
        "-H Authorization: s3cret",
        1,
        stderr=usage("TARGET: '...': not ((?!s3cret).)*"),
    ),
    Case(
        "a mistyped option with a secret",
        "--basci-auth=me:s3cret",
        1,
        stderr=usage(r"unknown option '--basci-auth'; did you mean --basic-auth\?"),
    ),
    Case(
        "no option at all",
        "--=s3cret",
        1,
        stderr=usage(r"unknown option \(not shown, because it may contain a secret\); see --help"),
    ),
    Case(
        "options after the end of options",
        "-- --basic-auth=me:s3cret",
        1,
        stderr=usage("TARGET: '...': not ((?!s3cret).)*"),
    ),
    Case(
        "a secret where a number is wanted",
        "--port me:s3cret",
        1,
        stderr=usage(r".*'...' is not a port number \(1 to 65535\)"),
    ),
    Case(
        "a header name that holds the value, too",
        ["-H", "Authorization Bearer s3cret: "],
        1,
        stderr=usage("--header: 'Authorization...': not a header name such as X-Token"),
    ),
    Case("no host", "http://", 1, stderr=usage("TARGET: 'http://': .*")),
    Case("port in the URL too large", "http://127.0.0.1:99999/", 1, stderr=usage("TARGET: .*")),
    Case("port of the URL 0", "http://127.0.0.1:0/", 1, stderr=usage("TARGET: .*")),
    Case(
        "unknown scheme",
        "gopher://127.0.0.1/",
        1,
        stderr=usage("TARGET: 'gopher://127.0.0.1/': .*"),
    ),
    Case(
        "tcp without a port",
        "tcp://127.0.0.1",
        1,
        stderr=usage("TARGET: .*: missing port; expected tcp://HOST:PORT"),
    ),
    Case("a bad host", ["--host", "a b"], 1, stderr=usage("--host: 'a b': not .*")),
    Case("an empty host", ["--host", ""], 1, stderr=usage("--host: '': not .*")),
    Case("white space around a target", [" http://127.0.0.1:{port}/health\t"], 0),
    Case("a line end around a target", ["http://127.0.0.1:{port}/health\r\n"], 0),
    Case(
        "targets in a list",
        ["http://127.0.0.1:{port}/health,http://127.0.0.1:{closed}"],
        1,
        stderr=usage("TARGET: .* looks like a list; pass each target separately"),
    ),
    Case("an empty argument", [""], 1, stderr=usage("TARGET: '': .*")),
    Case(
        "header without a colon",
        ["-H", "Authorization s3cret"],
        1,
        stderr=usage("((?!s3cret).)*--header((?!s3cret).)*"),
    ),
    Case(
        "header with a line feed",
        ["-H", "A: s3cret\nB: 2"],
        1,
        stderr=usage("--header: 'A': ((?!s3cret).)*"),
    ),
    Case(
        "a length of one's own",
        ["-H", "Content-Length: 5"],
        1,
        stderr=usage("--header: 'Content-Length': .*"),
    ),
    Case(
        "credentials without a colon",
        "--basic-auth s3cret",
        1,
        stderr=usage("((?!s3cret).)*--basic-auth((?!s3cret).)*"),
    ),
    Case(
        "bad URL with credentials",
        "http://me:s3/cret@127.0.0.1:x/",
        1,
        stderr=usage("TARGET: ((?!s3|cret).)*"),
    ),
    Case(
        "credentials without a scheme",
        "me:s3cret@127.0.0.1",
        1,
        stderr=usage("TARGET: ((?!s3cret).)*"),
    ),
    Case("not UTF-8", [b"--path=/\xff\xfe"], 1, stderr=usage(r"--path: .*\\udcff.*")),
    Case("not UTF-8 in a target", [b"http://127.0.0.1/\xff"], 1, stderr=usage(r"TARGET: .*")),
    Case("not UTF-8 in a header", [b"-HA: \xff"], 1, stderr=usage(r"--header: 'A': .*")),
    Case("control characters", ["http://127.0.0.1/\x1b[2J"], 1, stderr=usage(r"TARGET: .*\\x1b.*")),
    Case(
        "a very long argument",
        ["http://" + "a" * 100_000],
        1,
        stderr=r"healthchecker: usage_error: .{1,2000}\n",
    ),
]

"""Whatever a peer does: the right reason, in time, in little memory, and nothing for a terminal."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby

import pytest
import trustme

from healthchecker import Reason
from healthchecker._protocols.registry import SCHEMES
from healthchecker._values.expect.body import MAX_BODY_BYTES
from healthchecker._values.target import Place
from tests.servers.peers import Peer, respond
from tests.servers.tls import server_context
from tests.support.forms import SAVED, Form, Outcome, run, undisturbed
from tests.tables.hostile_behaviours import (
    DATAGRAMS,
    HOSTILE_BEHAVIOURS,
    OPENINGS,
    SHORT,
    HostileBehaviour,
)
from tests.tables.hostile_grpc import HOSTILE_GRPC
from tests.tables.hostile_http import HOSTILE as HOSTILE_HTTP
from tests.tables.hostile_http import NESTED, OK, Hostile
from tests.tables.hostile_http2 import HOSTILE_HTTP2

# Hundreds of programs; the tests in this process cover the same code at less cost.
pytestmark = pytest.mark.usefixtures("full_speed")

Row = Hostile | HostileBehaviour
HOSTILE: list[Row] = [*HOSTILE_HTTP, *HOSTILE_HTTP2, *HOSTILE_GRPC, *HOSTILE_BEHAVIOURS]

GRACE = 0.15
"""Seconds by which the whole process may exceed its time limit."""
BODIES_KIB = 2 * MAX_BODY_BYTES // 1024
"""What each check more may hold at the same time: a body as received, and decoded."""
LISTED = 8
"""How many checks fit the 4096 bytes of a report with their whole details."""


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context(trustme.CA(), "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Group:
    """Hostile peers of a scheme that one command can check: they need the same options."""

    scheme: str
    timeout: float
    args: tuple[str, ...]
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        what = self.rows[0].name if len(self.rows) == 1 else f"{len(self.rows)} peers"
        return f"{self.scheme} {self.timeout} s, {what}"


def check_peers(
    form: Form, group: Group, context: ssl.SSLContext, *, grace: float = GRACE
) -> list[tuple[Reason, str]]:
    """Check all peers of a group by one command, and return the reasons and details.

    Everything but the verdicts is looked at here.
    """
    insecure = ["--insecure"] if SCHEMES[group.scheme].tls else []
    timeout = group.timeout * form.slowness
    connected_at: list[float] = []

    def attempt() -> Outcome:
        with ExitStack() as stack:
            peers = [
                stack.enter_context(Peer(row.behaviour, context=context if row.tls else None))
                for row in group.rows
            ]
            targets = [f"{group.scheme}://{peer.address}" for peer in peers]
            options = [f"--timeout={timeout}", "--output=json", *insecure, *group.args]
            outcome = run(form, [*options, *targets])
        connected_at[:] = [at for peer in peers for at in peer.connected_at]
        others_kib = (len(group.rows) - 1) * BODIES_KIB
        assert outcome.max_rss_kib <= form.max_rss_kib + others_kib
        assert outcome.stderr == ""
        assert_harmless(outcome)
        return outcome

    outcome = undisturbed(attempt)
    # Unless the start of the process takes milliseconds only, the first connection is the start.
    start = outcome.started if form.starts_at_once else min(connected_at)
    assert outcome.ended - start <= timeout + grace * form.slowness, outcome
    checks = json.loads(outcome.stdout)["checks"]
    assert len(checks) == len(group.rows)
    reasons = [Reason(check["reason"]) for check in checks]
    assert outcome.code == (0 if set(reasons) == {Reason.OK} else 1)
    return [(reason, check["detail"]) for reason, check in zip(reasons, checks, strict=True)]


def assert_allowed(found: Sequence[tuple[Reason, str]], group: Group) -> None:
    wrong = [
        (str(row), *verdict)
        for row, verdict in zip(group.rows, found, strict=True)
        if not row.allows(*verdict)
    ]
    assert not wrong


def alone(row: Row) -> Group:
    return Group(row.target_scheme, row.timeout, row.args, (row,))


def together(rows: Sequence[Row]) -> Iterator[Group]:
    """Yield the rows in as few groups as possible."""

    def shared(row: Row) -> tuple[str, float, tuple[str, ...]]:
        return row.target_scheme, row.timeout, row.args

    for common, same in groupby(sorted(rows, key=shared), key=shared):
        alike = tuple(same)
        for first in range(0, len(alike), LISTED):
            yield Group(*common, alike[first : first + LISTED])


def parameters(groups: Iterable[Group]) -> list[pytest.ParameterSet]:
    """Return groups as parameters; those that end by the timeout are marked `timing`."""
    return [
        pytest.param(group, id=str(group), marks=[pytest.mark.timing] * (group.timeout == SHORT))
        for group in groups
    ]


@pytest.mark.parametrize("form", [SAVED], ids=str)
@pytest.mark.parametrize("group", parameters(map(alone, HOSTILE)))
def test_hostile_peer(form: Form, group: Group, context: ssl.SSLContext) -> None:
    """Each has a process for itself, with its limits of time and memory, in the released form."""
    assert_allowed(check_peers(form, group, context), group)


@pytest.mark.emulated
@pytest.mark.parametrize("group", parameters(together(HOSTILE)))
def test_hostile_peers_together(form: Form, group: Group, context: ssl.SSLContext) -> None:
    assert_allowed(check_peers(form, group, context), group)


def as_http2(hostile: Hostile) -> Hostile:
    """Return the row of a gRPC peer for an HTTP/2 check."""
    reason = hostile.as_http or hostile.reason
    return replace(hostile, scheme="http", tls=False, args=("--http2",), reason=reason, detail="")


@pytest.mark.parametrize("group", parameters(together(list(map(as_http2, HOSTILE_GRPC)))))
def test_hostile_http2(form: Form, group: Group, context: ssl.SSLContext) -> None:
    assert_allowed(check_peers(form, group, context), group)


def test_every_protocol_has_its_opening() -> None:
    wanted = {
        scheme
        for name, scheme in SCHEMES.items()
        if scheme.place is Place.HOST and name not in DATAGRAMS
    }
    assert {SCHEMES[name] for name in OPENINGS} == wanted


FOR_TERMINALS = [
    hostile
    for hostile in (*HOSTILE_HTTP, *HOSTILE_HTTP2, *HOSTILE_GRPC)
    if any(word in hostile.name for word in ("terminal", "NUL", "control", "redirect to", "bytes"))
]


@pytest.mark.parametrize("hostile", FOR_TERMINALS, ids=lambda hostile: hostile.name)
def test_one_harmless_line_of_text(form: Form, hostile: Hostile, context: ssl.SSLContext) -> None:
    args = [*hostile.args, *(["--insecure"] if SCHEMES[hostile.target_scheme].tls else [])]
    with Peer(hostile.behaviour, context=context if hostile.tls else None) as peer:
        target = f"{hostile.target_scheme}://{peer.address}"
        outcome = run(form, [f"--timeout={hostile.timeout}", "--verbose", *args, target])
    assert outcome.stdout == ""
    assert f": {hostile.reason}: " in outcome.stderr
    assert_harmless(outcome)


@pytest.mark.parametrize("prefix", [(), ("/bin/sh", "-c", 'ulimit -s 1024 && exec "$@"', "sh")])
@pytest.mark.parametrize("name", NESTED)
def test_no_nesting_reaches_the_end_of_a_stack(
    form: Form, name: str, prefix: Sequence[str]
) -> None:
    body = NESTED[name]
    sent = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with Peer(respond(sent)) as one, Peer(respond(sent)) as other:
        targets = [f"http://127.0.0.1:{peer.port}/" for peer in (one, other)]
        outcome = run(form, ["--expect-json=a", "--output=json", *targets], prefix=prefix)
    assert outcome.code == 1
    reasons = [check["reason"] for check in json.loads(outcome.stdout)["checks"]]
    assert reasons == ["unexpected_body"] * 2


INNER_WORDS = ("bytearray(", "memory at", "b'", "_SWITCH", "Errno", "codec", "h11", "ssl.", "_ssl")
"""Phrases of libraries, which mean nothing to users."""


def assert_harmless(outcome: Outcome) -> None:
    output = outcome.stdout + outcome.stderr
    assert len(output.encode()) < 4096
    assert all(line.isprintable() and line.isascii() for line in output.splitlines()), output
    assert output.count("\n") == 1
    assert "secret" not in output
    assert "Traceback" not in output
    assert not [word for word in INNER_WORDS if word in output], output

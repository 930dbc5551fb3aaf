"""Whatever a peer does: the right reason, in time, in little memory, and nothing for a terminal."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence

import pytest
import trustme

from healthchecker import Reason
from healthchecker._protocols.registry import SCHEMES
from healthchecker._values.target import Place
from tests.servers.peers import Behaviour, Peer, respond
from tests.servers.tls import server_context
from tests.support.forms import Form, Outcome, run, undisturbed
from tests.tables.hostile_behaviours import (
    DATAGRAMS,
    HOSTILE_BEHAVIOURS,
    LONG,
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

HOSTILE = [*HOSTILE_HTTP, *HOSTILE_HTTP2, *HOSTILE_GRPC]

GRACE = 0.15
"""Seconds by which the whole process may exceed its time limit."""


@pytest.fixture(scope="module")
def context() -> ssl.SSLContext:
    return server_context(trustme.CA(), "127.0.0.1")


def check_peer(
    form: Form,
    behaviour: Behaviour,
    context: ssl.SSLContext | None,
    *,
    scheme: str,
    timeout: float,
    args: Sequence[str] = (),
    grace: float = GRACE,
) -> Outcome:
    """Check a peer that behaves like this; everything but the verdict is looked at here."""
    if SCHEMES[scheme].tls:
        args = ["--insecure", *args]
    timeout *= form.slowness
    connected_at: list[float] = []

    def attempt() -> Outcome:
        with Peer(behaviour, context=context) as peer:
            target = f"{scheme}://{peer.address}"
            outcome = run(form, [f"--timeout={timeout}", "--output=json", *args, target])
        connected_at[:] = peer.connected_at
        assert outcome.max_rss_kib <= form.max_rss_kib
        assert outcome.code == (0 if outcome.check["reason"] == "ok" else 1)
        assert outcome.stderr == ""
        assert_harmless(outcome)
        return outcome

    outcome = undisturbed(attempt)
    # Where the start of the process is no matter of milliseconds, the connection is the start.
    start = outcome.started if form.starts_at_once else connected_at[0]
    assert outcome.ended - start <= timeout + grace * form.slowness, (
        outcome.ended - start,
        outcome.check,
    )
    return outcome


def rows(table: Sequence[Hostile] | Sequence[HostileBehaviour]) -> list[pytest.ParameterSet]:
    """Return a table as parameters; rows that end by the timeout are marked `timing`."""
    return [
        pytest.param(row, id=str(row), marks=[pytest.mark.timing] * (row.timeout == SHORT))
        for row in table
    ]


@pytest.mark.emulated
@pytest.mark.parametrize("hostile", rows(HOSTILE))
def test_hostile_peer(form: Form, hostile: Hostile, context: ssl.SSLContext) -> None:
    outcome = check_peer(
        form,
        hostile.behaviour,
        context if hostile.tls else None,
        scheme=hostile.target_scheme,
        timeout=hostile.timeout,
        args=hostile.args,
    )
    assert outcome.check["reason"] == hostile.reason, outcome.check
    assert hostile.detail in outcome.check["detail"], outcome.check


@pytest.mark.parametrize("hostile", HOSTILE_GRPC, ids=lambda hostile: hostile.name)
def test_hostile_http2(form: Form, hostile: Hostile) -> None:
    expected = hostile.as_http or hostile.reason
    outcome = check_peer(
        form,
        hostile.behaviour,
        None,
        scheme="http",
        timeout=SHORT if expected is Reason.TIMEOUT else LONG,
        args=["--http2"],
        grace=1.0,  # other tests run at the same time
    )
    assert outcome.check["reason"] == expected, outcome.check


def test_every_protocol_has_its_opening() -> None:
    wanted = {
        scheme
        for name, scheme in SCHEMES.items()
        if scheme.place is Place.HOST and name not in DATAGRAMS
    }
    assert {SCHEMES[name] for name in OPENINGS} == wanted


@pytest.mark.parametrize("hostile", rows(HOSTILE_BEHAVIOURS))
def test_hostile_behaviour(form: Form, hostile: HostileBehaviour, context: ssl.SSLContext) -> None:
    outcome = check_peer(
        form,
        hostile.behaviour,
        context if hostile.after_tls else None,
        scheme=hostile.scheme,
        timeout=hostile.timeout,
    )
    assert Reason(outcome.check["reason"]) in hostile.reasons, outcome.check


FOR_TERMINALS = [
    hostile
    for hostile in HOSTILE
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

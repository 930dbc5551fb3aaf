"""Every form of the program behaves as in the table."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.servers.http import http_service
from tests.support import poll
from tests.support.forms import Form, run
from tests.tables.cli_cases import CASES, Case


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    path = tmp_path_factory.mktemp("sockets") / "http.sock"
    with (
        http_service() as port,
        http_service(unix_socket=path),
        socket.socket() as closed,
    ):
        closed.bind(("127.0.0.1", 0))  # bound and not listening: no other program gets it
        yield {"port": str(port), "closed": str(closed.getsockname()[1]), "socket": str(path)}


@pytest.mark.emulated
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cases(form: Form, case: Case, places: dict[str, str]) -> None:
    args = case.args.split() if isinstance(case.args, str) else case.args
    outcome = run(
        form,
        [_fill(arg, places) if isinstance(arg, str) else arg for arg in args],
        env={name: _fill(value, places) for name, value in case.env.items()},
    )
    assert re.fullmatch(case.stdout, outcome.stdout), outcome
    assert re.fullmatch(case.stderr, outcome.stderr), outcome
    assert outcome.code == case.code


def test_a_missing_authority_for_a_redirect(form: Form, places: dict[str, str]) -> None:
    """A plain target waits half a second for the file, in which a busy machine may not run us."""
    args = ["--cacert=missing.pem", "--follow-redirects", f"--port={places['port']}"]

    def attempt() -> str:
        outcome = run(form, args)
        assert outcome.code == 1 or outcome.delayed > 0.3, outcome
        return outcome.stderr

    message = poll(attempt, timeout=20, what="the file was looked at in time")
    assert message == (
        "healthchecker: usage_error: --cacert: 'missing.pem': No such file or directory\n"
    )


def _fill(text: str, places: dict[str, str]) -> str:
    for name, value in places.items():
        text = text.replace(f"{{{name}}}", value)
    return text

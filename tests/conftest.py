"""Fixtures of all tests."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forms import EMULATED, FORMS, Form, require_form


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped in one line per reason."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2] for report in reports)  # of its file, line and reason
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5} {reason.replace('Skipped: ', 'skipped: ', 1)}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let `form` be every form of the program, one after the other.

    The emulated ones are slow: only tests with the mark `emulated` have them.
    """
    if "form" in metafunc.fixturenames:
        forms: tuple[Form, ...] = FORMS
        if metafunc.definition.get_closest_marker("emulated"):
            forms += EMULATED
        metafunc.parametrize("form", forms, ids=str, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Measure time only of programs that nobody emulates, and whose coverage is not measured."""
    emulated = set()
    for item in items:
        if item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.usefixtures("full_speed"))
            if isinstance(item, pytest.Function) and _form_of(item) in EMULATED:
                emulated.add(item)
    config.hook.pytest_deselected(items=emulated)
    items[:] = [item for item in items if item not in emulated]


def _form_of(item: pytest.Function) -> Form | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("form") if callspec else None


@pytest.fixture
def full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage of the programs that are started."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    """One form of the program, see `pytest_generate_tests`."""
    form: Form = request.param
    require_form(form)
    return form


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of signals back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Yield a directory of a short name that servers of any user may write to."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield directory

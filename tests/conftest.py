"""Fixtures of all tests."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.forms import EMULATED, FORMS, Form, forking, require_form


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped in one line per reason."""
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2] for report in reports)  # of its file, line and reason
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5} {reason.replace('Skipped: ', 'skipped: ', 1)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Emulate only for tests with that mark, and measure no time then.

    Time is measured only of programs whose coverage is not measured.
    """
    left_out = set()
    for item in items:
        is_timed = item.get_closest_marker("timing") is not None
        is_for_all = item.get_closest_marker("emulated") is not None
        if is_timed:
            item.add_marker(pytest.mark.usefixtures("full_speed"))
        if _is_emulated(item) and (is_timed or not is_for_all):
            left_out.add(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_emulated(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("form") in EMULATED


@pytest.fixture
def full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure no coverage of the programs that are started."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def forked() -> Iterator[Callable[[Form], Form]]:
    """Yield what makes a form run in forks."""
    with forking() as forked:
        yield forked


@pytest.fixture(params=(*FORMS, *EMULATED), ids=str, scope="session")
def form(request: pytest.FixtureRequest, forked: Callable[[Form], Form]) -> Form:
    """Every form of the program, one after the other; the emulated ones see above.

    `run` forks an interpreted one; where its start matters, run `form.started`.
    """
    require_form(request.param)
    return forked(request.param)


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

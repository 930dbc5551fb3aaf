"""Fixtures of all tests."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import NIGHTLY
from tests.support.forms import (
    COLD,
    EMULATED,
    EXECUTABLES,
    FORMS,
    GUARDED,
    NOT_BUILT,
    OTHERS,
    Form,
    forking,
    left_out,
    require_form,
    why_not_built,
)

COLLECTED_FORMS = (*FORMS, *EMULATED)
UNTIMED = (GUARDED, COLD, *EMULATED)
"""After the start, they run the code of the Python and the saved form."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tests of each emulated form, each form left out, and each reason for a skip."""
    ran = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    ids = [report.nodeid for report in ran if report.when == "call"]
    counts = [
        f"{name} {sum(str(form) in test for test in ids for form in EXECUTABLES[name])}"
        for name in OTHERS
    ]
    machines = [f"tests of emulated forms: {', '.join(counts) or 'none'}"]
    machines += [f"not built: {', '.join(NOT_BUILT)}"] if NOT_BUILT else []
    terminalreporter.line("; ".join(machines))
    for form in COLLECTED_FORMS:
        if left_out(form):
            terminalreporter.line(f"left out: form {form}: {why_not_built(form)}")
    reports = terminalreporter.getreports("skipped")
    reasons = Counter(report.longrepr[2] for report in reports)  # of its file, line and reason
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5} {reason.replace('Skipped: ', 'skipped: ', 1)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out forms that are not built or that a test does not need, and nightly tests.

    Time is not measured of programs whose coverage is measured.
    """
    deselected = set()
    for item in items:
        is_timed = item.get_closest_marker("timing") is not None
        is_timed_in_all = item.get_closest_marker("timed_in_every_form") is not None
        is_for_all = item.get_closest_marker("emulated") is not None
        is_not_cold = item.get_closest_marker("not_cold") is not None
        is_nightly = item.get_closest_marker("nightly") is not None
        if is_timed:
            item.add_marker(pytest.mark.usefixtures("full_speed"))
        parameters = _parameters(item)
        forms = [value for value in parameters.values() if isinstance(value, Form)]
        form = parameters.get("form")
        if (
            any(map(left_out, forms))
            or (form in EMULATED and not is_for_all)
            or (form in UNTIMED and is_timed and not is_timed_in_all)
            or (form == COLD and is_not_cold)
            or (is_nightly and not NIGHTLY)
        ):
            deselected.add(item)
    config.hook.pytest_deselected(items=deselected)
    items[:] = [item for item in items if item not in deselected]


def _parameters(item: pytest.Item) -> dict[str, object]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


@pytest.fixture
def full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not measure the coverage of started programs."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def forked() -> Iterator[Callable[[Form], Form]]:
    """Yield a function that makes a form run in forks."""
    with forking() as forked:
        yield forked


@pytest.fixture(
    params=[form for form in COLLECTED_FORMS if not left_out(form)], ids=str, scope="session"
)
def form(request: pytest.FixtureRequest, forked: Callable[[Form], Form]) -> Form:
    """Each form of the program that is built; see above for the emulated ones.

    `run` forks interpreted ones; tests that are about the start run `form.started`.
    """
    require_form(request.param)
    return forked(request.param)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restore the signal handlers."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """Yield a directory with a short name that servers of any user may write to."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield directory

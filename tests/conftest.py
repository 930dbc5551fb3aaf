"""Fixtures of all tests."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forms import FORMS, Form, require_form


@pytest.fixture(params=FORMS, ids=lambda form: form.name, scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    """Every form of the program, one after the other."""
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

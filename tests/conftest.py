"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

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

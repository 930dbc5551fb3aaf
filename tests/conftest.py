"""Fixtures of all tests."""

from __future__ import annotations

import pytest

from tests.support.forms import FORMS, Form, require_form


@pytest.fixture(params=FORMS, ids=lambda form: form.name, scope="session")
def form(request: pytest.FixtureRequest) -> Form:
    """Every form of the program, one after the other."""
    form: Form = request.param
    require_form(form)
    return form

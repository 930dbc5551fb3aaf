"""Texts that a body must contain."""

from __future__ import annotations

import pytest

from healthchecker._values.expect.body import Body, BodyExpectations, judge_body
from healthchecker._values.result import UnexpectedResponse


def test_bytes_of_the_command_line_are_found_as_they_are() -> None:
    expected = BodyExpectations(texts=("\udcff\xfc",))
    judge_body(expected, Body(b"\xff\xc3\xbc"), 200, lambda: None)
    with pytest.raises(UnexpectedResponse):
        judge_body(BodyExpectations(texts=("\udcff",)), Body("\xff".encode()), 200, lambda: None)

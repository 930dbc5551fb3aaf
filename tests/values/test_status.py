"""Status codes that count as healthy."""

from __future__ import annotations

import pytest

from healthchecker import BadArgumentError
from healthchecker._values.expect.status import parse_status


@pytest.mark.parametrize(
    ("text", "within", "without"),
    [
        ("200", [200], [199, 201]),
        ("200,204", [200, 204], [201]),
        ("2xx", [200, 299], [199, 300]),
        ("200-399", [200, 399], [400]),
        ("2XX, 404", [250, 404], [403]),
    ],
)
def test_status_sets(text: str, within: list[int], without: list[int]) -> None:
    statuses = parse_status(text)
    assert all(status in statuses for status in within)
    assert not any(status in statuses for status in without)


@pytest.mark.parametrize(
    "text", ["", "20", "2000", "xxx", "0xx", "200-", "300-200", "200,,204", "1xx", "100", "100-199"]
)
def test_no_status_sets(text: str) -> None:
    with pytest.raises(BadArgumentError):
        parse_status(text)

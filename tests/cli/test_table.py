"""The table of targets keeps its shape on any terminal, with any targets."""

from __future__ import annotations

import re

import pytest

from healthchecker import CheckResult, Reason
from healthchecker._cli.table import Row, Seen, drawn, table
from tests.support.screen import Screen

SIZES = [(columns, lines) for columns in (1, 2, 10, 40, 59, 80, 120, 200) for lines in (1, 4, 24)]


def some(count: int, failing: int = 0) -> list[Row]:
    """Return rows of which the last ones are not healthy."""
    rows = []
    for index in range(count):
        healthy = index < count - failing
        detail = "HTTP status 200" if healthy else "unexpected_status: HTTP status 503\x1b[2J"
        target = f"http://service-{index}.example.org:8080/health?\N{SNOWMAN}"
        rows.append(Row(target, healthy, index * 100.0, detail, (0.0021, 0.123, 12.3)))
    return rows


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 100])
def test_it_fits(size: tuple[int, int], count: int) -> None:
    columns, height = size
    lines = table("waiting \x1b[2J", some(count, 1), columns, height)
    assert len(lines) < max(height, 4)
    assert all(len(line) < columns and line.isprintable() for line in lines)


def test_its_columns() -> None:
    rows = [
        Row("tcp://a", True, 59.9, "connected", (0.0014, 0.9996, 99.96)),
        Row("tcp://bb", False, 3600, "connection_refused: x", (0.25,)),
        Row("tcp://c", None, None, "", ()),
    ]
    assert table("title", rows, 80, 24) == [
        "title",
        "STATE      FOR LATENCY           TARGET   LAST",
        "healthy    59s   1ms  1.0s    1m tcp://a  connected",
        "unhealthy   1h 250ms             tcp://bb connection_refused: x",
        "unknown                          tcp://c",
    ]


@pytest.mark.parametrize(
    ("columns", "heading"),
    [(59, ""), (60, "TOOK"), (79, "TOOK"), (80, "LATENCY"), (120, "LATENCY")],
)
def test_no_heading_is_cut(columns: int, heading: str) -> None:
    words = table("t", some(2, 1), columns, 24)[1].split()
    assert words == [*("STATE", "FOR"), *([heading] if heading else []), *("TARGET", "LAST")]


def test_at_40_columns_target_and_reason_share_what_is_left() -> None:
    assert table("t", some(2, 1), 40, 24)[2:] == [
        "healthy     0s http://s... HTTP stat...",
        "unhealthy   1m http://s... unexpecte...",
    ]


def test_rows_that_do_not_fit_are_counted_and_failures_are_not_among_them() -> None:
    lines = table("100 targets", some(100, 3), 100, 10)
    assert len(lines) == 9
    states = [re.sub(r" .*", "", line) for line in lines[2:-1]]
    assert states == ["healthy"] * 3 + ["unhealthy"] * 3
    assert [row.split()[5] for row in lines[2:5]] == [
        f"http://service-{n}.example.org:..." for n in range(3)
    ]
    assert lines[-1] == "and 94 more"
    assert len(table("100 targets", some(100), 100, 103)) == 102


def test_the_history_of_a_target() -> None:
    seen = Seen("t")
    assert seen.row(5) == Row("t", None, None, "", ())
    failed = CheckResult("t", False, Reason.TIMEOUT, "not done", None, 2.0)
    healthy = CheckResult("t", True, Reason.OK, "connected", None, 1.0)
    seen.take(failed, None, 10)
    assert seen.row(12) == Row("t", None, None, "timeout: not done", (2.0,))
    seen.take(failed, False, 13)
    seen.take(failed, False, 14)
    assert seen.row(15) == Row("t", False, 2.0, "timeout: not done", (2.0, 2.0, 2.0))
    for _ in range(9):
        seen.take(healthy, True, 20)
    assert seen.row(20) == Row("t", True, 0.0, "connected", (1.0,) * 5)


@pytest.mark.parametrize("size", [1, 1000])
def test_it_is_redrawn_in_place(size: int) -> None:
    """Also if the terminal receives the text in pieces."""
    screen = Screen(80)
    screen.feed("$ healthchecker\n")
    before: list[str] = []
    for count, failing in ((2, 1), (5, 0), (1, 1), (0, 0)):
        after = table("title", some(count, failing), 80, 24)
        text = drawn(before, after, 80, color=True)
        for start in range(0, len(text), size):
            screen.feed(text[start : start + size])
        assert screen.lines == ["$ healthchecker", *after]
        before = after
    assert screen.colors == {"31", "32", ""}
    screen.feed(drawn(before, [], 80, color=True))
    assert screen.lines == ["$ healthchecker"]


@pytest.mark.parametrize(("wide", "narrow"), [(200, 40), (200, 199), (40, 3), (40, 200)])
def test_a_terminal_that_was_resized_shows_one_table(wide: int, narrow: int) -> None:
    screen = Screen(wide)
    screen.feed("$\n")
    before = table("title", some(9, 1), wide, 24)
    screen.feed(drawn([], before, wide, color=False))
    screen.resize(narrow)
    after = table("title", some(9, 1), narrow, 24)
    screen.feed(drawn(before, after, narrow, color=False))
    assert screen.lines == ["$", *after]
    assert not screen.colors

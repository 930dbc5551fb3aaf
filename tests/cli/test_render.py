"""What is printed is one line each, harmless to a terminal, and never too much."""

from __future__ import annotations

import json

import pytest

from healthchecker import CheckResult, Reason
from healthchecker._cli.render import (
    MAX_OUTPUT_BYTES,
    escape,
    failure_line,
    json_line,
    text_lines,
)
from healthchecker._values.result import Phase


def result(detail: str = "response: no", target: str = "tcp://h:1") -> CheckResult:
    spent = {Phase.CONNECT: 2.0, Phase.RESPONSE: 10.3}
    return CheckResult(
        target, False, Reason.TIMEOUT, detail, None, 0.0123, Phase.RESPONSE, spent, "<html>"
    )


def test_a_failure_is_one_line() -> None:
    assert failure_line(result()) == "unhealthy: tcp://h:1: timeout: response: no"
    line = "unhealthy: tcp://h:1: timeout: response: no (12.3 ms), body: <html>"
    assert failure_line(result(), verbose=True) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x00\r\n", r"\x1b[2J\x00\r\n"),
        ("caf\xe9\u202e\udcff", r"caf\xe9\u202e\udcff"),
        ("x" * 1000, "x" * 397 + "..."),
        ("\x00" * 1000, r"\x00" * 99 + r"\..."),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize("count", [1, 2, 50, 1000])
@pytest.mark.parametrize("detail", ["short", "long " * 500, "\x00\u20ac" * 500])
def test_output_stays_below_what_docker_keeps(count: int, detail: str) -> None:
    results = [result(detail, f"http://host-{index}/") for index in range(count)]
    text = text_lines(results, healthy=False)
    line = json_line(False, results)
    assert len(text.encode()) <= MAX_OUTPUT_BYTES
    assert len(line.encode()) <= MAX_OUTPUT_BYTES
    assert text.endswith("\n")
    parsed = json.loads(line)
    assert len(parsed["checks"]) + parsed.get("omitted", 0) == count
    assert parsed["checks"]
    if len(text.splitlines()) < count:
        assert text.splitlines()[-1].startswith("and ")


def test_json_says_everything_where_it_fits() -> None:
    assert json.loads(json_line(False, [result()])) == {
        "healthy": False,
        "checks": [
            {
                "target": "tcp://h:1",
                "healthy": False,
                "reason": "timeout",
                "detail": "response: no",
                "status": None,
                "elapsed_ms": 12.3,
                "phases_ms": {"connect": 2.0, "response": 10.3},
                "body": "<html>",
            }
        ],
    }


def test_an_excerpt_ends_the_line() -> None:
    failure = "unhealthy: tcp://h:1: timeout: response: no"
    assert text_lines([result()], healthy=False) == f"{failure}\n"
    assert (
        text_lines([result()], healthy=False, verbose=True)
        == f"{failure} (12.3 ms), body: <html>\n"
    )


def test_of_many_the_unhealthy_ones_are_kept() -> None:
    good = CheckResult("http://good/", True, Reason.OK, "fine", 200, 0.1)
    parsed = json.loads(json_line(False, [good] * 200 + [result()]))
    assert parsed["checks"][0]["reason"] == "timeout"
    assert parsed["omitted"] > 0

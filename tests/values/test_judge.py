"""Expectations, and answers measured by them: pure functions, fed with values."""

from __future__ import annotations

import json
import sys

import pytest

from healthchecker import BadArgumentError
from healthchecker._values.expect.body import Body, BodyExpectations, judge_body
from healthchecker._values.expect.json_path import (
    MAX_JSON_NESTING,
    JsonError,
    expect_json,
    expect_json_at,
    read_json,
)
from healthchecker._values.expect.status import parse_status
from healthchecker._values.result import UnexpectedResponse


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


BODY = {
    "status": "UP",
    "n": 1,
    "half": 0.5,
    "hundred": 1e2,
    "ok": True,
    "none": None,
    "list": [{"a": "x"}, 2.5],
    "text": "3",
    "": 0,
    'a"b': 1,
    "a.b": {"c": 1, "0": "zero", 'q"': 2, "=": 3},
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("status=UP", True),
        ("status=UPPER", False),
        ("status=U", False),
        ('status="UP"', False),
        ("n=1", True),
        ("n=1.0", True),
        ("n=10e-1", True),
        ("n=01", False),
        ("n=true", False),
        ("half=0.50", True),
        ("hundred=100", True),
        ("ok=true", True),
        ("ok=1", False),
        ("ok=True", False),
        ("none=null", True),
        ("none=", False),
        ("text=3", True),
        ("text=3.0", False),
        ("list.0.a=x", True),
        ("list.1=2.5", True),
        ("list.2=x", False),
        ("list.-1=2.5", False),
        ("list.999999999999999999=x", False),
        (f"list.{'9' * 5000}=x", False),
        ('list."0".a=x', False),
        ('list=[{"a": "x"}, 2.5]', True),
        ('list=[{"a": "x"}, 2.50]', True),
        ('list=[{"a": "x"}]', False),
        ('list.0={"b": "x"}', False),
        ("missing=null", False),
        ("status.deeper=UP", False),
        ("=0", True),
        ("status", True),
        ("none", True),
        ("list.1", True),
        ("missing", False),
        ("list.2", False),
        ('"a.b".c=1', True),
        ('"a.b".0=zero', True),
        ('"a.b"."0"=zero', True),
        (r'"a.b"."q\""=2', True),
        ('"a.b"."="=3', True),
        ('"a.b"."="', True),
        ("a.b.c=1", False),
        (" status =UP", True),
        ('a"b=1', True),
    ],
)
def test_json_values(text: str, holds: bool) -> None:
    assert expect_json("expect_json", text).holds(read_json(json.dumps(BODY))) is holds


@pytest.mark.parametrize("text", ['"a', '"a"b=1', 'a."b=1', '"\\x"=1'])
def test_no_json_paths(text: str) -> None:
    with pytest.raises(BadArgumentError) as error:
        expect_json("expect_json", text)
    assert error.value.argument == "expect_json"


@pytest.mark.parametrize(
    ("path", "value", "holds"),
    [
        ("ok", True, True),
        ("ok", 1, False),
        ("n", 1, True),
        ("n", True, False),
        ("half", 0.5, True),
        ("none", None, True),
        ("missing", None, False),
        ("status", "UP", True),
        ("text", 3, False),
        ("list", [{"a": "x"}, 2.5], True),
        ("list", ({"a": "x"}, 2.5), True),
        ('"a.b".c', 1, True),
        ("n", ..., True),
        ("missing", ..., False),
    ],
)
def test_values_of_python(path: str, value: object, holds: bool) -> None:
    assert expect_json_at("expect_json", path, value).holds(BODY) is holds


@pytest.mark.parametrize(
    ("path", "value"), [("a=b", 1), ("a", {1, 2}), ("a", float("nan")), ("a", object())]
)
def test_values_that_json_does_not_have(path: str, value: object) -> None:
    with pytest.raises(BadArgumentError) as error:
        expect_json_at("expect_json", path, value)
    assert error.value.argument == "expect_json"


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def test_the_bound_of_nesting_is_exact() -> None:
    document = read_json(nested(MAX_JSON_NESTING))
    assert expect_json("", f"={nested(MAX_JSON_NESTING)}").values == (
        nested(MAX_JSON_NESTING),
        document,
    )
    with pytest.raises(JsonError, match="deeper than 128"):
        read_json(nested(MAX_JSON_NESTING + 1))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200,
        '{"a":' * 200,
        nested(200),
        '["]",' + "[" * 200,
        r'["\"",' + "[" * 200,
        "[[],{" * 99,
    ],
)
def test_no_parser_sees_what_is_nested_too_deeply(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(_text: str) -> object:
        raise AssertionError("parsed")

    monkeypatch.setattr("healthchecker._values.expect.json_path._DECODER.decode", decode)
    with pytest.raises(JsonError, match="nested deeper"):
        read_json(text)


@pytest.mark.parametrize(
    "text",
    [
        '"' + "[" * 999 + '"',
        r'"\"' + "[" * 999 + '"',
        r'["\\", "' + "{" * 999 + r'\\"]',
        "[" + "[]," * 999 + "{}]",
    ],
)
def test_brackets_that_are_no_nesting(text: str) -> None:
    assert read_json(text) == json.loads(text)


@pytest.mark.parametrize("digits", [300, 301, 4301, 100_000])
def test_long_numbers_are_equal_to_themselves(digits: int) -> None:
    number = "9" * digits
    body = f'{{"n": {number}, "e": 1e{digits}}}'
    for text, holds in (
        (f"n={number}", True),
        (f"n={number[:-1]}8", False),
        (f"n=-{number}", False),
        (f"e=1e{digits}", True),
        (f"e=2e{digits}", False),
        ("n", True),
    ):
        assert expect_json("expect_json", text).holds(read_json(body)) is holds, text[:20]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"1 2", b'"\xed\xa0\x80"', b"\0", b"'a'"]
)
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(JsonError, match="not JSON"):
        read_json(data)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_any_unicode(codec: str) -> None:
    assert read_json('{"a": "\xfc"}'.encode(codec)) == {"a": "\xfc"}


def test_bytes_of_the_command_line_are_found_as_they_are() -> None:
    expected = BodyExpectations(texts=("\udcff\xfc",))
    judge_body(expected, Body(b"\xff\xc3\xbc"), 200, lambda: None)
    with pytest.raises(UnexpectedResponse):
        judge_body(BodyExpectations(texts=("\udcff",)), Body("\xff".encode()), 200, lambda: None)


def test_comparing_needs_no_stack() -> None:
    document: list[object] = []
    other: list[object] = []
    for _ in range(sys.getrecursionlimit() * 10):
        document, other = [document], [other]
    expected = expect_json_at("expect_json", "a", 1)
    assert not expected.holds({"a": document})
    object.__setattr__(expected, "values", (other,))
    assert expected.holds({"a": document})

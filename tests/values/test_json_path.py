"""Values at paths of JSON documents."""

from __future__ import annotations

import json
import sys

import pytest

from healthchecker import BadArgumentError
from healthchecker._values.expect.json_path import (
    MAX_JSON_NESTING,
    JsonError,
    JsonExpectation,
    are_equal,
    expect_json,
    expect_json_at,
    read_json,
)
from healthchecker._values.options import make_options

BODY = {
    "status": "UP",
    "n": 1,
    "half": 0.5,
    "hundred": 1e2,
    "ok": True,
    "none": None,
    "list": [{"a": "x"}, 2.5],
    "text": "3",
    "wow!": 1,
    "": 0,
    'a"b': 1,
    "a.b": {"c": 1, "0": "zero", 'q"': 2, "=": 3},
}


def is_met(expectation: JsonExpectation, document: object) -> bool:
    return expectation.problem(document, lambda: None) is None


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
        ("list[0].a=x", True),
        ("list[0]", True),
        ("list[1]=2.5", True),
        ("list[2]", False),
        ("status[0]", False),
        ("list[0].a[0]", False),
        ("n!=2", True),
        ("n!=1", False),
        ("n!=1.0", False),
        ("status!=DOWN", True),
        ("missing!=1", False),
        ("n<2", True),
        ("n<1", False),
        ("n<=1", True),
        ("n>0.5", True),
        ("n>=1", True),
        ("n>=1.01", False),
        ("text>=3", False),
        ("ok>=0", False),
        ("missing<1", False),
        ("status~^(UP|OK)$", True),
        ("status~P", True),
        ("status~^P", False),
        ("n~^1$", True),
        ("ok~true", True),
        ("list~a", False),
        ("missing~.*", False),
        ('"a.b"."q\\""!=3', True),
        ("wow!=1", False),
        ("wow!", True),
    ],
)
def test_json_values(text: str, holds: bool) -> None:
    assert is_met(expect_json("expect_json", text), read_json(json.dumps(BODY))) is holds


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
    assert is_met(expect_json_at("expect_json", path, value), BODY) is holds


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
    assert is_met(expect_json("", f"={nested(MAX_JSON_NESTING)}"), {"": document})
    with pytest.raises(JsonError, match="more than 128"):
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
    with pytest.raises(JsonError, match="nested more"):
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
        assert is_met(expect_json("expect_json", text), read_json(body)) is holds, text[:20]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"NaN", b"[Infinity]", b"1 2", b'"\xed\xa0\x80"', b"\0", b"'a'"]
)
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(JsonError, match="not JSON"):
        read_json(data)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
def test_json_in_any_unicode(codec: str) -> None:
    assert read_json('{"a": "\xfc"}'.encode(codec)) == {"a": "\xfc"}


def test_comparing_needs_no_stack() -> None:
    document: list[object] = []
    other: list[object] = []
    for _ in range(sys.getrecursionlimit() * 10):
        document, other = [document], [other]
    assert not is_met(expect_json_at("expect_json", "a", 1), {"a": document})
    assert are_equal(document, other)
    assert not are_equal(document, [other])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status=DOWN", "status is UP, expected DOWN"),
        ("n=2", "n is 1, expected 2"),
        ("text<2", 'text is "3", expected a number < 2'),
        ("n>=5", "n is 1, expected a number >= 5"),
        ("status!=UP", "status is UP, expected anything but UP"),
        ("status~^d", "status is UP, expected a match of '^d'"),
        ("none=1", "none is null, expected 1"),
        ("list=1", "list is an array, expected 1"),
        ("checks[0].status=UP", "checks[0].status is missing"),
        ("list[5]", "list[5] is missing"),
    ],
)
def test_the_value_found_is_shown(text: str, problem: str) -> None:
    assert expect_json("expect_json", text).problem(BODY, lambda: None) == problem


def test_a_long_value_is_cut() -> None:
    problem = expect_json("expect_json", "a=b").problem({"a": "x" * 1000}, lambda: None)
    assert problem == f"a is {'x' * 80}..., expected b"


def test_an_array_may_be_the_document() -> None:
    assert is_met(expect_json("expect_json", "[1].a=2"), [0, {"a": 2}])
    assert not is_met(expect_json("expect_json", "[2]"), [0, {"a": 2}])


@pytest.mark.parametrize(
    "text", ["n<", "n<x", "n>=true", 'n>"1"', "n~(", "n~", "", "a[x]", "a[0", "a]"]
)
def test_no_expectations(text: str) -> None:
    with pytest.raises(BadArgumentError) as error:
        expect_json("expect_json", text)
    assert error.value.argument == "expect_json"


def test_one_text_is_taken_too() -> None:
    (expectation,) = make_options(expect_json="status=UP").expect_json
    assert is_met(expectation, BODY)

"""Options and targets: what is understood, and what is refused."""

from __future__ import annotations

import pytest

from healthchecker import BadArgumentError
from healthchecker._options import matches_json, parse_duration, parse_status
from healthchecker._probers.table import parse_target
from healthchecker._target import local_url


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("2s", 2), ("1m", 60), ("1h", 3600), ("3", 3), ("0.25", 0.25), (".5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1 s", "-1s", "1d", "1e3", "inf", "nan", "\u0661s", "1s2"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


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


@pytest.mark.parametrize("text", ["", "20", "2000", "xxx", "0xx", "200-", "300-200", "200,,204"])
def test_no_status_sets(text: str) -> None:
    with pytest.raises(BadArgumentError):
        parse_status(text)


BODY = {"status": "UP", "n": 1, "ok": True, "none": None, "list": [{"a": "x"}, 2.5], "": 0}


@pytest.mark.parametrize(
    ("path", "value", "matches"),
    [
        ("status", "UP", True),
        ("status", "UPPER", False),
        ("status", "U", False),
        ("n", "1", True),
        ("n", "01", False),
        ("n", "true", False),
        ("ok", "true", True),
        ("ok", "1", False),
        ("ok", "True", False),
        ("none", "null", True),
        ("none", "", False),
        ("list.0.a", "x", True),
        ("list.1", "2.5", True),
        ("list.2", "x", False),
        ("list.-1", "2.5", False),
        ("list", '[{"a": "x"}, 2.5]', True),
        ("missing", "null", False),
        ("status.deeper", "UP", False),
        ("", "0", True),
    ],
)
def test_json_values(path: str, value: str, matches: bool) -> None:
    assert matches_json(BODY, path, value) is matches


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("http://example.org", "example.org", 80, "http://example.org"),
        ("https://example.org/x?y=1#z", "example.org", 443, "https://example.org/x?y=1"),
        ("http://[::1]:8080/", "::1", 8080, "http://[::1]:8080/"),
        ("http://b\xfccher.example/", "xn--bcher-kva.example", 80, "http://xn--bcher-kva.example/"),
        ("http://[fe80::1%25eth0]:81/", "fe80::1%eth0", 81, "http://[fe80::1%25eth0]:81/"),
        ("tcp://db:5432", "db", 5432, "tcp://db:5432"),
        ("grpc://h:50051/pkg.Service", "h", 50051, "grpc://h:50051/pkg.Service"),
        ("http://me:secret@h:81/", "h", 81, "http://h:81/"),
    ],
)
def test_targets(text: str, host: str, port: int, shown: str) -> None:
    target = parse_target(text)
    assert (target.endpoint.host, target.endpoint.port) == (host, port)
    assert target.label in (shown, shown.replace("b\xfccher", "xn--bcher-kva"))


@pytest.mark.parametrize("path", ["", "health", "http://x/"])
def test_a_path_begins_with_a_slash(path: str) -> None:
    with pytest.raises(BadArgumentError):
        local_url("127.0.0.1", 80, path)

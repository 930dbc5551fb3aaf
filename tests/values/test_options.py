"""Options and targets: what is understood, and what is refused."""

from __future__ import annotations

import ast
import inspect

import pytest

from healthchecker import BadArgumentError, OptionValues, check
from healthchecker._protocols.registry import parse_target
from healthchecker._values.options import OPTIONS, make_options, meaning_of, type_of
from healthchecker._values.target import local_url
from healthchecker._values.text import parse_duration
from tests.support import ROOT
from tests.support.pages import Page


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("1m", 60),
        ("1h", 3600),
        ("7d", 604_800),
        ("3", 3),
        ("0.25", 0.25),
        (".5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "1 s", "-1s", "1w", "1e3", "inf", "nan", "\u0661s", "1s2"]
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


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


@pytest.mark.parametrize(
    ("name", "verified"),
    [
        ("app.example", "app.example"),
        ("APP.example.", "app.example"),
        ("stra\xdfe.example", "xn--strae-oqa.example"),  # IDNA 2003 would ask for strasse.example
        ("b\xfccher.example.", "xn--bcher-kva.example"),
        ("_sip.example", "_sip.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_the_name_of_a_server(name: str, verified: str) -> None:
    assert make_options(server_name=name).tls.server_name == verified


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "a..b", ".a", "a/b", "a b", "h:80", "*.a", "user@h", "h%eth0", "a\0b"),
        *("x" * 64, "a." * 127 + "a", "::g", "1.2.3.400", "\u0661.example", "\udcff.example"),
    ],
)
def test_no_names_of_servers(name: str) -> None:
    with pytest.raises(BadArgumentError) as error:
        make_options(server_name=name)
    assert error.value.argument == "server_name"


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"basic_auth": "user:s3cret"}, "basic_auth"),
        ({"basic_auth": ("us:er", "s3cret")}, "basic_auth"),
        ({"basic_auth": ("user", "s3cret\ud800")}, "basic_auth"),
        ({"basic_auth": ("user", "s3cret", "")}, "basic_auth"),
        ({"basic_auth": ("user", None)}, "basic_auth"),
        ({"expect_body": "\ud800"}, "expect_body"),
        ({"unix_socket": "/\ud800"}, "unix_socket"),
        ({"headers": [("Host", "a"), ("hOST", "b")]}, "headers"),
        ({"headers": {"A": "\udcff"}}, "headers"),
        ({"status": 101}, "status"),
        ({"status": "200,101"}, "status"),
    ],
)
def test_what_no_check_can_be_made_with(options: dict[str, object], argument: str) -> None:
    with pytest.raises(BadArgumentError) as error:
        make_options(**options)
    assert error.value.argument == argument
    assert "s3cret" not in str(error.value)


def test_what_asks_for_another_protocol_may_expect_it() -> None:
    assert 101 in make_options(status="101", headers={"upgrade": "websocket"}).status


@pytest.mark.parametrize("host", ["a%2Fb", "a%b", "a%eth0"])
def test_only_an_address_has_a_zone(host: str) -> None:
    with pytest.raises(BadArgumentError):
        parse_target(f"http://{host}/")


# Documentation


ESCAPED_BAR = r"\|"


def table_row(name: str) -> str:
    cells = [f"`{name}`", f"`{type_of(name)}`", f"`{OPTIONS[name]['shown']}`", meaning_of(name)]
    return f"| {' | '.join(cell.replace('|', ESCAPED_BAR) for cell in cells)} |"


def test_the_page_of_the_library_lists_every_option() -> None:
    header = ["| option | type | default | meaning |", "|---|---|---|---|"]
    assert Page(ROOT / "docs/library.md").table("options") == [*header, *map(table_row, OPTIONS)]


def test_help_lists_every_option() -> None:
    text = inspect.getdoc(check) or ""
    for name in OPTIONS:
        assert f"\n{name}: {type_of(name)} = {OPTIONS[name]['shown']}\n" in text
        assert f"\n    {meaning_of(name)}" in text


def test_every_option_has_its_meaning_as_its_docstring() -> None:
    (definition,) = ast.parse(inspect.getsource(OptionValues)).body
    assert isinstance(definition, ast.ClassDef)
    documented = {}
    for field, docstring in zip(definition.body[1::2], definition.body[2::2], strict=True):
        assert isinstance(field, ast.AnnAssign)
        assert isinstance(docstring, ast.Expr)
        documented[ast.unparse(field.target)] = ast.literal_eval(docstring.value)
    assert documented == {name: meaning_of(name) for name in OPTIONS}


def test_every_default_is_accepted_as_a_value() -> None:
    assert make_options(**{name: ast.literal_eval(OPTIONS[name]["shown"]) for name in OPTIONS}) == (
        make_options()
    )

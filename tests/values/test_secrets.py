"""No secret is shown, whatever is dropped, doubled or mistyped in a TARGET around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx import URL

from healthchecker import check, check_all
from healthchecker._cli.expansion import ExpansionError, expand_target
from healthchecker._cli.main import main
from healthchecker._cli.problems import usage_problem
from healthchecker._protocols.registry import parse_target
from healthchecker._values.result import BadArgumentError
from healthchecker._values.target import shown_target

SECRET = "s3cret"
PASSWORDS = [
    f"{before}{SECRET}{after}"
    for before in ("", "/", "?", "#", "7/", "7?", "7#", ":", "@", "%", "%25", "a b", "$", "\\")
    for after in ("", "/", "@", "%FF", ",")
]
SCHEMES = ("redis", "http", "tcp", "grpc", "htp", "file")
FORMS = (
    "{scheme}://app:{password}@db",
    "{scheme}://:{password}@db:1/x",
    "{scheme}://{password}@db",
)


def shown(text: str) -> str:
    """Return all that is shown of a TARGET: its label, or the mistake in it."""
    try:
        return parse_target(expand_target(text)).label
    except BadArgumentError as error:
        return usage_problem(error) + str(error)
    except ExpansionError as error:
        return str(error)


def is_host(text: str) -> bool:
    """Return whether the variable replaces a host or a path, whose value is shown."""
    return "@" not in text.partition("${PASSWORD}")[2]


def mistyped(text: str, password: str) -> Iterator[str]:
    """Yield a text with each character outside the password dropped, doubled or replaced."""
    start = text.index(password)
    for index, char in enumerate(text):
        if not start <= index < start + len(password):
            before, after = text[:index], text[index + 1 :]
            yield from (before + new + after for new in ("", char * 2, "/", ":"))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_of_a_variable(scheme: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = form.format(scheme=scheme, password="${PASSWORD}")
    for password in PASSWORDS:
        monkeypatch.setenv("PASSWORD", password)
        for one in (text, *mistyped(text, "${PASSWORD}")):
            if not (is_host(one) and password == SECRET):
                assert SECRET not in shown(one), one


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", FORMS[:2])
def test_a_secret_that_is_written_out(scheme: str, form: str) -> None:
    for password in PASSWORDS:
        text = form.format(scheme=scheme, password=password)
        assert SECRET not in shown(text), text


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("form", [*FORMS[:2], "{scheme}://db/x#{password}"])
def test_a_secret_in_an_unexpected_argument(scheme: str, form: str) -> None:
    for password in PASSWORDS:
        text = form.format(scheme=scheme, password=password)
        assert SECRET not in shown_target(text), text


@pytest.mark.parametrize("mistake", ["${PASSWORD", "{PASSWORD}", "$PASSWORD", "${PASSWORD:?}"])
def test_a_mistyped_variable(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)
    assert SECRET not in shown(f"redis://:{mistake}@db")


@pytest.mark.parametrize("password", PASSWORDS)
def test_the_password_arrives(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", password)
    target = parse_target(expand_target("redis://:${PASSWORD}@db"))
    assert (target.user, target.password, target.endpoint.host) == ("", password, "db")


def test_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{SECRET}/@\n")
    target = parse_target(expand_target(f"redis://me:${{file:{tmp_path}/password}}@db"))
    assert (target.user, target.password) == ("me", f"{SECRET}/@")
    assert SECRET not in target.label


def test_a_query_shows_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.setenv("PLACE", "path")
    text = "http://h/${PLACE}?a=${KEY}&b=1&c=${KEY}x#${KEY}"
    target = parse_target(expand_target(text))
    assert target.label == "http://h/path?a=${KEY}&b=1&c=${KEY}x"
    assert target.url.query == f"a={SECRET}&b=1&c={SECRET}x".encode()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/x?a=b&key=${KEY}", "/x?a=b&key=${KEY}"),
        ("/x@${KEY}", "/x@${KEY}"),
        ("x?${KEY}", "${KEY}"),
    ],
)
def test_a_query_of_a_path_shows_the_name(
    path: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY", SECRET)
    assert main(["--port", "1", "--path", path]) == 1
    error = capfd.readouterr().err
    assert shown in error
    assert SECRET not in error


@pytest.mark.parametrize(
    "targets",
    [f"redis://:{SECRET}@db", URL(f"http://u:{SECRET}@h"), f"http://u:{SECRET}@h".encode()],
)
def test_targets_that_are_no_list_of_texts(targets: Any) -> None:
    cases: list[Any] = [
        targets,
        [[targets]],
        [{targets: 1}],
        [targets] if type(targets) is bytes else 1,
    ]
    for given in cases:
        with pytest.raises(BadArgumentError) as caught:
            check_all(given)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", [f"A: {SECRET}", f"Authorization Bearer {SECRET}", f"A={SECRET}"])
def test_a_header_with_its_value_in_the_name(name: str) -> None:
    with pytest.raises(BadArgumentError) as caught:
        check("http://h", headers={name: ""})
    assert SECRET not in str(caught.value)
    assert "'A" in str(caught.value)

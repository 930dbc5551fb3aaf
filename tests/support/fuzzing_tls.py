"""Broken TLS handshakes: what a server sends before it is verified."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl
import tempfile
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

DER_WORDS = (
    *(bytes([tag]) for tag in (0x01, 0x02, 0x03, 0x05, 0x06, 0x0C, 0x30, 0x31, 0x80, 0xA0, 0xA3)),
    *(b"\x80", b"\x81\xff", b"\x82\xff\xff", b"\x84\x7f\xff\xff\xff", b"\0", b"\xff"),
    *(b"\x30\x80", b"\x05\0", b"\x03\x01\x07", b"\x16\x04a\0.b", b"\x06\x03\x55\x1d\x1f"),
)
"""Tags and lengths, and short values that were mistaken in decoders before."""


@cache
def certificates() -> tuple[bytes, bytes]:
    """Return a plain certificate and one with many extensions, in DER; the same in each run."""
    plain, rich = (_certificate(*some) for some in ((), _extensions()))
    encoding = serialization.Encoding.DER
    return plain.public_bytes(encoding), rich.public_bytes(encoding)


@cache
def servers() -> tuple[ssl.SSLContext, ...]:
    """Return servers with these certificates that ask for one, for TLS 1.2 and for TLS 1.3."""
    key = _key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    made = []
    for extensions in ((), _extensions()):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.TemporaryDirectory() as name:
                file = Path(name, "server.pem")
                certificate = _certificate(*extensions)
                file.write_bytes(key + certificate.public_bytes(serialization.Encoding.PEM))
                context.load_cert_chain(file)
                context.load_verify_locations(file)  # the CA that it names
            context.verify_mode = ssl.CERT_OPTIONAL
            context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            made.append(context)
    return tuple(made)


def first_flight(context: ssl.SSLContext, hello: bytes) -> bytes:
    """Return what a server responds to a ClientHello."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(hello)
    with contextlib.suppress(ssl.SSLError):  # it waits for more, or refuses
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    return outgoing.read()


def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(32))  # whose signatures are not random


def _certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    key = _key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2126, 1, 1, tzinfo=dt.UTC))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, None)


def _extensions() -> tuple[x509.ExtensionType, ...]:
    host = x509.DNSName("localhost")
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    place = x509.UniformResourceIdentifier("http://localhost/")
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    policy = x509.ObjectIdentifier("1.3.6.1.5.5.7.2.1")
    return (
        x509.SubjectAlternativeName([host, address]),
        x509.BasicConstraints(ca=True, path_length=1),
        x509.NameConstraints([host], [x509.IPAddress(ipaddress.ip_network("127.0.0.0/8"))]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.CertificatePolicies([x509.PolicyInformation(policy, ["http://localhost/"])]),
        x509.CRLDistributionPoints(
            [
                x509.DistributionPoint([place], None, None, None),
                x509.DistributionPoint(None, relative, None, None),
            ]
        ),
        x509.AuthorityInformationAccess(
            [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)]
        ),
    )

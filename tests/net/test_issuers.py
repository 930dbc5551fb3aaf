"""Of a large file of CA certificates OpenSSL decodes a few, and no verdict differs for that."""

from __future__ import annotations

import datetime as dt
import gc
import ssl
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import certifi
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from healthchecker import BadArgumentError, check
from healthchecker._net import issuers, tls
from healthchecker._net.connect import open_tcp
from healthchecker._net.deadline import Deadline
from healthchecker._net.issuers import LeftOut, bundled, bundled_file, can_leave_out
from healthchecker._values.result import ProbeFailure
from healthchecker._values.tls_options import TlsOptions
from tests.servers.peers import Peer, respond
from tests.support import require
from tests.support.forms import Form, run
from tests.tables.hostile_http import HEALTHY

pytestmark = pytest.mark.skipif(not can_leave_out, reason="OpenSSL reads each file as a whole")

MANY = certifi.contents().encode()
DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)
PEM = serialization.Encoding.PEM
PRINTABLE, UTF8, BMP = _ASN1Type.PrintableString, _ASN1Type.UTF8String, _ASN1Type.BMPString
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"


@cache
def key(owner: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def name(common: str, kind: _ASN1Type = UTF8) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example", _type=kind),
            x509.NameAttribute(NameOID.COMMON_NAME, common, _type=kind),
        ]
    )


ROOT, INTERMEDIATE, OTHER, LEAF = (name(one) for one in ("Root", "Intermediate", "Other", "leaf"))


def certificate(
    subject: x509.Name,
    owner: str,
    issuer: x509.Name,
    signer: str,
    *extensions: x509.ExtensionType,
    ca: bool = True,
    days: tuple[int, int] = (-1, 90),
) -> bytes:
    """Return a certificate for the key of `owner`, signed by that of `signer`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key(owner).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + days[0] * DAY)
        .not_valid_after(NOW + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    return builder.sign(key(signer), hashes.SHA256()).public_bytes(PEM)


def root(subject: x509.Name = ROOT, owner: str = "root", days: tuple[int, int] = (-1, 90)) -> bytes:
    return certificate(subject, owner, subject, owner, days=days)


EXPIRED = (-9, -1)
BY_ROOT = certificate(LEAF, "leaf", ROOT, "root", ca=False)
BY_PRINTABLE = certificate(LEAF, "leaf", name("Root", PRINTABLE), "root", ca=False)
BY_INTERMEDIATE = certificate(LEAF, "leaf", INTERMEDIATE, "intermediate", ca=False)
LINK = certificate(INTERMEDIATE, "intermediate", ROOT, "root")
OTHERS_LINK = certificate(INTERMEDIATE, "intermediate", OTHER, "other")
CROSS = certificate(ROOT, "root", OTHER, "other")
SELF_SIGNED = certificate(LEAF, "leaf", LEAF, "leaf", ca=False)
NOT_HERE = x509.NameConstraints(None, [x509.DNSName("localhost")])
TWO_IN_ONE = x509.Name(
    [
        x509.RelativeDistinguishedName(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
                x509.NameAttribute(NameOID.COMMON_NAME, "Root"),
            ]
        )
    ]
)
KNOWN = MANY[MANY.index(BEGIN) : MANY.index(END) + len(END) + 1]
BY_BUNDLED = certificate(
    LEAF, "leaf", x509.load_pem_x509_certificate(KNOWN).subject, "other", ca=False
)
DAMAGED = KNOWN.replace(KNOWN[400:403], b"!!!")


def truncated(pem: bytes) -> bytes:
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    return ssl.DER_cert_to_PEM_cert(der[:-9]).encode()


def damaged_inside(pem: bytes) -> bytes:
    """Return a certificate whose outline is right, but the type of its validity is not."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem.decode()))
    at = der.index(b"\x17\x0d")  # UTCTime
    der[at] = 0x05
    return ssl.DER_cert_to_PEM_cert(bytes(der)).encode()


def invalid_extension(pem: bytes) -> bytes:
    """Return a certificate with basic constraints that are no sequence."""
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    return ssl.DER_cert_to_PEM_cert(der.replace(b"\x04\x05\x30\x03", b"\x04\x05\x04\x03")).encode()


def padded() -> bytes:
    """Return a certificate of as many bytes as need no padding, with a character of it."""
    while True:
        pem = root()
        if b"=" not in pem:
            return pem.replace(b"\n" + END, b"=\n" + END)


def by_whole_lines(pem: bytes) -> bytes:
    """Return PEM with each certificate on one line."""
    begin, end = BEGIN + b"\n", b"\n" + END
    for part in pem.split(begin)[1:]:
        text = part.partition(end)[0]
        pem = pem.replace(text, text.replace(b"\n", b""))
    return pem


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    file: bytes
    chain: Sequence[bytes] = (BY_ROOT,)
    versions: Sequence[ssl.TLSVersion] = (TLS_1_3,)
    left_out: bool | None = True
    """Whether certificates of the file are left out; None if that is up to OpenSSL's version."""


BOTH = (TLS_1_2, TLS_1_3)
CASES = (
    # What the file and the peer have.
    Case("root", MANY + root(), versions=BOTH),
    Case("root first", root() + MANY),
    Case("root twice", root() + MANY + root()),
    Case("root sent", MANY + root(), (BY_ROOT, root())),
    Case("another root sent", MANY, (BY_ROOT, root())),
    Case("intermediate sent", MANY + root(), (BY_INTERMEDIATE, LINK), BOTH),
    Case("intermediate not sent", MANY + root(), (BY_INTERMEDIATE,)),
    Case("intermediate in the file", MANY + root() + LINK, (BY_INTERMEDIATE,), BOTH),
    Case("intermediate is the anchor", MANY + LINK, (BY_INTERMEDIATE,), BOTH),
    Case("intermediate is the anchor, sent", MANY + LINK, (BY_INTERMEDIATE, LINK)),
    Case("own certificate", MANY + BY_ROOT, versions=BOTH),
    Case("own self-signed certificate", MANY + SELF_SIGNED, (SELF_SIGNED,), BOTH),
    Case("self-signed", MANY, (SELF_SIGNED,), BOTH),
    Case("unknown", MANY, versions=BOTH),
    Case("unknown with intermediate", MANY, (BY_INTERMEDIATE, LINK)),
    Case("another key", MANY + root(owner="other")),
    Case("expired root", MANY + root(days=EXPIRED)),
    Case("no CA", MANY + certificate(ROOT, "root", ROOT, "root", ca=False)),
    Case("constrained root", MANY + certificate(ROOT, "root", ROOT, "root", NOT_HERE)),
    Case("cross-signed, both", MANY + root() + root(OTHER, "other"), (BY_ROOT, CROSS)),
    Case("cross-signed, one", MANY + root(OTHER, "other"), (BY_ROOT, CROSS), BOTH),
    Case("cross-signed, expired", MANY + root(OTHER, "other", days=EXPIRED), (BY_ROOT, CROSS)),
    Case("cross certificate in the file", MANY + CROSS + root(OTHER, "other")),
    Case("two links", MANY + root() + OTHERS_LINK, (BY_INTERMEDIATE, LINK)),
    Case("shuffled", MANY + root(), (BY_INTERMEDIATE, CROSS, LINK)),
    Case("the peer's root is bundled", MANY, (BY_ROOT, KNOWN)),
    Case("not by a bundled root", MANY, (BY_BUNDLED,), BOTH),
    # Several certificates with one name: their order counts.
    Case("expired, then valid", MANY + root(days=EXPIRED) + root(), versions=BOTH),
    Case("valid, then expired", MANY + root() + root(days=EXPIRED), versions=BOTH),
    Case("wrong key, then right", MANY + root(owner="other") + root(), versions=BOTH),
    Case("right key, then wrong", MANY + root() + root(owner="other"), versions=BOTH),
    Case("around", root(owner="other") + MANY + root()),
    Case("around, turned", root() + MANY + root(owner="other")),
    Case("the longer one is wrong", MANY + root() + root(owner="other", days=(-1, 900))),
    Case("unneeded ones", MANY + root() + root(OTHER) + root(OTHER, "other")),
    Case("many", MANY + root() + b"".join(root(OTHER, str(n)) for n in range(60))),
    # Names that are equal to OpenSSL.
    Case("other type", MANY + root(), (BY_PRINTABLE,), BOTH),
    Case("other case", MANY + root(name("ROOT")), (BY_PRINTABLE,)),
    Case("other blanks", MANY + root(name("  Root "))),
    Case(
        "other type of an expired one",
        MANY + root(name("Root", PRINTABLE), days=EXPIRED) + root(),
        (BY_PRINTABLE,),
    ),
    Case(
        "other type of another key",
        MANY + root(name("Root", PRINTABLE), "other") + root(name("rooT ")),
        (BY_PRINTABLE,),
    ),
    Case("other type in the file", MANY + root(name("Root", BMP)), left_out=False),
    Case(
        "other type in the chain",
        MANY + root(),
        (certificate(LEAF, "leaf", name("Root", BMP), "root", ca=False),),
        BOTH,
    ),
    Case("two in one", MANY + root(TWO_IN_ONE), left_out=False),
    Case(
        "two in one in the chain",
        MANY + root(),
        (certificate(TWO_IN_ONE, "leaf", ROOT, "root", ca=False),),
    ),
    Case(
        "no name",
        MANY + root(x509.Name([])),
        (certificate(LEAF, "leaf", x509.Name([]), "root", ca=False),),
    ),
    Case(
        "only signs",
        MANY + root(name("-")),
        (certificate(LEAF, "leaf", name("+"), "root", ca=False),),
    ),
    # What else can be in a file.
    Case("few", root() + KNOWN * 40, left_out=False),
    Case("small", root(), left_out=False),
    Case("large", MANY + root() + b"# a comment\n" * 40_000, left_out=False),
    Case("CRLF", (MANY + root()).replace(b"\n", b"\r\n"), versions=BOTH),
    Case(
        "comments",
        (MANY + root()).replace(BEGIN, b"# a\nSubject: Root\n\xff\n" + BEGIN),
    ),
    Case("NUL", MANY + b"# \0\n" + root(), left_out=False),
    Case("dashes in a comment", MANY + b"# -----\n" + root(), left_out=False),
    Case("comment before BEGIN", MANY + b"# " + root(), left_out=False),
    Case("blank before BEGIN", MANY + b" " + root(), left_out=False),
    Case("BOM", b"\xef\xbb\xbf" + root() + MANY, left_out=False),
    Case("only BEGIN is a comment", root().replace(BEGIN, b"# " + BEGIN) + MANY, left_out=False),
    Case("after BEGIN", MANY + root().replace(BEGIN, BEGIN + b" "), left_out=False),
    Case("after END", MANY + root().replace(END, END + b"x"), left_out=False),
    Case("no END", MANY + root().replace(END, b""), left_out=False),
    Case("no last line end", MANY + root().strip(), left_out=False),
    Case("two BEGIN", MANY + BEGIN + b"\n" + root(), left_out=False),
    Case("long lines", by_whole_lines(MANY + root()), left_out=False),
    Case("blank lines", MANY + root().replace(b"\n", b"\n\n"), left_out=False),
    Case("trailing blanks", MANY + root().replace(b"\n", b" \n"), left_out=False),
    Case("a header", MANY + root().replace(b"\n", b"\nA: b\n\n", 1), left_out=False),
    Case("trusted", MANY + root().replace(b" CERT", b" TRUSTED CERT"), left_out=False),
    Case("X509", MANY + root().replace(b" CERT", b" X509 CERT"), left_out=False),
    Case("a key", MANY + trustme.CA().private_key_pem.bytes() + root(), left_out=False),
    Case("nothing in one", MANY + BEGIN + b"\n\n" + END + b"\n" + root(), left_out=False),
    Case("bad base64", DAMAGED + MANY + root(), left_out=False),
    Case("truncated", MANY + root() + truncated(root(OTHER)), left_out=False),
    Case("damaged inside", MANY + root() + damaged_inside(root(OTHER)), left_out=False),
    Case("a bundled one damaged inside", root() + damaged_inside(KNOWN) + MANY, left_out=False),
    Case("an extension that is not valid", MANY + invalid_extension(root())),
    Case(
        "of two, one has an extension that is not valid",
        MANY + invalid_extension(root()) + root(),
        versions=BOTH,
        left_out=None,
    ),
    Case("too much padding", MANY + padded(), left_out=False),
    Case(
        "more than a certificate",
        MANY
        + root()
        + ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(root(OTHER).decode()) + b"\0").encode(),
        left_out=False,
    ),
)


def server(chain: Sequence[bytes], version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    private = key("leaf").private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with trustme.Blob(private + b"".join(chain)).tempfile() as file:
        context.load_cert_chain(file)
    return context


def verdict(port: int, file: Path) -> tuple[str, str]:
    try:
        result = check(f"https://localhost:{port}/", timeout=30, cacert=file)
    except BadArgumentError as error:
        return "bad argument", str(error)
    return result.reason, result.detail


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Yield how to replace the bundled certificates, which OpenSSL is known to accept."""

    def replace_by(pem: bytes) -> None:
        monkeypatch.setattr(certifi, "contents", lambda: pem.decode(errors="replace"))
        bundled.cache_clear()

    yield replace_by
    bundled.cache_clear()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_verdict_is_that_of_the_whole_file(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Callable[[bytes], None]
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(case.file)
    for version in case.versions:
        with Peer(respond(HEALTHY), context=server(case.chain, version)) as peer:
            with monkeypatch.context() as patch:
                patch.setattr(tls, "can_leave_out", False)
                expected = verdict(peer.port, file)
            assert verdict(peer.port, file) == expected
            if case.left_out:
                bundle(case.file)  # so that all of it is left out
                assert verdict(peer.port, file) == expected
                bundle(MANY)
            connections = 2 + bool(case.left_out)
            assert len(peer.connected_at) == (0 if expected[0] == "bad argument" else connections)
    try:
        client = tls.TlsClient(TlsOptions(cacert=str(file)))
        client.read_files(Deadline(30), print)
    except BadArgumentError:
        assert not case.left_out
    else:
        is_left_out = client._left_out is not None  # noqa: SLF001
        assert case.left_out in (is_left_out, None)


@pytest.mark.parametrize("chain", [[BY_ROOT], [SELF_SIGNED]])
@pytest.mark.parametrize("is_first", [True, False])
def test_another_with_the_name_of_a_bundled_one_is_not_valid(
    chain: list[bytes],
    is_first: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bundle: Callable[[bytes], None],
) -> None:
    file, known, other = tmp_path / "ca.pem", root(), invalid_extension(root())
    file.write_bytes(MANY + (other + known if is_first else known + other))
    with Peer(respond(HEALTHY), context=server(chain, TLS_1_3)) as peer:
        with monkeypatch.context() as patch:
            patch.setattr(tls, "can_leave_out", False)
            expected = verdict(peer.port, file)
        bundle(MANY + known)
        assert verdict(peer.port, file) == expected


@pytest.mark.parametrize("version", BOTH)
def test_only_what_the_chain_needs_is_decoded(
    version: ssl.TLSVersion, tmp_path: Path, bundle: Callable[[bytes], None]
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(root(OTHER, "other") + MANY + LINK + root())
    bundle(file.read_bytes())
    client = tls.TlsClient(TlsOptions(cacert=str(file)))
    deadline = Deadline(30)
    context = client._open_context(deadline)  # noqa: SLF001 - shows what is loaded
    assert context.get_ca_certs() == []
    with Peer(respond(HEALTHY), context=server([BY_INTERMEDIATE], version)) as peer:
        for _ in range(2):  # the second handshake needs nothing more
            with open_tcp(["127.0.0.1"], peer.port, deadline) as stream:
                client.start(stream, "localhost", deadline)
            assert len(context.get_ca_certs()) == 2


def left_out(make_context: Callable[[], ssl.SSLContext]) -> LeftOut:
    return LeftOut(MANY, make_context)


def client_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class Session:
    context: ssl.SSLContext


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x0b",
        b"\x0b\0\0\x03\0\0\0",
        b"\x0b\0\0\x04\0\0\0\0",
        b"\x0b\0\0\x10\0\0\0\x0c\0\0\x03\x30\x84\xff\0\0\0\0",
        b"\x0b" + bytes(100),
        b"\x0b" + b"\xff" * 100,
        b"\x0b" + b"\x30\x80" * 50,
    ],
)
@pytest.mark.parametrize("version", [0x303, 0x304])
@pytest.mark.parametrize("kind", [11, 25])
def test_a_chain_that_is_not_understood_gets_the_whole_file(
    message: bytes, version: int, kind: int
) -> None:
    certificates = left_out(client_context)
    session = Session(client_context())
    certificates(session, "read", version, 22, kind, message)  # type: ignore[arg-type]
    certificates.raise_error()
    assert len(session.context.get_ca_certs()) == len(bundled())


@pytest.mark.parametrize(
    ("direction", "kind", "message"), [("write", 22, 11), ("read", 22, 2), ("read", 256, 11)]
)
def test_other_messages_are_not_looked_at(direction: str, kind: int, message: int) -> None:
    certificates = left_out(lambda: pytest.fail("a context"))
    context = client_context()
    session = Session(context)
    certificates(session, direction, 0x303, kind, message, b"")  # type: ignore[arg-type]
    certificates.raise_error()
    assert session.context is context


@pytest.mark.parametrize(
    ("error", "raised"), [(MemoryError, ProbeFailure), (KeyboardInterrupt, KeyboardInterrupt)]
)
def test_what_goes_wrong_in_a_handshake_ends_the_check(
    error: type[BaseException],
    raised: type[BaseException],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(MANY + root())
    client = tls.TlsClient(TlsOptions(cacert=str(file)))
    deadline = Deadline(30)
    client.read_files(deadline, print)

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(LeftOut, "_look", fail)
    with (
        Peer(respond(HEALTHY), context=server([BY_ROOT], TLS_1_3)) as peer,
        open_tcp(["127.0.0.1"], peer.port, deadline) as stream,
        pytest.raises(raised),
    ):
        client.start(stream, "localhost", deadline)


def test_the_whole_file_is_loaded_again_after_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    certificates = left_out(client_context)
    session = Session(client_context())
    with monkeypatch.context() as patch:
        patch.setattr(issuers, "_joined", Mock(side_effect=MemoryError))
        certificates(session, "read", 0x303, 22, 11, b"")  # type: ignore[arg-type]
    with pytest.raises(ProbeFailure):
        certificates.raise_error()
    certificates(session, "read", 0x303, 22, 11, b"")  # type: ignore[arg-type]
    certificates.raise_error()
    assert len(session.context.get_ca_certs()) == len(bundled())


@pytest.mark.parametrize("chain", [[BY_ROOT], [SELF_SIGNED]])
def test_nothing_is_kept_by_a_cycle(chain: list[bytes], tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(MANY + root())
    deadline = Deadline(30)
    client = tls.TlsClient(TlsOptions(cacert=str(file)))
    context = weakref.ref(client._open_context(deadline))  # noqa: SLF001 - shows what is kept
    gc.disable()
    try:
        with (
            Peer(respond(HEALTHY), context=server(chain, TLS_1_3)) as peer,
            open_tcp(["127.0.0.1"], peer.port, deadline) as stream,
            suppress(ProbeFailure),
        ):
            client.start(stream, "localhost", deadline)
        del client, stream
        assert context() is None
    finally:
        gc.enable()


def test_all_bundled_certificates_can_be_left_out() -> None:
    assert len(bundled()) == MANY.count(BEGIN)
    assert len(set(bundled().values())) == len(bundled())
    context = client_context()
    context.load_verify_locations(cadata=bundled_file().decode())
    assert len(context.get_ca_certs()) == len(bundled())


def test_the_file_of_the_system_is_understood() -> None:
    files = [file for name in tls._SYSTEM_BUNDLES if (file := Path(name)).exists()]  # noqa: SLF001
    require(files, "the system has no file of CA certificates")
    for file in files:
        LeftOut(file.read_bytes(), client_context)


@pytest.mark.emulated
@pytest.mark.parametrize("name", ["root", "unknown", "expired, then valid", "valid, then expired"])
@pytest.mark.parametrize("version", BOTH)
def test_every_form_leaves_certificates_out(
    form: Form, name: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    case = next(case for case in CASES if case.name == name)
    file = tmp_path / "ca.pem"
    file.write_bytes(case.file)
    with Peer(respond(HEALTHY), context=server(case.chain, version)) as peer:
        target = f"https://localhost:{peer.port}/"
        outcome = run(form, ["--timeout=20s", "--output=json", "--cacert", str(file), target])
    assert outcome.check["reason"] == ("tls_failure" if name == "unknown" else "ok")
    assert len(peer.connected_at) == 1

"""TLS: which servers are trusted, which are not and why; a plain check has nothing of it."""

from __future__ import annotations

import ast
import datetime as dt
import os
import re
import shutil
import signal
import ssl
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import certifi
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from healthchecker import BadArgumentError, OptionValues, Reason, check, watch
from healthchecker._net import tls
from healthchecker._net.deadline import Deadline
from healthchecker._values.tls_options import TlsOptions
from tests.servers.hanging import hanging_file_system
from tests.servers.peers import (
    Connection,
    Peer,
    SilentPeer,
    blurt,
    hold,
    read_a_byte,
    respond,
)
from tests.servers.tls import certificate_bomb, server_flight
from tests.support import LOADED, poll, require
from tests.support.forms import Form, run
from tests.support.running import start
from tests.tables.hostile_http import HEALTHY

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)

UNSHARE = shutil.which("unshare") or "unshare"


def require_mounts() -> None:
    done = subprocess.run([UNSHARE, "-m", "true"], check=False, capture_output=True)
    require(done.returncode == 0, "no mount namespace can be made: needs unshare and root")


CA = trustme.CA()
OTHER_CA = trustme.CA(organization_name="Another organization")


def server(cert: trustme.LeafCert, **settings: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cert.configure_cert(context)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def localhost() -> ssl.SSLContext:
    return server(CA.issue_cert("localhost", "127.0.0.1", "::1"))


def of_parts(key: bytes, *chain: bytes) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # clients must refuse, not the server
    with trustme.Blob(key + b"".join(chain)).tempfile() as file:
        context.load_cert_chain(file)
    return context


def self_signed() -> ssl.SSLContext:
    ca = trustme.CA()
    return of_parts(ca.private_key_pem.bytes(), ca.cert_pem.bytes())


def without_its_intermediate() -> ssl.SSLContext:
    leaf = CA.create_child_ca().issue_cert("localhost")
    return of_parts(leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())


def with_its_intermediate() -> ssl.SSLContext:
    return server(CA.create_child_ca().issue_cert("localhost"))


def handmade(
    *extensions: x509.ExtensionType, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> ssl.SSLContext:
    """Return the context of a server with an unusual certificate of `CA` for localhost."""
    issuer = x509.load_pem_x509_certificate(CA.cert_pem.bytes())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    ca_key = serialization.load_pem_private_key(CA.private_key_pem.bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    pem = serialization.Encoding.PEM
    return of_parts(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        builder.sign(ca_key, hashes.SHA256()).public_bytes(pem),
    )


def for_clients_only() -> ssl.SSLContext:
    return handmade(
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
        key=ec.generate_private_key(ec.SECP256R1()),
    )


def with_a_common_name_only() -> ssl.SSLContext:
    return handmade(key=ec.generate_private_key(ec.SECP256R1()))


def with_a_weak_key() -> ssl.SSLContext:
    return handmade(
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
        key=rsa.generate_private_key(65537, 1024),
    )


def old(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = localhost()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = version
        context.maximum_version = version
    return context


def for_known_clients(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = localhost()
    context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    CA.configure_trust(context)
    return context


def without_a_common_cipher() -> ssl.SSLContext:
    context = localhost()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-CAMELLIA128-SHA256")
    return context


MANY = certifi.contents().encode()
NOISE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
INTERMEDIATE = CA.create_child_ca()
OWN = OTHER_CA.issue_cert("localhost")


def of_the_intermediate() -> ssl.SSLContext:
    return server(INTERMEDIATE.issue_cert("localhost"))


@dataclass(frozen=True, slots=True)
class Untrusted:
    """A server, and the message of a check that does not trust it."""

    name: str
    make_context: Callable[[], ssl.SSLContext]
    message: str
    args: tuple[str, ...] = ()
    host: str = "localhost"


UNTRUSTED = (
    Untrusted("wrong name", lambda: server(CA.issue_cert("other.example")), "Hostname mismatch"),
    Untrusted(
        "wrong address",
        lambda: server(CA.issue_cert("127.0.0.2")),
        "IP address mismatch",
        host="127.0.0.1",
    ),
    Untrusted(
        "name instead of an address",
        lambda: server(CA.issue_cert("localhost")),
        "IP address mismatch",
        host="127.0.0.1",
    ),
    Untrusted("wrong --server-name", localhost, "mismatch", ("--server-name=else.example",)),
    Untrusted(
        "wildcard over two labels",
        lambda: server(CA.issue_cert("*.svc.example")),
        "mismatch",
        ("--server-name=a.b.svc.example",),
    ),
    Untrusted(
        "common name only",
        with_a_common_name_only,
        "it must have the name as a subject alternative name (a common name is not enough)",
    ),
    Untrusted(
        "expired",
        lambda: server(CA.issue_cert("localhost", not_before=NOW - 2 * DAY, not_after=NOW - DAY)),
        "expired",
    ),
    Untrusted(
        "not yet valid",
        lambda: server(CA.issue_cert("localhost", not_before=NOW + DAY, not_after=NOW + 2 * DAY)),
        "not yet valid",
    ),
    Untrusted("self-signed", self_signed, "self-signed certificate"),
    Untrusted(
        "unknown authority",
        lambda: server(OTHER_CA.issue_cert("localhost")),
        "unable to get local issuer certificate",
    ),
    Untrusted(
        "intermediate missing",
        without_its_intermediate,
        "unable to get local issuer certificate",
    ),
    Untrusted(
        "another intermediate",
        with_its_intermediate,
        "unable to get",
        ("--cacert={intermediate}",),
    ),
    Untrusted(
        "own certificate, wrong name",
        lambda: server(OWN),
        "mismatch",
        ("--cacert={own}", "--server-name=else.example"),
    ),
    Untrusted(
        "unknown authority, many known",
        lambda: server(OTHER_CA.issue_cert("localhost")),
        "unable to get local issuer certificate",
        ("--cacert={many}",),
    ),
    Untrusted("wrong purpose", for_clients_only, "purpose"),
    Untrusted("weak key", with_a_weak_key, "too weak"),
    Untrusted("TLS 1.0", lambda: old(ssl.TLSVersion.TLSv1), "does not support TLS 1.2 or later"),
    Untrusted("TLS 1.1", lambda: old(ssl.TLSVersion.TLSv1_1), "does not support TLS 1.2 or later"),
    Untrusted("client certificate missing", for_known_clients, "requires a client certificate"),
    Untrusted(
        "client certificate missing, TLS 1.2",
        lambda: for_known_clients(ssl.TLSVersion.TLSv1_2),
        "it requires a client certificate",
    ),
    Untrusted(
        "unknown client certificate",
        for_known_clients,
        "does not trust the client certificate",
        ("--cert={other_client}",),
    ),
    Untrusted(
        "unknown client certificate, TLS 1.2",
        lambda: for_known_clients(ssl.TLSVersion.TLSv1_2),
        "does not trust the client certificate",
        ("--cert={other_client}",),
    ),
    Untrusted("no common cipher", without_a_common_cipher, "refused the handshake"),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the paths of PEM files by their names."""
    path = tmp_path_factory.mktemp("pem")
    client = CA.issue_cert("client@example.org")
    other_client = OTHER_CA.issue_cert("client@example.org")
    key = serialization.load_pem_private_key(client.private_key_pem.bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    contents = {
        "ca": CA.cert_pem.bytes(),
        "other_ca": OTHER_CA.cert_pem.bytes(),
        "intermediate": INTERMEDIATE.cert_pem.bytes(),
        "own": OWN.cert_chain_pems[0].bytes(),
        "many": MANY + CA.cert_pem.bytes(),
        "many_intermediate": MANY + INTERMEDIATE.cert_pem.bytes(),
        "many_own": OWN.cert_chain_pems[0].bytes() + MANY,
        "many_broken": MANY + NOISE,
        "client": client.private_key_and_cert_chain_pem.bytes(),
        "client_cert": client.cert_chain_pems[0].bytes(),
        "client_key": client.private_key_pem.bytes(),
        "client_key_encrypted": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        ),
        "other_client": other_client.private_key_and_cert_chain_pem.bytes(),
        "other_key": other_client.private_key_pem.bytes(),
        "empty": b"",
        "noise": NOISE,
    }
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return {name: str(path / name) for name in (*contents, "missing")}


@pytest.mark.emulated
@pytest.mark.parametrize("case", UNTRUSTED, ids=lambda case: case.name)
def test_untrusted_servers(form: Form, case: Untrusted, files: dict[str, str]) -> None:
    with Peer(respond(HEALTHY), context=case.make_context()) as peer:
        args = [arg.format(**files) for arg in case.args]
        target = f"https://{case.host}:{peer.port}/health"
        command = ["--timeout=10s", "--cacert", files["ca"], "--output=json", *args, target]
        outcome = run(form, command)
    assert outcome.code == 1
    assert outcome.check["reason"] == "tls_failure"
    assert case.message in outcome.check["detail"]


TRUSTED: tuple[tuple[Callable[[], ssl.SSLContext], str, str], ...] = (
    (localhost, "--cacert={ca}", "localhost"),
    (localhost, "--cacert={ca}", "LOCALHOST."),
    (localhost, "--cacert={ca}", "127.0.0.1"),
    (
        lambda: server(CA.issue_cert("other.example")),
        "--cacert={ca} --server-name=other.example",
        "localhost",
    ),
    (
        lambda: server(CA.issue_cert("*.svc.example")),
        "--cacert={ca} --server-name=a.svc.example",
        "localhost",
    ),
    (with_its_intermediate, "--cacert={ca}", "localhost"),
    (of_the_intermediate, "--cacert={intermediate}", "localhost"),
    (lambda: server(OWN), "--cacert={own}", "localhost"),
    (localhost, "--cacert={many}", "localhost"),
    (lambda: old(ssl.TLSVersion.TLSv1_2), "--cacert={many}", "localhost"),
    (of_the_intermediate, "--cacert={many_intermediate}", "localhost"),
    (lambda: server(OWN), "--cacert={many_own}", "localhost"),
    (self_signed, "--insecure", "localhost"),
    (lambda: server(OTHER_CA.issue_cert("other.example")), "--insecure", "127.0.0.1"),
    (lambda: old(ssl.TLSVersion.TLSv1_2), "--cacert={ca}", "localhost"),
    (for_known_clients, "--cacert={ca} --cert={client}", "localhost"),
    (for_known_clients, "--cacert={ca} --cert={client_cert} --key={client_key}", "localhost"),
    (
        lambda: for_known_clients(ssl.TLSVersion.TLSv1_2),
        "--cacert={ca} --cert={client}",
        "localhost",
    ),
)


@pytest.mark.emulated
@pytest.mark.parametrize(("make_context", "args", "host"), TRUSTED)
def test_trusted_servers(
    form: Form,
    make_context: Callable[[], ssl.SSLContext],
    args: str,
    host: str,
    files: dict[str, str],
) -> None:
    with Peer(respond(HEALTHY), context=make_context()) as peer:
        command = ["--timeout=10s", *args.format(**files).split(), f"https://{host}:{peer.port}/"]
        outcome = run(form, command)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--cacert={missing}", "No such file"),
        ("--cacert={empty}", "a file of PEM certificates"),
        ("--cacert={noise}", "a file of PEM certificates"),
        ("--cacert={many_broken}", "a file of PEM certificates"),
        ("--cacert=/", "directory"),
        ("--cert={missing}", "No such file"),
        ("--cert={client_cert}", "matching"),
        ("--cert={client_cert} --key={missing}", "No such file"),
        ("--cert={client_cert} --key={other_key}", "matching"),
        ("--cert={client_cert} --key={client_key_encrypted}", "unencrypted"),
        ("--key={client_key}", "needs a certificate"),
        ("--insecure --cacert={ca}", "cannot be combined"),
    ],
)
def test_files_that_cannot_be_used(
    form: Form, args: str, message: str, files: dict[str, str]
) -> None:
    outcome = run(form, [*args.format(**files).split(), "https://localhost:1/"])
    assert outcome.code == 1
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("healthchecker: usage_error: --")
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_server_name_is_sent_for_names_only(form: Form) -> None:
    requested: list[str | None] = []
    context = localhost()
    context.sni_callback = lambda _socket, name, _context: requested.append(name)
    with Peer(respond(HEALTHY), context=context) as peer:
        for host in ("localhost", "127.0.0.1"):
            assert run(form, ["--insecure", f"https://{host}:{peer.port}/"]).code == 0
    assert requested == ["localhost", None]


def test_the_store_named_by_the_environment(form: Form, files: dict[str, str]) -> None:
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        target = f"https://localhost:{peer.port}/"
        trusting = {"SSL_CERT_FILE": files["ca"]}
        assert run(form, [target], env=trusting).code == 0
        # --cacert comes before it, and takes its place.
        assert run(form, ["--cacert", files["other_ca"], target], env=trusting).code == 1
        # Without it there are the CA certificates of the system, or our own, without the test CA.
        without = run(form, ["--output=json", target], env={"SSL_CERT_FILE": ""})
    assert without.check["reason"] == "tls_failure"
    assert "issuer" in without.check["detail"]


def ca_subject(pem: str) -> object:
    """Return the subject of a CA certificate in the form of `SSLContext.get_ca_certs`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=pem)
    return context.get_ca_certs()[0]["subject"]


def hashed_directory(path: Path, ca: trustme.CA) -> str:
    """Make a directory in which OpenSSL finds a CA certificate by the hash of its name."""
    path.mkdir()
    pem = path / "ca.pem"
    pem.write_bytes(ca.cert_pem.bytes())
    openssl = shutil.which("openssl")
    require(openssl, "openssl is not installed")
    command = [str(openssl), "x509", "-hash", "-noout", "-in", str(pem)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pem.rename(path / f"{done.stdout.strip()}.0")
    return str(path)


@pytest.fixture
def hashed(tmp_path: Path) -> str:
    return hashed_directory(tmp_path / "hashed", CA)


def test_the_order_of_the_stores(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, str], hashed: str
) -> None:
    def subjects(context: ssl.SSLContext) -> list[object]:
        return [cert["subject"] for cert in context.get_ca_certs()]

    def stores() -> list[list[object]]:
        """Return which CA certificates are known at first, and after each `trust_more`."""
        client = tls.TlsClient(TlsOptions(), "http/1.1")
        deadline = Deadline(30)
        context = client._open_context(deadline)  # noqa: SLF001 - no server is needed for this
        known = [subjects(context)]
        while client.trust_more(deadline):
            known.append(subjects(context))
        return known

    ours, others = ([ca_subject(files[name])] for name in ("ca", "other_ca"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setattr(tls, "_SYSTEM_BUNDLES", (files["missing"], files["other_ca"]))
    monkeypatch.setattr(tls, "_SYSTEM_DIRECTORIES", (files["missing"],))
    assert stores() == [others]
    monkeypatch.setattr(tls, "_SYSTEM_DIRECTORIES", (files["missing"], hashed))
    assert stores() == [[], others]  # a directory is read only when a certificate needs it
    monkeypatch.setenv("SSL_CERT_FILE", files["ca"])
    assert stores() == [ours]
    monkeypatch.setenv("SSL_CERT_DIR", hashed)
    assert stores() == [[], ours]
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(files["ca"]).parent))  # nothing can be found there
    assert stores() == [ours]
    monkeypatch.setenv("SSL_CERT_DIR", hashed)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert stores() == [[]]
    monkeypatch.delenv("SSL_CERT_DIR")
    monkeypatch.setattr(tls, "_SYSTEM_BUNDLES", (files["missing"],))
    assert stores() == [[]]  # a store with few certificates is meant to be so
    monkeypatch.setattr(tls, "_SYSTEM_DIRECTORIES", (str(Path(files["ca"]).parent),))
    assert stores() == [[]]  # the bundled ones, decoded when one is needed
    monkeypatch.setattr(tls, "can_leave_out", False)
    (certifis,) = stores()
    assert len(certifis) == certifi.contents().count("BEGIN CERTIFICATE")


_OWN_STORE = 'mount --bind "$1" /etc/ssl/certs && shift && exec "$@"'


@pytest.mark.parametrize(
    ("directory", "bundle", "verdict"),
    [
        (CA, None, ("ok", 1)),
        (CA, OTHER_CA, ("ok", 1)),
        (OTHER_CA, CA, ("ok", 2)),
        (None, CA, ("ok", 1)),
        (OTHER_CA, OTHER_CA, ("tls_failure", 2)),
        (OTHER_CA, None, ("tls_failure", 1)),
    ],
)
def test_the_system_has_a_directory_and_a_bundle(
    form: Form,
    directory: trustme.CA | None,
    bundle: trustme.CA | None,
    verdict: tuple[str, int],
    tmp_path: Path,
) -> None:
    require_mounts()
    store = tmp_path / "certs"
    if directory is None:
        store.mkdir()
    else:
        hashed_directory(store, directory)
    if bundle is not None:
        (store / "ca-certificates.crt").write_bytes(bundle.cert_pem.bytes())
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        outcome = run(
            form,
            ["--output=json", f"https://localhost:{peer.port}/"],
            env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""},
            prefix=[UNSHARE, "-m", "/bin/sh", "-c", _OWN_STORE, "sh", str(store)],
        )
    assert (outcome.check["reason"], len(peer.connected_at)) == verdict


def test_many_targets_need_little_memory(form: Form, files: dict[str, str]) -> None:
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        targets = [f"https://localhost:{peer.port}/{n}" for n in range(40)]
        args = ["--timeout=20s", "--cacert", files["ca"], *targets]
        outcome = run(form.started, args, timeout=40)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.max_rss_kib <= form.max_rss_kib


@pytest.mark.timing
def test_the_second_store_comes_within_the_one_limit(form: Form, tmp_path: Path) -> None:
    require_mounts()
    store = tmp_path / "certs"
    hashed_directory(store, OTHER_CA)
    (store / "ca-certificates.crt").write_bytes(CA.cert_pem.bytes())
    with Peer(hold, context=localhost()) as peer:
        outcome = run(
            form,
            ["--output=json", "--timeout=500ms", f"https://localhost:{peer.port}/"],
            prefix=[UNSHARE, "-m", "/bin/sh", "-c", _OWN_STORE, "sh", str(store)],
        )
    assert outcome.check["reason"] == "timeout"
    assert outcome.check["elapsed_ms"] < 650


def test_the_directory_named_by_the_environment(form: Form, hashed: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        target = f"https://localhost:{peer.port}/"
        for directories, code in ((hashed, 0), (f"{empty}:{hashed}", 0), (str(empty), 1)):
            env = {"SSL_CERT_FILE": "", "SSL_CERT_DIR": directories}
            assert run(form, [target], env=env).code == code


@pytest.mark.parametrize(
    ("variable", "name", "message"),
    [
        ("SSL_CERT_FILE", "missing", "No such file or directory"),
        ("SSL_CERT_FILE", "empty", "contains no PEM certificates"),
        ("SSL_CERT_FILE", "noise", "contains no PEM certificates"),
        ("SSL_CERT_FILE", "directory", "Is a directory"),
        ("SSL_CERT_DIR", "missing", "No such file or directory"),
        ("SSL_CERT_DIR", "ca", "Not a directory"),
    ],
)
def test_a_store_named_by_the_environment_that_cannot_be_read(
    form: Form, variable: str, name: str, message: str, files: dict[str, str]
) -> None:
    place = str(Path(files["ca"]).parent) if name == "directory" else files[name]
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        args = ["--output=json", f"https://localhost:{peer.port}/"]
        outcome = run(form, args, env={"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", variable: place})
    assert outcome.check["reason"] == "tls_failure"
    assert outcome.check["detail"] == f"tls: {variable}: {place}: {message}"


@pytest.mark.parametrize(
    ("certified", "args"),
    [
        ("xn--strae-oqa.example", "--server-name=stra\xdfe.example"),
        ("app.example", "--server-name=App.example."),
        ("localhost", "--server-name=localhost."),
        ("127.0.0.1", "--server-name=127.0.0.1"),
        ("::1", "--server-name=[::1]"),
    ],
)
def test_the_name_that_is_verified(
    form: Form, certified: str, args: str, files: dict[str, str]
) -> None:
    with Peer(respond(HEALTHY), context=server(CA.issue_cert(certified))) as peer:
        command = ["--cacert", files["ca"], args, f"https://127.0.0.1:{peer.port}/"]
        outcome = run(form, command)
    assert (outcome.code, outcome.stderr) == (0, "")


def test_a_zone_is_not_part_of_the_name(form: Form, files: dict[str, str]) -> None:
    requests: list[bytes] = []

    def note(connection: Connection) -> None:
        requests.append(connection.read_request())
        connection.send(HEALTHY)
        connection.close()

    with Peer(note, context=localhost(), host="::1") as peer:
        outcome = run(form, ["--cacert", files["ca"], f"https://[::1%25lo]:{peer.port}/"])
    assert (outcome.code, outcome.stderr) == (0, "")
    assert f"Host: [::1]:{peer.port}\r\n".encode() in requests[0]


@pytest.mark.parametrize("name", ["a..b", "a b", "", "x" * 64, "a/b"])
def test_a_name_that_no_server_can_have(form: Form, name: str) -> None:
    outcome = run(form, ["--server-name", name, "https://localhost:1/"])
    assert outcome.code == 1
    assert outcome.stderr.startswith("healthchecker: usage_error: --server-name: ")


def test_a_stock_server_that_does_not_end_tls(form: Form, files: dict[str, str]) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"fine" * 10_000)

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as stock:
        stock.socket = localhost().wrap_socket(stock.socket, server_side=True)
        thread = threading.Thread(target=stock.serve_forever, args=(0.02,))
        thread.start()
        try:
            target = f"https://localhost:{stock.server_address[1]}/"
            for _ in range(10):  # it once went well or not by chance
                args = ["--cacert", files["ca"], "--expect-body=fine", target]
                outcome = run(form, args)
                assert (outcome.code, outcome.stderr) == (0, "")
        finally:
            stock.shutdown()
            thread.join()


def test_plain_http_on_a_tls_port_and_the_other_way_round(form: Form) -> None:
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with Peer(read_a_byte(blurt(refusal))) as peer:
        outcome = run(form, ["--output=json", f"https://localhost:{peer.port}/"])
    assert outcome.check["reason"] == "tls_failure"
    assert "does not speak TLS" in outcome.check["detail"]
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        outcome = run(form, ["--output=json", f"http://localhost:{peer.port}/"])
    assert outcome.check["reason"] in ("invalid_response", "connection_reset")


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("alert", "message"),
    [
        (40, "refused the handshake"),
        (42, "bad certificate"),
        (70, "does not support TLS 1.2 or later"),
        (80, "the peer sent a TLS alert: internal error"),
        (112, "does not know the name localhost; give one that it knows with --server-name"),
        (255, ""),
    ],
)
def test_alerts(form: Form, alert: int, message: str) -> None:
    with Peer(blurt(b"\x15\x03\x03\x00\x02\x02" + bytes([alert]))) as peer:
        outcome = run(form, ["--output=json", f"https://localhost:{peer.port}/"])
    assert outcome.check["reason"] == "tls_failure"
    assert message in outcome.check["detail"]


_FIPS_ONLY = """
openssl_conf = main
[main]
alg_section = algorithms
providers = providers
[algorithms]
default_properties = fips=yes
[providers]
strange = strange
[strange]
module = {module}
activate = 1
"""


@pytest.mark.usefixtures("full_speed")  # what measures coverage loads OpenSSL before we can
def test_no_configuration_of_openssl_is_used(
    form: Form, tmp_path: Path, files: dict[str, str]
) -> None:
    fifo, fips_only = tmp_path / "fifo", tmp_path / "fips.cnf"
    os.mkfifo(fifo)  # who opens it waits forever
    fips_only.write_text(_FIPS_ONLY.format(module=fifo))
    with Peer(respond(HEALTHY), context=localhost()) as peer:
        args = ["--cacert", files["ca"], f"https://localhost:{peer.port}/"]
        for file in (fips_only, fifo):
            env = {"OPENSSL_CONF": str(file), "OPENSSL_MODULES": str(tmp_path)}
            outcome = run(form.started, args, env=env)
            assert (outcome.code, outcome.stdout, outcome.stderr) == (0, "", "")


@pytest.mark.parametrize("before", [{}, {"OPENSSL_CONF": "/not/read"}])
def test_the_environment_stays_as_it_was(before: dict[str, str]) -> None:
    """Which is what a command gets that this process may become."""
    show = "import healthchecker._cli.openssl, os; print(dict(os.environ))"
    found = subprocess.run(
        [sys.executable, "-c", show], env=before, capture_output=True, check=True
    )
    names = ast.literal_eval(found.stdout.decode())
    assert names.get("OPENSSL_CONF") == before.get("OPENSSL_CONF")


# 4, 13 and 45 KB. Without verification, each that may be read lasts as long as the limit.
_BOMBS = [
    (seconds, count, trust)
    for seconds in (0.5, 2.0, 10.0)
    for count in (130, 450, 1600)
    for trust in ("--cacert={ca}", "--insecure", "")
    if seconds < 10 or (trust != "--insecure" and count > 130)
]


@pytest.mark.timing
@pytest.mark.timed_in_every_form
@pytest.mark.parametrize(("seconds", "count", "trust"), _BOMBS)
def test_a_certificate_bomb_holds_a_check_no_longer_than_its_limit(
    form: Form, seconds: float, count: int, trust: str, files: dict[str, str]
) -> None:
    flight = server_flight(certificate_bomb(count))
    options = [*trust.format(**files).split(), f"--timeout={seconds}"]
    with Peer(read_a_byte(blurt(flight, hold))) as peer, SilentPeer() as silent:
        normal = run(form, [*options, "--timeout=100ms", silent.url("https")])
        outcome = run(form, [*options, peer.url("https")])
    assert outcome.code == 1
    if "timeout" in outcome.stderr:
        expected = rf"unhealthy: \S+: timeout: timed out after {seconds * 1000:.0f} ms.*\n"
    elif count == 1600:
        expected = r"unhealthy: \S+: tls_failure: tls: .* is longer than 14336 bytes\n"
    elif trust == "--insecure":
        expected = rf"unhealthy: \S+: timeout: timed out after {seconds * 1000:.0f} ms \(tls\)\n"
    else:
        expected = r"unhealthy: \S+: tls_failure: tls: certificate verification failed: .*\n"
    assert re.fullmatch(expected, outcome.stderr)
    assert outcome.max_rss_kib - normal.max_rss_kib < 64 * 1024
    # A start that takes long does not count; `normal` has waited for a tenth of a second.
    start = 0.0 if form.starts_at_once else normal.own_seconds - 0.1
    assert outcome.own_seconds - start < seconds + 0.4


def test_a_chain_of_ten_kilobytes_is_read(form: Form, files: dict[str, str]) -> None:
    names = [f"service-{number}.namespace.svc.cluster.local" for number in range(250)]
    leaf = CA.issue_cert("localhost", *names)
    assert len(ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())) > 10 * 1024
    with Peer(respond(HEALTHY), context=server(leaf)) as peer:
        outcome = run(form, ["--cacert", files["ca"], f"https://localhost:{peer.port}/"])
    assert (outcome.code, outcome.stderr) == (0, "")


def test_compressed_certificates_are_not_offered(form: Form) -> None:
    """They would pass the limit on the size of a handshake (RFC 8879)."""
    with SilentPeer() as silent:
        with ThreadPoolExecutor() as executor:
            done = executor.submit(run, form, ["--timeout=2s", silent.url("https")])
            with silent.accept() as connection:
                hello = connection.hear()
        done.result()
    assert extensions(hello) >= {13, 43}
    assert 27 not in extensions(hello)


def extensions(hello: bytes) -> set[int]:
    """Return the types of the extensions of a ClientHello (RFC 8446, section 4.1.2)."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2])
    at += 1 + hello[at] + 2
    found = set()
    while at < len(hello):
        kind, size = struct.unpack_from("!HH", hello, at)
        found.add(kind)
        at += 4 + size
    return found


HANGING: tuple[tuple[str, dict[str, str]], ...] = (
    ("--cacert={mount}/ca.pem", {}),
    ("--cert={mount}/client.pem", {}),
    ("--cert={client_cert} --key={mount}/key.pem", {}),
    ("", {"SSL_CERT_FILE": "{mount}/ca.pem"}),
    ("", {"SSL_CERT_DIR": "{mount}"}),
)


@pytest.fixture(params=HANGING, ids=str)
def hanging(
    request: pytest.FixtureRequest, tmp_path: Path, files: dict[str, str]
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Yield arguments and an environment that name a file on a file system that hangs."""
    args, env = request.param
    mount = tmp_path / "mount"
    mount.mkdir()
    places = {**files, "mount": str(mount)}
    with hanging_file_system(mount), SilentPeer() as silent:
        yield (
            [*args.format(**places).split(), silent.url("https")],
            {name: value.format(**places) for name, value in env.items()},
        )


Hanging = tuple[list[str], dict[str, str]]


def test_a_file_system_that_hangs_is_a_timeout(form: Form, hanging: Hanging) -> None:
    args, env = hanging
    outcome = run(form, ["--timeout=500ms", *args], env=env)
    assert outcome.code == 1
    expected = r"unhealthy: \S+: timeout: timed out after 500 ms( \(tls\))?\n"
    assert re.fullmatch(expected, outcome.stderr)


def test_a_signal_ends_a_check_whose_file_system_hangs(form: Form, hanging: Hanging) -> None:
    args, env = hanging
    with start(form, "--timeout=1h", *args, env=env) as program:
        poll(lambda: cannot_be_interrupted(program.process.pid), timeout=15, what="it hangs")
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(15 * LOADED) == 1


def cannot_be_interrupted(pid: int) -> bool:
    """Return whether a thread of a process is in the state D, as of a call that hangs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended in the meantime
            if ") D " in (task / "stat").read_text():
                return True
    return False


@pytest.mark.parametrize("scheme", ["https", "tls", "grpcs", "rediss", "postgresql"])
def test_a_missing_file_is_reported_before_a_connection(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a busy machine does not try to read it in the moment that the constructor waits."""
    monkeypatch.setattr(tls, "_MOMENT", 0)
    options: OptionValues = {"cacert": "/nonexistent"}
    if scheme == "postgresql":
        options["starttls"] = True
    with pytest.raises(BadArgumentError, match="No such file"):
        check(f"{scheme}://127.0.0.1:1", **options)


@pytest.mark.parametrize("name", ["cacert", "cert"])
def test_a_watch_waits_for_one_call_to_a_file_system_that_hangs(name: str, tmp_path: Path) -> None:
    threads = threading.active_count()
    with hanging_file_system(tmp_path), SilentPeer() as silent:
        options: OptionValues = {name: tmp_path / "file.pem"}  # type: ignore[misc]
        reports = watch(
            silent.url("https"), initial_delay=0, interval=0.05, every_probe=True, **options
        )
        with reports:
            for _ in range(3):
                assert next(reports).result.reason is Reason.TIMEOUT
            assert threading.active_count() == threads + 1
    poll(lambda: threading.active_count() == threads, timeout=5, what="the thread has ended")


def test_a_handshake_needs_no_regular_expression_engine() -> None:
    show = "import healthchecker._net.tls, sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    modules = found.stdout.split()
    assert "healthchecker._values.tls_options" in modules
    assert not [name for name in modules if name.startswith("healthchecker._values.expect")]


def test_a_plain_check_makes_no_context(monkeypatch: pytest.MonkeyPatch) -> None:
    def make_context(*_arguments: object) -> ssl.SSLContext:
        raise AssertionError("a TLS context for a plain check")

    monkeypatch.setattr(ssl, "SSLContext", make_context)
    with Peer(respond(HEALTHY)) as peer:
        for scheme in ("http", "tcp"):
            assert check(f"{scheme}://127.0.0.1:{peer.port}")


@pytest.mark.usefixtures("full_speed")  # as above
def test_a_plain_check_opens_no_store(form: Form, tmp_path: Path, files: dict[str, str]) -> None:
    strace = shutil.which("strace")
    require(strace, "strace is not installed")
    opened = {}
    for scheme, context in (("http", None), ("https", localhost())):
        log = tmp_path / scheme
        with Peer(respond(HEALTHY), context=context) as peer:
            outcome = run(
                form,
                ["--timeout=10s", f"{scheme}://localhost:{peer.port}/"],
                env={"SSL_CERT_FILE": files["ca"]},
                prefix=[str(strace), "-f", "-qq", "-e", "trace=file", "-o", str(log)],
            )
        assert outcome.code == 0
        opened[scheme] = files["ca"] in log.read_text()
        assert "openssl.cnf" not in log.read_text()
    assert opened == {"http": False, "https": True}


@pytest.mark.parametrize(("lifetime", "healthy"), [("1h", True), ("7d", True), ("60d", False)])
def test_a_certificate_must_be_valid_for_longer(
    form: Form, lifetime: str, healthy: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_after=end).configure_cert(context)
    with Peer(respond(HEALTHY), context=context) as peer:
        args = [f"--cacert={tmp_path / 'ca.pem'}", f"--cert-lifetime={lifetime}", "--output=json"]
        outcome = run(form, [*args, f"https://127.0.0.1:{peer.port}/"])
    assert outcome.check["reason"] == ("ok" if healthy else "certificate_expires")
    expected = f"tls: the certificate expires at {end:%Y-%m-%d %H:%M} UTC, sooner than required"
    assert healthy or outcome.check["detail"] == expected

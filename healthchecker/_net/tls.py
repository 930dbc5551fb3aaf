"""The client's side of TLS for every protocol over it. Nothing here is touched by a plain check."""

from __future__ import annotations

import contextlib
import os
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi

from healthchecker._net.stream import demand_resources, os_message
from healthchecker._values.result import BadArgumentError, ProbeFailure, Reason
from healthchecker._values.target import certified_name
from healthchecker._values.tls_options import TlsOptions

# Where distributions keep the authorities that they trust: the lists of Go's crypto/x509.
_SYSTEM_DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""A certificate's name in a directory where OpenSSL finds it without reading the others."""


class TlsClient:
    """Whom a client trusts, and by what it is known itself. One for each target.

    Trusted is `cacert`, else what SSL_CERT_FILE and SSL_CERT_DIR name, else the system's store,
    else the authorities that come with us. In a directory OpenSSL looks up the one certificate that
    it needs; only where that does not do (see `trust_more`) it is given a file, of which it decodes
    every one: that takes longer than all the rest of a check.
    """

    def __init__(self, options: TlsOptions, alpn_protocol: str | None = None) -> None:
        """Read the files that `options` name; one that cannot be used is a `BadArgumentError`."""
        self._options = options
        self._alpn_protocol = alpn_protocol
        self._context: ssl.SSLContext | None = None
        self._stores: Iterator[None] | None = None
        with contextlib.suppress(ProbeFailure):  # no mistake of the caller's: the probe tells it
            self._context = self._make_context()

    def name_of(self, host: str) -> str:
        """Return the name of a host that is asked for and verified."""
        return self._options.server_name or certified_name(host)

    def context(self) -> ssl.SSLContext:
        """Return the context for a handshake; a store that cannot be read is a `ProbeFailure`."""
        if self._context is None:
            self._context = self._make_context()
        if self._stores is None:
            stores = self._load_stores(self._context)
            next(stores, None)
            self._stores = stores
        return self._context

    def trust_more(self) -> bool:
        """Trust the authorities of the next store, too; tell whether there was one.

        Who connects again then may get what `UnknownIssuer` has denied.
        """
        return self._stores is not None and next(self._stores, self) is not self

    def demand_lifetime(self, end: str | None) -> None:
        """Demand that the peer's certificate ends late enough; `end` as OpenSSL prints it."""
        lifetime = self._options.cert_lifetime
        if lifetime is None or end is None:
            return
        moment = _read_time(end)
        if moment < datetime.now(UTC) + timedelta(seconds=lifetime):
            problem = f"the certificate is valid until {moment:%Y-%m-%d %H:%M} UTC"
            raise ProbeFailure(Reason.CERTIFICATE_EXPIRES, problem)

    def _make_context(self) -> ssl.SSLContext:
        options = self._options
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.hostname_checks_common_name = False  # RFC 9525, section 1.2
        if self._alpn_protocol is not None:
            context.set_alpn_protocols([self._alpn_protocol])
        if options.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif options.cacert is not None:
            _readable("cacert", options.cacert)
            try:
                context.load_verify_locations(cafile=options.cacert)
            except (OSError, ValueError) as error:
                problem = "must be a file with certificates in PEM form"
                raise BadArgumentError("cacert", options.cacert, problem) from error
        if options.cert is not None:
            _readable("cert", options.cert)
            if options.key is not None:
                _readable("key", options.key)
            try:
                context.load_cert_chain(options.cert, options.key, password=_no_password)
            except (OSError, ValueError) as error:
                problem = "must be a certificate in PEM form, with the matching, unencrypted key"
                raise BadArgumentError("cert", options.cert, problem) from error
        return context

    def _load_stores(self, context: ssl.SSLContext) -> Iterator[None]:
        """Load one store at each step, where the caller has not named the authorities."""
        if self._options.insecure or self._options.cacert is not None:
            return
        file, directories = _named_by_environment()
        named = bool(file or directories)
        places = directories if named else _SYSTEM_DIRECTORIES
        directories = [one for one in places if _is_hashed(one)]
        if directories:
            context.load_verify_locations(capath=os.pathsep.join(directories))
            yield
        if file:
            try:
                context.load_verify_locations(cafile=file)
            except OSError as error:
                raise _unusable("SSL_CERT_FILE", file, error) from error
            yield
        if named:
            return
        for bundle in _SYSTEM_BUNDLES:
            try:
                context.load_verify_locations(cafile=bundle)
            except OSError as error:
                demand_resources(error)
                continue
            yield
            return
        if not directories:
            context.load_verify_locations(cadata=certifi.contents())
            yield


def _read_time(text: str) -> datetime:
    """Read a time such as `Jun  6 21:41:46 2027 GMT`, whatever the locale."""
    month, day, clock, year, _ = text.split()
    hour, minute, second = map(int, clock.split(":"))
    return datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, tzinfo=UTC)


def _named_by_environment() -> tuple[str, list[str]]:
    """Return what SSL_CERT_FILE and SSL_CERT_DIR name, all of which can be read."""
    file = os.environ.get("SSL_CERT_FILE", "")
    directories = [one for one in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep) if one]
    if file:
        try:
            with Path(file).open("rb"):
                pass
        except OSError as error:
            raise _unusable("SSL_CERT_FILE", file, error) from error
    for directory in directories:
        try:
            os.scandir(directory).close()
        except OSError as error:
            raise _unusable("SSL_CERT_DIR", directory, error) from error
    return file, directories


def _unusable(variable: str, place: str, error: OSError) -> ProbeFailure:
    demand_resources(error)
    pem = isinstance(error, ssl.SSLError)
    words = "no certificates in PEM form" if pem else os_message(error)
    return ProbeFailure(Reason.TLS_FAILURE, f"{variable}: {place}: {words}")


def _is_hashed(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(_HASHED.fullmatch(entry.name) for entry in entries)
    except OSError as error:
        demand_resources(error)
        return False


def _readable(argument: str, name: str) -> None:
    try:
        with Path(name).open("rb"):
            pass
    except OSError as error:
        demand_resources(error)
        raise BadArgumentError(argument, name, os_message(error)) from error
    except ValueError as error:
        raise BadArgumentError(
            argument, name, "not the name of a file, which has no NUL"
        ) from error


def _no_password() -> str:
    """Stand in for the question that OpenSSL would put to the terminal."""
    raise ValueError("encrypted key")

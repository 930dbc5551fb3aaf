"""TLS contexts for https and grpcs targets. Nothing here is touched by a plain check."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi

from healthchecker._options import TlsOptions
from healthchecker._result import BadArgumentError

# Where distributions keep the bundle of trusted authorities; the list of Go's crypto/x509.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def make_context(options: TlsOptions, alpn_protocol: str) -> ssl.SSLContext:
    """Return a client context for TLS 1.2 and later.

    Trusted is `cacert`, else the system's store (SSL_CERT_FILE, or the first of the usual
    places), else the bundle that comes with us. A file that cannot be used is a
    `BadArgumentError`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525, section 1.2
    context.set_alpn_protocols([alpn_protocol])
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.cacert is not None:
        _load(context, options.cacert)
    else:
        _load_default(context)
    if options.cert is not None:
        _readable("cert", options.cert)
        if options.key is not None:
            _readable("key", options.key)
        try:
            context.load_cert_chain(options.cert, options.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise BadArgumentError(
                "cert", options.cert, "no certificate and matching, unencrypted key in PEM form"
            ) from error
    return context


def _load(context: ssl.SSLContext, cacert: str) -> None:
    _readable("cacert", cacert)
    try:
        context.load_verify_locations(cafile=cacert)
    except (OSError, ValueError) as error:
        raise BadArgumentError("cacert", cacert, "no certificates in PEM form") from error


def _load_default(context: ssl.SSLContext) -> None:
    for bundle in (os.environ.get("SSL_CERT_FILE"), *_SYSTEM_BUNDLES):
        if bundle:
            try:
                context.load_verify_locations(cafile=bundle)
            except OSError:
                continue
            return
    context.load_verify_locations(cadata=certifi.contents())


def _readable(argument: str, name: str) -> None:
    try:
        with Path(name).open("rb"):
            pass
    except (OSError, ValueError) as error:
        problem = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise BadArgumentError(argument, name, problem) from error


def _no_password() -> str:
    """Stand in for the question that OpenSSL would put to the terminal."""
    raise ValueError("encrypted key")

"""How TLS is verified: the options of all targets that use it."""

from __future__ import annotations

from dataclasses import dataclass

from healthchecker._values import validate
from healthchecker._values.field import option


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How the server's certificate is verified, and the certificate of the client."""

    cacert: str | None = option(
        None, validate.path, "PEM file with the CA certificates to trust instead of the system's"
    )
    cert: str | None = option(None, validate.path, "PEM file with the client certificate")
    key: str | None = option(None, validate.path, "PEM file with the client certificate's key")
    server_name: str | None = option(
        None, validate.server_name, "Name to request and to verify, instead of the target's host"
    )
    insecure: bool = option(
        False, validate.flag, "Whether the server's certificate is accepted unverified"
    )
    cert_lifetime: float | None = option(
        None,
        validate.long_seconds,
        "Time from now for which the server's certificate must be valid",
        unit="seconds",
    )


NO_TLS = TlsOptions()
"""The defaults."""

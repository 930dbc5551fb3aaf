"""What a server needs for TLS."""

from __future__ import annotations

import ssl

import trustme


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return the context of a server with a certificate for names and addresses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context

"""What the program is made of: for `--version`."""

from __future__ import annotations

import ssl
import sys

import certifi

from healthchecker._version import VERSION


def version_text() -> str:
    """Return our version, and what it depends on whether a peer's certificate is accepted."""
    return (
        f"healthchecker, version {VERSION}\n"
        f"CPython {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, "
        f"authorities of {certifi.__version__.replace('.', '-')}"
    )

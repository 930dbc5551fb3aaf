"""What the program is made of: for `--version` and `licenses`."""

from __future__ import annotations

import ssl
import sys
import zlib

import certifi

from healthchecker._version import VERSION

try:
    # Made by the build of the executables, see binary/program/linked.py.
    from linked_licenses import COMPRESSED as _LICENSES  # type: ignore[import-not-found]
except ImportError:
    _LICENSES = b""

_NOTHING_LINKED = f"""\
healthchecker {VERSION}, under the MIT license.

Nothing is linked into this form of it. The packages that it uses are installed beside it, each with
its own license.
"""


def version_text() -> str:
    """Return our version, and what it depends on whether a peer's certificate is accepted."""
    return (
        f"healthchecker, version {VERSION}\n"
        f"CPython {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, "
        f"CA certificates of {certifi.__version__.replace('.', '-')}"
    )


def licenses_text() -> str:
    """Return what is linked in, part by part, and the texts of its licenses."""
    return zlib.decompress(_LICENSES).decode() if _LICENSES else _NOTHING_LINKED

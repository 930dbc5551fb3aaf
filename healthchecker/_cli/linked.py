"""The parts of the program, for `--version` and `licenses`."""

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

This is the Python package: nothing is linked in. Its dependencies are installed separately, under
their own licenses.
"""


def version_text() -> str:
    """Return our version, and the versions of what decides whether a certificate is accepted."""
    return (
        f"healthchecker, version {VERSION}\n"
        f"CPython {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, "
        f"CA certificates of {certifi.__version__.replace('.', '-')}"
    )


def licenses_text() -> str:
    """Return the parts that are linked in, and the texts of their licenses."""
    return zlib.decompress(_LICENSES).decode() if _LICENSES else _NOTHING_LINKED

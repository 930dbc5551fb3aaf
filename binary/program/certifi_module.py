"""Replace certifi by a module that holds the certificates in a constant.

An executable has no file for `certifi.where()`. See `_contents` in healthchecker/_net/issuers.py.
"""

import re
import sys
from pathlib import Path

import certifi

_MODULE = '''"""Mozilla's CA certificates, from certifi: all but the first line of each block."""

__version__ = {version!r}
_TEXTS = {texts!r}


def contents() -> tuple[bytes, ...]:
    return _TEXTS
'''
_CERTIFICATE = re.compile(
    b"-----BEGIN CERTIFICATE-----\n(.*?-----END CERTIFICATE-----\n)", re.DOTALL
)


def main(packages: Path) -> None:
    texts = tuple(_CERTIFICATE.findall(certifi.contents().encode()))
    (packages / "certifi" / "__init__.py").write_text(
        _MODULE.format(version=certifi.__version__, texts=texts)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

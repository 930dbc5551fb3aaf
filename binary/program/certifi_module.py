"""Replace certifi by a module that holds the certificates in a constant.

An executable has no file for `certifi.where()`. DER takes three quarters of the space of PEM;
`ssl.SSLContext.load_verify_locations` accepts both as `cadata`.
"""

import re
import ssl
import sys
from pathlib import Path

import certifi

_MODULE = '''"""Mozilla's CA certificates, from certifi, as DER."""

__version__ = {version!r}
_DER = {der!r}


def contents() -> bytes:
    return _DER
'''
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def main(packages: Path) -> None:
    der = b"".join(map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(certifi.contents())))
    (packages / "certifi" / "__init__.py").write_text(
        _MODULE.format(version=certifi.__version__, der=der)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

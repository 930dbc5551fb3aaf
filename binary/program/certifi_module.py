"""Replace certifi by a module that holds the certificates in a string.

An executable has no file that `certifi.where()` could name.
"""

import sys
from pathlib import Path

import certifi

_MODULE = '''"""Mozilla's bundle of trusted authorities, from certifi."""

__version__ = "{version}"

_PEM = """\\
{pem}"""


def contents() -> str:
    return _PEM
'''


def main(packages: Path) -> None:
    lines = certifi.contents().splitlines(keepends=True)
    pem = "".join(line for line in lines if not line.startswith("#"))
    (packages / "certifi" / "__init__.py").write_text(
        _MODULE.format(version=certifi.__version__, pem=pem)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))

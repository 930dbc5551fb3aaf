"""A VEX: vulnerabilities of linked parts that the executable is not affected by, in OpenVEX.

Scanners look up OpenSSL by its version, and report those of parts that are not compiled in.
`binary/sources/openssl/build.sh` has the list of these; a test compares it with this file.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import NamedTuple

from release.facts import ARCHITECTURES, NAME, Release

CONTEXT = "https://openvex.dev/ns/v0.2.0"


class NotAffected(NamedTuple):
    """A vulnerability whose code is not in the executable."""

    identifier: str
    left_out: tuple[str, ...]
    """The `no-…` options of OpenSSL's Configure that leave the code out."""
    statement: str


NOT_AFFECTED = (NotAffected("CVE-2026-84782", ("dtls",), "DTLS is not compiled in."),)


def vex(release: Release) -> dict[str, bytes]:
    """Return the document under its name."""
    time = dt.datetime.fromtimestamp(release.timestamp, dt.UTC).isoformat()
    products = [
        {"@id": f"pkg:generic/{NAME}@{release.version}?arch={machine}"} for machine in ARCHITECTURES
    ]
    content = {
        "@context": CONTEXT,
        "author": release.maintainer,
        "timestamp": time,
        "version": 1,
        "statements": [
            {
                "vulnerability": {"name": one.identifier},
                "products": products,
                "status": "not_affected",
                "justification": "vulnerable_code_not_present",
                "impact_statement": one.statement,
            }
            for one in NOT_AFFECTED
        ],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    document = {"@id": f"https://openvex.dev/docs/public/vex-{digest}", **content}
    text = json.dumps(document, indent=1) + "\n"
    return {f"{NAME}-{release.version}.openvex.json": text.encode()}

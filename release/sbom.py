"""A software bill of materials in CycloneDX's JSON: all parts of an executable.

Scanners (Trivy, Syft, Grype, OSV) look up a Debian package only under the distribution that a
component of type `operating-system` names, and by the name of its source package.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from importlib import import_module
from typing import Any

from release.facts import DEBIAN, NAME, Component, Machine, Release

FILE = f"{NAME}.cdx.json"
_SPECIFICATION = "1.6"
_SUPPLIERS = {"pkg:deb": "Debian", "pkg:pypi": "Python Package Index"}


def sbom(release: Release, machine: Machine) -> bytes:
    """Return the bill of the executable for a machine."""
    reference = f"pkg:generic/{NAME}@{release.version}?arch={machine.name}"
    program = {
        "type": "application",
        "bom-ref": reference,
        "name": NAME,
        "version": release.version,
        "purl": reference,
        "licenses": [{"expression": "MIT"}],
        "supplier": {"name": "healthchecker maintainers"},
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(machine.executable).hexdigest()}],
    }
    if release.source:
        program["externalReferences"] = [{"type": "vcs", "url": release.source}]
    parts = [_component(one) for one in machine.components]
    system = {
        "type": "operating-system",
        "bom-ref": f"debian-{DEBIAN}",
        "name": "debian",
        "version": DEBIAN,
        "supplier": {"name": "Debian"},
    }
    names = [part["bom-ref"] for part in parts]
    time = dt.datetime.fromtimestamp(release.timestamp, dt.UTC)
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPECIFICATION,
        "version": 1,
        "metadata": {
            "timestamp": time.isoformat(),
            "tools": {
                "components": [
                    {"type": "application", "name": "scripts/release", "version": release.version}
                ]
            },
            "component": program,
        },
        "components": [system, *parts],
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(names)},
            *({"ref": name} for name in names),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=1).encode() + b"\n"


def problem(content: bytes) -> str:
    """Return why a bill violates CycloneDX's schema; empty if it does not."""
    # Only in the extra `release`: development does not need it.
    schema, validation = map(import_module, ("cyclonedx.schema", "cyclonedx.validation.json"))
    version = schema.SchemaVersion.from_version(_SPECIFICATION)
    error = validation.JsonStrictValidator(version).validate_str(content.decode())
    return "" if error is None else str(error)


def _component(part: Component) -> dict[str, Any]:
    described: dict[str, Any] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "licenses": [{"expression": part.license}],
    }
    if part.cpe:
        described["cpe"] = part.cpe
    supplier = _SUPPLIERS.get(part.purl.partition("/")[0])
    if supplier:
        described["supplier"] = {"name": supplier}
    if part.sha256:
        described["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    return described

"""A software bill of materials in CycloneDX's JSON: all that is in an executable."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from importlib import import_module
from typing import Any

from release.facts import NAME, Component, Machine, Release

FILE = f"{NAME}.cdx.json"
_SPECIFICATION = "1.6"


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
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(machine.executable).hexdigest()}],
    }
    if release.source:
        program["externalReferences"] = [{"type": "vcs", "url": release.source}]
    parts = [_component(one) for one in machine.components]
    names = [part["bom-ref"] for part in parts]
    time = dt.datetime.fromtimestamp(release.timestamp, dt.UTC)
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": _SPECIFICATION,
        "version": 1,
        "metadata": {"timestamp": time.isoformat(), "component": program},
        "components": parts,
        "dependencies": [
            {"ref": reference, "dependsOn": sorted(names)},
            *({"ref": name} for name in names),
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return json.dumps({**content, "serialNumber": f"urn:uuid:{serial}"}, indent=1).encode() + b"\n"


def problem(content: bytes) -> str:
    """Return what is wrong with a bill by CycloneDX's schema; empty if nothing is."""
    # Only the extra `release` has it, which development does without.
    schema, validation = map(import_module, ("cyclonedx.schema", "cyclonedx.validation.json"))
    version = schema.SchemaVersion.from_version(_SPECIFICATION)
    error = validation.JsonStrictValidator(version).validate_str(content.decode())
    return "" if error is None else str(error)


def _component(part: Component) -> dict[str, Any]:
    described = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        "licenses": [{"expression": part.license}],
    }
    return described | ({"cpe": part.cpe} if part.cpe else {})

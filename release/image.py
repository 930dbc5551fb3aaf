"""Images: an OCI index of all machines, and an archive per machine that every Docker loads.

Both are written without an engine or a registry. Docker loads OCI layouts since version 25, older
versions only their own format.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from release.archive import compressed, tar
from release.facts import NAME, SUMMARY, File, Machine, Release

_OCI = "application/vnd.oci.image"


def oci_image(release: Release, machines: Sequence[Machine]) -> dict[str, bytes]:
    """Return an archive of an OCI layout: one index with an image per machine.

    It has a tag and no name, which the registry gives it (`skopeo copy --all`).
    """
    blobs: dict[str, File] = {}

    def blob(content: bytes, kind: str, **more: object) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = File(content)
        described = {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}"}
        return {**described, "size": len(content), **more}

    manifests = []
    for machine in machines:
        layer = _layer(release, machine)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": blob(_config(release, machine, layer), "config.v1+json"),
            "layers": [blob(compressed(layer), "layer.v1.tar+gzip")],
            "annotations": _labels(release, machine),
        }
        platform = _platform(machine)
        manifests.append(blob(_json(manifest), "manifest.v1+json", platform=platform))
    index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": manifests}
    tagged = {"org.opencontainers.image.ref.name": release.version}
    top = {**index, "manifests": [blob(_json(index), "index.v1+json", annotations=tagged)]}
    layout = {
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": File(_json(top)),
        **blobs,
    }
    return {f"{NAME}-{release.version}-oci.tar": tar(layout, release.timestamp)}


def docker_image(release: Release, machine: Machine) -> dict[str, bytes]:
    """Return an archive for `docker load` and `podman load`."""
    layer = _layer(release, machine)
    config = _config(release, machine, layer)
    config_name, layer_name = f"{hashlib.sha256(config).hexdigest()}.json", "layer.tar.gz"
    manifest = {
        "Config": config_name,
        "Layers": [layer_name],
        "RepoTags": [f"{NAME}:{tag}" for tag in release.tags],
    }
    files = {
        "manifest.json": File(_json([manifest])),
        config_name: File(config),
        layer_name: File(compressed(layer)),
    }
    name = f"{NAME}-{release.version}-docker-{machine.architecture.platform}.tar"
    return {name: tar(files, release.timestamp)}


def _layer(release: Release, machine: Machine) -> bytes:
    files = {
        NAME: File(machine.executable, 0o755),
        f"licenses/{NAME}.txt": File(machine.licenses.encode()),
    }
    return tar(files, release.timestamp)


def _config(release: Release, machine: Machine, layer: bytes) -> bytes:
    created = _created(release)
    return _json(
        {
            **_platform(machine),
            "created": created,
            "config": {"Entrypoint": [f"/{NAME}"], "Labels": _labels(release, machine)},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
            },
            "history": [{"created": created, "created_by": "scripts/release"}],
        }
    )


def _labels(release: Release, machine: Machine) -> dict[str, str]:
    labels = {
        "created": _created(release),
        "description": SUMMARY,
        "licenses": machine.license,
        "revision": release.revision,
        "source": release.source,
        "title": NAME,
        "version": release.version,
    }
    return {f"org.opencontainers.image.{name}": text for name, text in labels.items() if text}


def _platform(machine: Machine) -> dict[str, str]:
    variant = machine.architecture.oci_variant
    return {
        "architecture": machine.architecture.oci,
        "os": "linux",
        **({"variant": variant} if variant else {}),
    }


def _created(release: Release) -> str:
    moment = dt.datetime.fromtimestamp(release.timestamp, dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

"""What a kubelet adds to the containers of deploy/kubernetes.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from tests.support import ROOT


def service_links(services: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the variables of "service links": those of each Service, in every container.

    They are documented at kubernetes.io, "Service", section "Environment variables".
    """
    variables = {}
    for number, service in enumerate(services):
        prefix = service["metadata"]["name"].upper().replace("-", "_")
        host = f"10.98.0.{85 + number}"
        ports = service["spec"]["ports"]
        variables[f"{prefix}_SERVICE_HOST"] = host
        variables[f"{prefix}_SERVICE_PORT"] = str(ports[0]["port"])
        variables[f"{prefix}_PORT"] = f"tcp://{host}:{ports[0]['port']}"
        for port in ports:
            number_of_port = str(port["port"])
            variables[f"{prefix}_SERVICE_PORT_{port['name'].upper()}"] = number_of_port
            link = f"{prefix}_PORT_{number_of_port}_TCP"
            variables[link] = f"tcp://{host}:{number_of_port}"
            variables[f"{link}_PROTO"] = "tcp"
            variables[f"{link}_PORT"] = number_of_port
            variables[f"{link}_ADDR"] = host
    return variables


def manifest_links() -> dict[str, str]:
    """Return the variables that the Services of deploy/kubernetes.yaml add."""
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text())
    return service_links(one for one in documents if one["kind"] == "Service")

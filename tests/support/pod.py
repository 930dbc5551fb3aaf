"""A pod on Podman, which runs Kubernetes YAML; liveness is its only probe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support import require
from tests.support.engine import succeed


def require_podman() -> None:
    require(shutil.which("podman") and shutil.which("catatonit"), "needs podman and catatonit")


def load_image(name: str) -> str:
    """Copy an image from Docker to Podman; return its name there."""
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as save:
        succeed(["podman", "load", "--quiet"], timeout=120, stdin=save.stdout)
    assert save.returncode == 0
    return name if "/" in name else f"localhost/{name}"


def remove_image(name: str) -> None:
    succeed(["podman", "rmi", "--force", name], timeout=60)


class Pod:
    """A pod without a network except loopback; `folder` is for its files."""

    def __init__(self, folder: Path, name: str, container: str) -> None:
        self._folder = folder
        self._name = name
        config = folder / "containers.conf"
        # Podman raises these two by default, a privilege that the machine may not grant.
        config.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]')
        self._env = {**os.environ, "CONTAINERS_CONF": str(config)}
        self.container = f"{name}-{container}"

    def start(self, spec: dict[str, Any]) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self._name},
            "spec": {"restartPolicy": "Never", **spec},
        }
        file = self._folder / "pod.yaml"
        file.write_text(yaml.safe_dump(pod))
        self._succeed("play", "kube", "--network", "none", str(file))

    def remove(self) -> None:
        self._succeed("pod", "rm", "--force", "--ignore", "--time", "0", self._name)

    def run(self, *arguments: str) -> int:
        """Run a podman command; return its exit code."""
        command = ["podman", *arguments]
        return subprocess.run(command, env=self._env, capture_output=True, check=False).returncode

    def probe(self) -> tuple[int, str]:
        """Run the liveness probe once, like the kubelet; return its exit code and output."""
        code = self.run("healthcheck", "run", self.container)
        state = self._succeed("inspect", "--format", "{{json .State.Health}}", self.container)
        return code, json.loads(state)["Log"][-1]["Output"]

    def _succeed(self, *arguments: str) -> str:
        return succeed(["podman", *arguments], timeout=120, env=self._env)

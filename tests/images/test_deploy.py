"""Images and deployment: both builders, Compose, Swarm and Kubernetes YAML, each really run."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from healthchecker._values.text import parse_duration
from healthchecker._version import VERSION
from tests.servers.accountservice import DOWN, running_service
from tests.servers.daemons import free_port
from tests.servers.postgres import find_binaries, running_cluster
from tests.support import ROOT, poll, require
from tests.support.engine import (
    build_images,
    docker,
    outcome,
    require_compose,
    require_engine,
    succeed,
)
from tests.support.kubernetes import manifest_links
from tests.support.pod import Pod, load_image, remove_image, require_podman

pytestmark = pytest.mark.alone

DEPLOY = ROOT / "deploy"
NAME = f"healthchecker-test-{os.getpid()}"
PROBE = ["/healthchecker", "--port", "6767"]


@pytest.fixture
def images() -> None:
    require_engine()
    build_images("test")


def load(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml", "stack.yaml"])
def test_images_are_of_this_version(name: str) -> None:
    text = (DEPLOY / name).read_text()
    ours = re.findall(
        r"(?:healthchecker|accountservice):(?:\$\{TAG:-)?([\w.]+)\}?$", text, re.MULTILINE
    )
    assert set(ours) == {VERSION}
    assert ":latest" not in text


def pod_template() -> dict[str, Any]:
    template: dict[str, Any] = load("kubernetes.yaml")[0]["spec"]["template"]
    return template


def image_config(image: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .Config}}", image))
    return config


def command_with_buildkit() -> str | None:
    """Find a docker command with BuildKit: built in before version 23, the plug-in buildx since."""
    for command in ("docker", "/usr/bin/docker"):
        if not shutil.which(command):
            continue
        version = succeed([command, "version", "--format", "{{.Client.Version}}"], timeout=30)
        plugin = subprocess.run([command, "buildx", "version"], capture_output=True, check=False)
        if int(version.split(".")[0]) < 23 or plugin.returncode == 0:
            return command
    return None


@pytest.mark.parametrize(
    ("buildkit", "options"),
    [
        pytest.param("0", ["--build-arg", "EXECUTABLE=dist"], id="legacy"),
        pytest.param("1", ["--build-arg", "EXECUTABLE=dist"], id="buildkit"),
        pytest.param(
            "1",
            ["--build-arg", "SOURCES=--allow-older"],  # as in .ci/run
            id="buildkit from the sources",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_each_builder_builds_both_images(images: None, buildkit: str, options: list[str]) -> None:
    command = command_with_buildkit() if buildkit == "1" else "docker"
    require(command, "needs a docker command with BuildKit")
    for target in ("healthchecker", "accountservice"):
        tag = f"{target}:{NAME}"
        build = [str(command), "build", *options, "--target", target, "--tag", tag, str(ROOT)]
        succeed(build, timeout=900, env={**os.environ, "DOCKER_BUILDKIT": buildkit})
        try:
            built, expected = image_config(tag), image_config(f"{target}:test")
            for key in ("User", "Entrypoint", "Healthcheck", "ExposedPorts", "Env"):
                assert built.get(key) == expected.get(key)
        finally:
            docker("rmi", tag)


def test_the_image_healthchecker_is_the_executable_alone(images: None) -> None:
    save = ["docker", "save", "healthchecker:test"]
    with tarfile.open(
        fileobj=io.BytesIO(subprocess.run(save, capture_output=True, check=True).stdout)
    ) as saved:
        manifest = saved.extractfile("manifest.json")
        assert manifest
        (described,) = json.load(manifest)
        (layer,) = described["Layers"]
        with tarfile.open(fileobj=saved.extractfile(layer)) as files:
            (file,) = files.getmembers()
    assert (file.name, file.mode & 0o777) == ("healthchecker", 0o755)
    assert image_config("healthchecker:test")["Entrypoint"] == ["/healthchecker"]


def test_the_image_accountservice_asks_for_its_health_as_nobody_special(images: None) -> None:
    config = image_config("accountservice:test")
    assert config["User"].split(":")[0] not in ("", "0", "root")
    assert config["Healthcheck"]["Test"] == ["CMD", *PROBE]


def limits(images: None) -> Iterator[tuple[str, float, Sequence[str]]]:
    """Every check that is deployed: where, how many seconds it is given, and its command."""
    check = image_config("accountservice:test")["Healthcheck"]
    yield "Dockerfile", check["Timeout"] / 1e9, check["Test"]
    for name in ("compose.yaml", "stack.yaml"):
        check = load(name)[0]["services"]["accountservice"]["healthcheck"]
        yield name, parse_duration(check["timeout"]), check["test"]
    (container,) = pod_template()["spec"]["containers"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container[kind]
        yield kind, probe["timeoutSeconds"], probe["exec"]["command"]


def test_every_check_gives_up_before_it_is_killed(images: None) -> None:
    found = list(limits(images))
    assert len(found) == 6
    for where, given, command in found:
        own = command[command.index("--timeout") + 1] if "--timeout" in command else "2s"
        assert parse_duration(own) + 1 < given, where


def test_compose_checks_the_service_by_its_name(images: None) -> None:
    compose = [*require_compose(), "--project-name", NAME, "--file", str(DEPLOY / "compose.yaml")]
    env = {**os.environ, "TAG": "test", "PUBLISHED_PORT": str(free_port())}
    try:
        # Ends with the exit code of the check, which starts when Docker calls the service healthy.
        up = [*compose, "up", "--no-build", "--exit-code-from", "check"]
        shown = succeed(up, timeout=90, env=env)
        assert "healthy: http://accountservice:6767/health" in shown
    finally:
        succeed([*compose, "down", "--volumes", "--timeout", "2"], timeout=60, env=env)


@pytest.fixture
def swarm(images: None) -> Iterator[None]:
    """Leave no swarm behind, unless this machine was in one already."""
    was_active = docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive"
    yield
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive":
        return
    docker("stack", "rm", NAME)
    poll(lambda: not replicas("--all"), timeout=60, what="the stack's containers are gone")
    network = ["network", "ls", "--quiet", "--filter", f"name={NAME}"]
    poll(lambda: not docker(*network), timeout=60, what="the stack's network is gone")
    if not was_active:
        docker("swarm", "leave", "--force")
        bridge = ["network", "rm", "docker_gwbridge"]
        poll(
            lambda: outcome(*bridge).returncode == 0, timeout=30, what="the swarm's bridge is gone"
        )


def replicas(*options: str) -> dict[str, str]:
    """Return the state of each of the stack's containers."""
    label = f"label=com.docker.stack.namespace={NAME}"
    form = "{{.ID}} {{.Status}}"
    lines = docker("ps", *options, "--filter", label, "--format", form).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def test_swarm_replaces_an_unhealthy_replica(
    swarm: None, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = [str(ROOT / "scripts/deploy-swarm"), NAME]
    succeed(deploy, timeout=600, env={**os.environ, "PUBLISHED_PORT": str(free_port())})

    def healthy() -> set[str]:
        return {identity for identity, state in replicas().items() if "(healthy)" in state}

    before = healthy()
    assert len(before) == 2
    sick = min(before)
    start = os.times().elapsed
    docker("exec", sick, "rm", "/data/accounts.db")
    poll(
        lambda: len(healthy() - {sick}) == 2 and sick not in replicas(),
        timeout=90,
        what="a new healthy replica has replaced the unhealthy one",
    )
    seconds = os.times().elapsed - start
    assert healthy() & before == before - {sick}
    with capsys.disabled():
        print(f"\nSwarm replaced an unhealthy replica within {seconds:.1f} s")  # noqa: T201


def probe_command(probe: str) -> list[str]:
    (container,) = pod_template()["spec"]["containers"]
    command: list[str] = container[probe]["exec"]["command"]
    return command


def test_what_restarts_a_pod_does_not_ask_its_database() -> None:
    for probe in ("startupProbe", "livenessProbe"):
        assert probe_command(probe) == [*PROBE, "--path", "/livez"]


def test_readiness_asks_the_database_over_both_and_survives_one_slow_answer() -> None:
    assert probe_command("readinessProbe")[1:] == [
        "http://127.0.0.1:6767/readyz",
        "grpc://127.0.0.1:6768",
    ]
    (container,) = pod_template()["spec"]["containers"]
    assert container["readinessProbe"]["failureThreshold"] >= 2


def test_the_pod_waits_for_the_database_of_its_url() -> None:
    spec = pod_template()["spec"]
    (waiting,) = spec["initContainers"]
    (container,) = spec["containers"]
    (url,) = (one["value"] for one in container["env"] if one["name"].endswith("DATABASE_URL"))
    command, *_, target = waiting["args"]
    assert command == "wait"
    place = target.removeprefix("postgresql://")
    assert f"@{place}/" in url
    services = [one for one in load("kubernetes.yaml") if one["kind"] == "Service"]
    assert place in {
        f"{service['metadata']['name']}:{port['port']}"
        for service in services
        for port in service["spec"]["ports"]
    }
    binaries = find_binaries()
    require(binaries, "PostgreSQL (Debian: apt-get install postgresql)")
    assert binaries is not None
    with running_cluster(binaries) as cluster:
        target = f"postgresql://127.0.0.1:{cluster.port}"
        command = [sys.executable, "-m", "healthchecker", *waiting["args"][:-1], target]
        assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == 0


def test_the_manifest_suits_a_rolling_update() -> None:
    spec = pod_template()["spec"]
    (container,), (waiting,) = spec["containers"], spec["initContainers"]
    assert spec["enableServiceLinks"] is False
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5
    assert waiting["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_pod_has_no_privileges() -> None:
    spec = pod_template()["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_tell_a_service_from_one_without_a_database(probe: str, tmp_path: Path) -> None:
    """Each probe, by the Python form, of a service that is well and then loses its database."""
    database = tmp_path / "accounts.db"
    url = f"sqlite:///{database}"
    with running_service(tmp_path / "log", grpc=True, DATABASE_URL=url) as service:
        places = {
            "http://127.0.0.1:6767": service.url,
            "grpc://127.0.0.1:6768": service.grpc,
            "6767": service.url.rpartition(":")[2],
        }

        def probed() -> bool:
            arguments = probe_command(probe)[1:]
            for place, real in places.items():
                arguments = [one.replace(place, real) for one in arguments]
            command = [sys.executable, "-m", "healthchecker", *arguments]
            return subprocess.run(command, cwd=ROOT, check=False).returncode == 0

        poll(probed, timeout=20, what="it passes")
        database.unlink()
        if probe == "readinessProbe":
            poll(lambda: not probed(), timeout=20, what="it fails without a database")
        else:
            service.await_health(DOWN, timeout=20)
            assert probed()


def test_kubernetes_service_leads_to_the_pods(images: None) -> None:
    deployment, service, *_ = load("kubernetes.yaml")
    (container,) = pod_template()["spec"]["containers"]
    labels = pod_template()["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {p["targetPort"]: p["port"] for p in service["spec"]["ports"]} == named
    exposed = {int(p.split("/")[0]) for p in image_config("accountservice:test")["ExposedPorts"]}
    assert set(named.values()) == exposed
    user = image_config("accountservice:test")["User"].split(":")[0]
    assert str(pod_template()["spec"]["securityContext"]["runAsUser"]) == user


def start(pod: Pod, probe: str) -> None:
    """Start the pod of deploy/kubernetes.yaml with this probe in the liveness probe's place."""
    spec = pod_template()["spec"]
    (container,) = spec["containers"]
    starting = container["readinessProbe"]["exec"]["command"]
    container["livenessProbe"] = container[probe]
    container["image"] = "localhost/accountservice:test"
    del container["ports"]  # Podman would take them on the host
    # Without a network there is no PostgreSQL: use SQLite, and wait for nothing. `play kube` knows
    # no service links, so they are set as the kubelet would without `enableServiceLinks: false`.
    del spec["initContainers"]
    container["env"] = [{"name": name, "value": value} for name, value in manifest_links().items()]
    spec["volumes"] = [{"name": "data", "emptyDir": {}}]
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    pod.start(spec)
    poll(lambda: pod.run("exec", pod.container, *starting) == 0, timeout=30, what="started")


@pytest.fixture(scope="module")
def pod_image() -> Iterator[None]:
    require_engine()
    require_podman()
    build_images("test")
    name = load_image("accountservice:test")
    yield
    remove_image(name)


@pytest.mark.parametrize(
    ("probe", "harm", "reason"),
    [
        ("readinessProbe", ["exec", "{}", "rm", "/data/accounts.db"], "unexpected_status"),
        ("livenessProbe", ["kill", "--signal", "STOP", "{}"], "timeout"),
    ],
)
def test_kubernetes_exec_probe_passes_and_then_fails(
    pod_image: None, tmp_path: Path, probe: str, harm: list[str], reason: str
) -> None:
    pod = Pod(tmp_path, NAME, "accountservice")
    try:
        start(pod, probe)
        assert pod.probe() == (0, "")
        assert pod.run(*(part.format(pod.container) for part in harm)) == 0

        def failed() -> str:
            code, output = pod.probe()
            return output if code == 1 else ""

        # The service may answer from a check that it has just made.
        assert f": {reason}: " in poll(failed, timeout=10, what="a probe that fails")
    finally:
        pod.remove()

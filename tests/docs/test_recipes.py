"""docs/recipes.md is true: each recipe is taken from the page and run."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from healthchecker._values.text import parse_duration
from tests.servers.accountservice import UP, running_service
from tests.servers.http import http_service
from tests.servers.postgres import find_binaries, running_cluster
from tests.servers.tls import server_context
from tests.support import ROOT, poll, require
from tests.support.engine import (
    build_images,
    built,
    container,
    docker,
    health,
    outcome,
    require_compose,
    require_engine,
    succeed,
)
from tests.support.forms import PYTHON, run
from tests.support.pages import Page, examples
from tests.support.pod import Pod, load_image, remove_image, require_podman

PAGE = Page(ROOT / "docs/recipes.md")
NAME = f"healthchecker-recipes-{os.getpid()}"

SCRATCH = "An image FROM scratch"
DISTROLESS = "Distroless"
COMPOSE = "Compose: wait for a healthy dependency"
SOONER = "Healthy sooner after a start"
RESTART = "Restart unhealthy containers with plain Docker"
PORT = "PORT from the environment"
GRPC = "gRPC"
UNIX = "Unix sockets"
WORKER = "A worker without a port"
WAIT = "Wait for dependencies: init container or entrypoint"
THIRD_PARTY = "Third-party images"
SYSTEMD = "systemd"
PROBES = "What to check for startup, readiness and liveness"
IMAGE_VOLUME = "Image volumes"
QUADLET = "Quadlet"
EITHER = "HTTP or HTTPS, depending on a setting"
SERVERS = "Servers and their logs"

alone = pytest.mark.alone
OFTEN = ("--health-interval", "1s", "--health-retries", "1")


@pytest.fixture(scope="module")
def images() -> None:
    require_engine()
    build_images("test")


def with_our_images(text: str) -> str:
    """Name the images of this repository by the tag that tests give them."""
    named = r"(FROM |--from=|image: )(healthchecker|accountservice)\b"
    return re.sub(named, r"\1\2:test", text)


@contextmanager
def image(title: str, folder: Path, **stand_ins: str) -> Iterator[str]:
    """Build the Dockerfile under a heading; the value is its image."""
    text = with_our_images(PAGE.block(title, "dockerfile"))
    for base, stand_in in stand_ins.items():
        text = re.sub(rf"FROM \S*{base}\S*", f"FROM {stand_in}", text)
    (folder / "Dockerfile").write_text(text)
    (folder / "health").write_text("UP\n")
    with built(folder) as identity:
        yield identity


def await_state(state: str, identity: str, timeout: float = 40) -> str:
    """Wait until a container is healthy or unhealthy; return what its last check printed."""
    poll(lambda: health(identity)["Status"] == state, timeout=timeout, what=state)
    printed: str = health(identity)["Log"][-1]["Output"]
    return printed


@contextmanager
def distroless() -> Iterator[str]:
    """Make the content of such images: CA certificates and a user, but no program."""
    pack = ["docker", "run", "--rm", "debian:trixie-slim", "tar", "c", "/etc/ssl/certs"]
    with subprocess.Popen(pack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as files:
        load = ["docker", "import", "--change", "USER 65532", "-"]
        identity = succeed(load, timeout=60, stdin=files.stdout)
    try:
        yield identity
    finally:
        docker("rmi", "--force", identity)


@alone
@pytest.mark.parametrize("title", [SCRATCH, DISTROLESS])
def test_images_with_nothing_in_them(images: None, title: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        stand_ins, options = {}, ["--network", "none"]
        if title == DISTROLESS:
            stand_ins["distroless"] = stack.enter_context(distroless())
            (written,) = re.findall(r"`docker run (--read-only .*)`", PAGE.text)
            options += shlex.split(written)
        built_image = stack.enter_context(image(title, tmp_path, **stand_ins))
        service = stack.enter_context(container(*options, *OFTEN, built_image))
        assert await_state("healthy", service) == ""
        if title == SCRATCH:
            docker("exec", service, "/bin/busybox", "rm", "/www/health")
            assert "unexpected_status: HTTP status 404" in await_state("unhealthy", service)
        else:
            assert docker("inspect", "--format", "{{.Config.User}}", service) == "65532"


@alone
def test_the_shell_form_needs_a_shell(images: None, tmp_path: Path) -> None:
    (start, _), (inspect, shown) = examples(PAGE.block(SCRATCH, "console"))
    with image(SCRATCH, tmp_path) as built_image:
        docker("tag", built_image, NAME)
        ours = [
            [word if word != "service" else NAME for word in shlex.split(line)]
            for line in (start, inspect)
        ]
        ours[0][2:2] = [*OFTEN, "--health-start-period", "1s"]
        try:
            succeed(ours[0], timeout=60)
            printed = poll(
                lambda: succeed(ours[1], timeout=60), timeout=40, what="a check was tried"
            )
            cause = 'exec: "/bin/sh": stat /bin/sh: no such file or directory'
            assert cause in printed
            assert cause in shown
            await_state("unhealthy", NAME)
        finally:
            docker("rm", "--force", NAME)


@alone
def test_compose_starts_the_client_after_the_service(images: None, tmp_path: Path) -> None:
    recipe = with_our_images(PAGE.block(COMPOSE, "yaml"))
    file = tmp_path / "compose.yaml"
    compose = [*require_compose(), "--project-name", NAME, "--file", str(file)]
    file.write_text(recipe)
    try:
        shown = succeed([*compose, "up", "--exit-code-from", "client"], timeout=90)
        assert "healthy: http://accountservice:6767/accounts/10000" in shown
    finally:
        succeed([*compose, "down", "--volumes", "--timeout", "2"], timeout=60)
    file.write_text(recipe.replace("$$", "$"))
    resolved = yaml.safe_load(succeed([*compose, "config"], timeout=60))
    check = resolved["services"]["accountservice"]["healthcheck"]["test"]
    assert "" in check, "with one dollar sign, the port is lost"


@alone
def test_an_unhealthy_container_is_restarted(images: None, tmp_path: Path) -> None:
    command = shlex.split(PAGE.block(RESTART, "sh"))
    assert (command[:3], command[-1]) == (["docker", "run", "--detach"], "service")
    with image(RESTART, tmp_path) as built_image:
        options = ["--network", "none", "--health-interval", "5s"]
        with container(*options, *command[3:-1], built_image) as service:
            await_state("healthy", service)
            docker("exec", service, "rm", "/data/accounts.db")

            def restarts() -> bool:
                return docker("inspect", "--format", "{{.RestartCount}}", service) != "0"

            poll(restarts, timeout=60, what="it was restarted")
            await_state("healthy", service)


@alone
def test_the_port_is_that_of_the_environment(images: None, tmp_path: Path) -> None:
    with (
        image(PORT, tmp_path) as built_image,
        container("--network", "none", "--env", "PORT=9090", *OFTEN, built_image) as service,
    ):
        await_state("healthy", service)
        docker("exec", service, "rm", "/www/health")
        assert "http://127.0.0.1:9090/health" in await_state("unhealthy", service)


@pytest.fixture(scope="module")
def accounts(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start accountservice, with its health asked over gRPC."""
    with (
        image(GRPC, tmp_path_factory.mktemp("image")) as built_image,
        container("--network", "none", *OFTEN, built_image) as service,
    ):
        await_state("healthy", service)
        yield service


def passes(service: str, command: Sequence[str]) -> bool:
    return outcome("exec", service, *command).returncode == 0


@alone
def test_grpc_servers_list_their_services(accounts: str) -> None:
    ((command, shown),) = examples(PAGE.block(GRPC, "console"))
    assert f"{docker('exec', accounts, f'/{command.split()[0]}', *command.split()[1:])}\n" == shown


@alone
def test_probes_ask_what_they_should(accounts: str) -> None:
    """After the other test of this container, which does not survive it."""
    probes = yaml.safe_load(PAGE.block(PROBES, "yaml"))
    commands = {name: probe["exec"]["command"] for name, probe in probes.items()}
    assert set(commands) == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert all(passes(accounts, command) for command in commands.values())
    docker("exec", accounts, "rm", "/data/accounts.db")
    ready = commands.pop("readinessProbe")
    poll(lambda: not passes(accounts, ready), timeout=20, what="not ready without a database")
    assert all(passes(accounts, command) for command in commands.values())
    assert "not_serving" in await_state("unhealthy", accounts)


def test_unix_sockets(open_directory: Path) -> None:
    binaries = find_binaries()
    require(binaries, "PostgreSQL (Debian: apt-get install postgresql)")
    assert binaries is not None
    web, fpm = open_directory / "web", open_directory / "fpm"
    with (
        http_service(web),
        socket.socket(socket.AF_UNIX) as listener,
        running_cluster(binaries) as cluster,
    ):
        listener.bind(str(fpm))
        listener.listen()
        cluster.stop()
        cluster.start(unix_socket_directories=str(open_directory))
        recipe = PAGE.block(UNIX, "sh")
        for place, real in {
            "/run/service/http.sock": web,
            "/run/php/php-fpm.sock": fpm,
            "/run/postgresql/.s.PGSQL.5432": open_directory / f".s.PGSQL.{cluster.port}",
        }.items():
            assert place in recipe
            recipe = recipe.replace(place, str(real))
        for line in recipe.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "healthchecker"
            done = run(PYTHON, arguments)
            assert (done.code, done.stderr) == (0, "")


@alone
def test_a_worker_that_stops_working_is_unhealthy(images: None, tmp_path: Path) -> None:
    with (
        image(WORKER, tmp_path) as built_image,
        container("--network", "none", *OFTEN, built_image) as worker,
    ):
        await_state("healthy", worker)
        docker("kill", "--signal", "STOP", worker)
        docker("exec", worker, "touch", "-d", "2020-01-01 00:00:00", "/dev/shm/worker.beat")
        assert ": stale: " in await_state("unhealthy", worker)
        docker("kill", "--signal", "CONT", worker)
        await_state("healthy", worker)


def test_a_worker_in_python(tmp_path: Path) -> None:
    (command,) = (command for _, _, command in limits() if "--max-age" in command)
    beat = tmp_path / "worker.beat"
    arguments = [word.replace("/dev/shm/worker.beat", str(beat)) for word in command[1:]]
    code = PAGE.block(WORKER, "python").replace("/dev/shm/worker.beat", str(beat))
    with subprocess.Popen([sys.executable, "-W", "error", "-c", code], cwd=ROOT) as worker:
        try:
            poll(lambda: run(PYTHON, arguments).code == 0, timeout=20, what="it beats")
        finally:
            worker.kill()
    os.utime(beat, (0, 0))
    assert ": stale: " in run(PYTHON, arguments).stderr


@alone
def test_waiting_for_others(images: None, tmp_path: Path) -> None:
    """An init container and an entrypoint wait for a service that is started after them."""
    (spec,) = yaml.safe_load(PAGE.block(WAIT, "yaml"))["initContainers"]
    network = docker("network", "create", NAME)
    try:
        with (
            image(WAIT, tmp_path) as built_image,
            container("--network", NAME, f"{spec['image']}:test", *spec["args"]) as first,
            container("--network", NAME, built_image) as second,
        ):

            def states() -> list[str]:
                form = "{{.State.Status}} {{.State.ExitCode}}"
                return docker("inspect", "--format", form, first, second).splitlines()

            assert states() == ["running 0"] * 2
            alias = ["--network", NAME, "--network-alias", "accountservice"]
            with container(*alias, "accountservice:test"):
                poll(lambda: states() == ["exited 0"] * 2, timeout=60, what="both have waited")
            assert docker("logs", second) == "the service starts"
    finally:
        docker("network", "rm", network)


@alone
def test_an_image_that_is_not_ours(images: None, tmp_path: Path) -> None:
    require_podman()
    recipe = yaml.safe_load(with_our_images(PAGE.block(THIRD_PARTY, "yaml")))
    spec = recipe["spec"]
    (installer,), (web,) = spec["initContainers"], spec["containers"]
    loaded = [load_image(installer["image"]), load_image("busybox:latest")]
    installer["image"], web["image"] = loaded
    serve = "mkdir /www && echo hello >/www/index.html && exec httpd -f -p 80 -h /www"
    web["command"] = ["/bin/sh", "-c", serve]
    pod = Pod(tmp_path, NAME, web["name"])
    try:
        pod.start(spec)
        poll(lambda: pod.probe() == (0, ""), timeout=30, what="the probe passes")
        assert pod.run("exec", pod.container, "/bin/rm", "/www/index.html") == 0
        code, printed = pod.probe()
        assert code == 1
        assert "unexpected_status: HTTP status 404" in printed
    finally:
        pod.remove()
        for name in loaded:
            remove_image(name)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    require(analyze, "needs systemd-analyze (Debian: apt-get install systemd)")
    unit = tmp_path / "service.service"
    unit.write_text(re.sub(r"/usr/bin/(\w+)", sys.executable, PAGE.block(SYSTEMD, "ini")))
    done = subprocess.run(
        [str(analyze), "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr


def unit_command() -> list[str]:
    unit = configparser.RawConfigParser()
    unit.read_string(PAGE.block(SYSTEMD, "ini"))
    return shlex.split(unit["Service"]["ExecStartPost"])


def test_the_unit_waits_for_its_service(tmp_path: Path) -> None:
    with running_service(tmp_path / "log") as service:
        port = service.url.rpartition(":")[2]
        arguments = [word.replace("6767", port) for word in unit_command()[1:]]
        assert run(PYTHON, arguments, timeout=40).code == 0
        service.await_health(UP)


def test_quadlet_is_read_by_podman(tmp_path: Path) -> None:
    """By the generator, if Podman is 4.4 or newer; the command is run in any case."""
    text = PAGE.block(QUADLET, "ini")
    (command,) = re.findall(r"^HealthCmd=(.*)$", text, re.MULTILINE)
    program, *arguments = json.loads(command)
    assert program == "/healthchecker"
    with running_service(tmp_path / "log") as service:
        service.await_health(UP, timeout=10)
        port = service.url.rpartition(":")[2]
        assert run(PYTHON, [word.replace("6767", port) for word in arguments]).code == 0
    generator = Path("/usr/libexec/podman/quadlet")
    if generator.exists():
        (tmp_path / "accountservice.container").write_text(text)
        env = {**os.environ, "QUADLET_UNIT_DIRS": str(tmp_path)}
        done = subprocess.run(
            [generator, "-dryrun", "-user"], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "--health-on-failure kill" in done.stdout


class Always(BaseHTTPRequestHandler):
    """Responds with 200 to every request, and logs nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_http_or_https(scheme: str) -> None:
    program, *arguments = shlex.split(PAGE.block(EITHER, "sh"))
    assert program == "healthchecker"
    with HTTPServer(("127.0.0.1", 0), Always) as server:
        if scheme == "https":
            context = server_context(trustme.CA(), "service.example")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            port = str(server.server_address[1])
            done = run(PYTHON, [word.replace("8080", port) for word in arguments])
            assert (done.code, done.stderr) == (0, "")
        finally:
            server.shutdown()
            thread.join()


def test_the_variable_of_a_probe_in_kubernetes() -> None:
    """The kubelet leaves `${PORT}` alone, so the check expands it."""
    container = yaml.safe_load(PAGE.block(PORT, "yaml"))
    env = {one["name"]: one["value"] for one in container["env"]}
    command = container["livenessProbe"]["exec"]["command"]
    with http_service() as port:
        arguments = [*command[1:-2], "--path", "/health"]
        assert run(PYTHON, arguments, env={name: str(port) for name in env}).code == 0


def test_the_image_volume_is_read_only_and_mounts_the_executable() -> None:
    spec = yaml.safe_load(PAGE.block(IMAGE_VOLUME, "yaml"))["spec"]
    (container,), (volume,) = spec["containers"], spec["volumes"]
    (mount,) = container["volumeMounts"]
    assert mount == {"name": volume["name"], "mountPath": "/tools", "readOnly": True}
    command = container["livenessProbe"]["exec"]["command"]
    assert command[0] == f"{mount['mountPath']}/healthchecker"
    assert volume["image"]["reference"] == "healthchecker"


def test_the_start_interval_is_shorter() -> None:
    """Docker 25 is newer than the engine of these tests, which would refuse the key."""
    recipe = yaml.safe_load(PAGE.block(SOONER, "yaml"))
    check = recipe["services"]["accountservice"]["healthcheck"]
    assert parse_duration(check["start_interval"]) < parse_duration(check["interval"])
    assert parse_duration(check["start_interval"]) < parse_duration(check["start_period"])


@pytest.mark.parametrize("line", PAGE.block(SERVERS, "sh").splitlines())
def test_what_to_check_of_servers_is_understood(line: str) -> None:
    """The tests of each protocol check real servers with such lines."""
    program, *arguments = shlex.split(line)
    assert program == "healthchecker"
    outcome = run(PYTHON, [*arguments, "--timeout", "100ms"], env={"REDIS_PASSWORD": "a/b@c"})
    assert "usage_error" not in outcome.stderr
    assert "a/b@c" not in outcome.stderr


def limits() -> Iterator[tuple[str, float, list[str]]]:
    """Every check of the page: where it is, how many seconds it is given, and its command."""
    for block in PAGE.blocks:
        if block.language == "dockerfile" and "HEALTHCHECK" in block.text:
            given = re.findall(r"--timeout=(\S+)", block.text)[0]
            (command,) = re.findall(r"HEALTHCHECK .*\\\n\s+CMD (\[.*\])", block.text)
            yield block.title, parse_duration(given), json.loads(command)
        elif block.language == "yaml":
            yield from limits_in(block.title, yaml.safe_load(block.text))


def limits_in(title: str, value: Any) -> Iterator[tuple[str, float, list[str]]]:
    """Find the checks of Compose and Kubernetes, however deep they are."""
    if isinstance(value, list):
        for one in value:
            yield from limits_in(title, one)
    elif isinstance(value, dict):
        if "exec" in value:
            yield title, value["timeoutSeconds"], value["exec"]["command"]
        elif "test" in value:
            yield title, parse_duration(value["timeout"]), value["test"]
        for one in value.values():
            yield from limits_in(title, one)


def test_every_check_gives_up_before_it_is_killed() -> None:
    found = list(limits())
    assert len(found) == 14
    for title, given, command in found:
        attempts = int(command[command.index("--attempts") + 1]) if "--attempts" in command else 1
        assert "--timeout" not in command
        assert 2 * attempts + (attempts - 1) < given, title
    deadline = unit_command()[unit_command().index("--deadline") + 1]
    (given,) = re.findall(r"TimeoutStartSec=(\d+)", PAGE.text)
    assert parse_duration(deadline) < int(given)


def test_every_recipe_is_run() -> None:
    titles = {SCRATCH, DISTROLESS, COMPOSE, RESTART, PORT, GRPC, UNIX, WORKER, WAIT, THIRD_PARTY}
    titles |= {SYSTEMD, PROBES, SOONER, IMAGE_VOLUME, QUADLET, EITHER, SERVERS}
    assert {block.title for block in PAGE.blocks} == titles

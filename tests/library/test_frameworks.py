"""docs/frameworks.md: each program runs, reports its database, and drains at SIGTERM."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.servers.daemons import free_port
from tests.support import ROOT, poll, require

TEXT = (ROOT / "docs/frameworks.md").read_text()
BLOCK = re.compile(r"^`([\w./]+)`[^\n]*:\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TIMEOUT = 60  # seconds for a framework to start on a busy machine
FILES = {
    "project/__init__.py": "",
    "project/settings.py": """
ALLOWED_HOSTS = ["*"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
ROOT_URLCONF = "project.urls"
SECRET_KEY = "x"
""",
    "project/urls.py": """
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
""",
}


@dataclass(frozen=True)
class Recipe:
    name: str
    command: str
    files: dict[str, str]

    @property
    def modules(self) -> set[str]:
        imported = re.findall(r"^(?:from|import) (\w+)", "".join(self.files.values()), re.MULTILINE)
        workers = re.findall(r"--worker-class (\w+)", self.command)
        return {self.command.split()[0], *imported, *workers} - {
            "worker",
            "project",
            "tasks",
            "app",
        }


def recipes() -> Iterator[Recipe]:
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0]
        (command,) = re.findall(r"run as `([^`]+)`", section)
        yield Recipe(name, command.removeprefix("python -m "), dict(BLOCK.findall(section)))


RECIPES = list(recipes())


def test_every_framework_has_its_recipe() -> None:
    assert [recipe.name for recipe in RECIPES] == [
        *("Starlette", "FastAPI", "Litestar", "Quart", "Django, ASGI", "Django, WSGI"),
        *("Flask with gunicorn", "Celery", "A script", "trio"),
    ]


@contextmanager
def running(
    recipe: Recipe, folder: Path, port: int, database: int
) -> Iterator[subprocess.Popen[bytes]]:
    for name, text in {**FILES, **recipe.files}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        placed = text.replace("8000", str(port)).replace("5432", str(database))
        path.write_text(placed.replace("drain=5", "drain=2"))
    command = recipe.command.replace("8000", str(port))
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{folder}:{ROOT}", "HOME": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        except BaseException:
            sys.stderr.write((folder / "output").read_text())
            raise
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and its workers, which outlive it
            process.wait()


def status_of(url: str) -> int | None:
    """Return the status, or None if there is no response."""
    try:
        return httpx.get(url, trust_env=False, timeout=10).status_code
    except httpx.TransportError:
        return None


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_program_reports_its_database_and_drains(recipe: Recipe, tmp_path: Path) -> None:
    for module in recipe.modules:
        require(find_spec(module), f"{module} is not installed: pip install --group frameworks")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    ready = f"{base}/internal/readyz"
    with (
        socket.create_server(("127.0.0.1", 0)) as database,
        running(recipe, tmp_path, port, database.getsockname()[1]) as process,
    ):

        def is_ready() -> bool:
            assert process.poll() is None, "it has ended"
            return status_of(ready) == 200

        poll(is_ready, timeout=TIMEOUT, what="it is ready")
        has_pages = "hello" in "".join(recipe.files.values()) or "Django" in recipe.name
        if has_pages:
            assert status_of(f"{base}/") == 200
            assert status_of(f"{base}/internal/livez") == 200
            assert status_of(f"{base}/internal/none") == 404
        shown = httpx.get(f"{ready}?verbose", trust_env=False).text
        assert shown.startswith("[+]ready ok\n")
        assert "[+]database ok\n" in shown
        if "drain" in "".join(recipe.files.values()):
            process.send_signal(signal.SIGTERM)
            poll(lambda: status_of(ready) == 503, timeout=10, what="it is not ready")
            if has_pages:
                assert status_of(f"{base}/") == 200, "it still serves"
            process.wait(30)
        else:
            database.close()
            poll(lambda: status_of(ready) == 503, timeout=10, what="the database is missed")

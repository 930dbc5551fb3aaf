"""The rooms of the package, from the ground up, and what each of them may import.

docs/architecture.md draws these floors; the first test compares the two.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

FLOORS = (
    {"_version", "_values"},
    {"_net"},
    {"_protocols"},
    {"_run"},
    {"_watch"},
    {"_cli", "_server"},
    {"__init__"},
    {"__main__"},
)
"""Rooms import only from lower floors: a room is a folder or a module of `healthchecker`."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

ONLY_IN = {
    "click": ("_cli/",),
    "hpack": ("_protocols/",),
    "h11": ("_protocols/",),
    "certifi": ("_net/issuers.py", "_cli/linked.py"),
    "starlette": ("_server/",),
    "uvicorn": ("_server/",),
    "asyncio": ("_run/", "_watch/", "_server/"),
}
"""Libraries, and the parts of the package that may import them."""
READS_ENVIRONMENT = ("_cli/", "_net/tls.py")
"""The command line, and the CA certificates that SSL_CERT_FILE and SSL_CERT_DIR name."""
PRINTS_OR_EXITS = ("_cli/", "__main__.py")


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield every import of a module, also inside functions: names, and where they may be from."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            module = node.module or ""
            yield from ((f"{module}.{alias.name}", module) for alias in node.names)


def package_files() -> dict[str, Path]:
    """Return the modules of `healthchecker` by their paths in it."""
    root = ROOT / "healthchecker"
    return {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*.py"))}


def room_of(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


def imported_room(name: str) -> str | None:
    """Return the room of the package that a name is imported from, if it is of the package."""
    package, _, rest = name.partition(".")
    if package != "healthchecker":
        return None
    room = rest.partition(".")[0]
    return room if room in FLOOR else "__init__"


def upward_imports(path: str, file: Path) -> list[str]:
    """Return the imports of a module from its own floor or a higher one, other than its room."""
    room = room_of(path)
    return [
        name
        for name, _ in imports(file)
        if (other := imported_room(name)) not in (None, room) and FLOOR[str(other)] >= FLOOR[room]
    ]


def test_the_floors_are_those_of_the_architecture_page() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    (drawn,) = re.findall(r"^ +(_values +< .*)$", page, re.MULTILINE)
    floors = [set(re.findall(r"\w+", floor)) for floor in drawn.split("<")]
    assert floors == [rooms - {"_version"} for rooms in FLOORS]


def test_every_room_has_its_floor() -> None:
    assert {room_of(path) for path in package_files()} == FLOOR.keys()


@pytest.mark.parametrize("path", package_files())
def test_imports_point_down(path: str) -> None:
    assert upward_imports(path, package_files()[path]) == []


def test_an_import_that_points_up_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "dns.py"
    for line in (
        "from healthchecker._protocols.base import Prober",
        "import healthchecker._cli.main",
        "from healthchecker import _run",
        "def late():\n    from healthchecker import check",
    ):
        file.write_text(f"from healthchecker._values.result import Reason\n{line}\n")
        assert len(upward_imports("_net/dns.py", file)) == 1, line


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_only_in_its_place(library: str) -> None:
    places = {
        path
        for path, file in package_files().items()
        for name, _ in imports(file)
        if name.partition(".")[0] == library
    }
    assert [path for path in places if not path.startswith(ONLY_IN[library])] == []


def uses(file: Path, wanted: str) -> list[str]:
    """Return what a module uses of the names, such as `os.environ` or `print`."""
    used = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Attribute | ast.Name)
    ]
    used += [name for name, _ in imports(file)]
    return [name for name in used if re.fullmatch(wanted, name)]


def test_only_these_parts_read_the_environment() -> None:
    wanted = r"os\.(environb?|getenvb?|putenv)"
    places = {path for path, file in package_files().items() if uses(file, wanted)}
    assert places
    assert [path for path in places if not path.startswith(READS_ENVIRONMENT)] == []


def test_only_the_command_line_prints_or_exits() -> None:
    wanted = r"print|sys\.(exit|stdout|stderr|__stdout__|__stderr__)|os\._exit"
    places = {path for path, file in package_files().items() if uses(file, wanted)}
    assert places
    assert [path for path in places if not path.startswith(PRINTS_OR_EXITS)] == []


@pytest.mark.parametrize("package", ["healthchecker", "accountservice"])
def test_no_module_depends_on_itself_by_way_of_others(package: str) -> None:
    files = {module_name(file): file for file in (ROOT / package).rglob("*.py")}
    graph = {
        module: {name if name in files else place for name, place in imports(file)} & files.keys()
        for module, file in files.items()
    }
    assert any(graph.values())
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle

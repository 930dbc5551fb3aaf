"""The packages' modules depend on one another in one direction."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def imports(file: Path) -> Iterator[tuple[str, str]]:
    """Yield what a module imports, wherever in it: names, and the modules that they may be in."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            module = node.module or ""
            yield from ((f"{module}.{alias.name}", module) for alias in node.names)


@pytest.mark.parametrize("package", ["healthchecker", "accountservice"])
def test_no_module_depends_on_itself_by_way_of_others(package: str) -> None:
    files = {module_name(file): file for file in (ROOT / package).rglob("*.py")}
    graph = {
        module: {name if name in files else place for name, place in imports(file)} & files.keys()
        for module, file in files.items()
    }
    assert any(graph.values())
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle

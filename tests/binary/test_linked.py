"""What is linked into the executables: the list, held against the program, and its licenses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from healthchecker._version import VERSION
from tests.support import LOADED, ROOT
from tests.support.forms import BUILD, COLD, DIST, PYTHON, SAVED, Form, require_form, run

SYMBOLS = {
    "HACL*": r"\w*Hacl_Hash_SHA2_\w+",
    "BLAKE2": r"\w*blake2b_(init|update)\w*",
    "CPython": r"_PyEval_EvalFrameDefault",
    "OpenSSL": r"SSL_do_handshake",
    "musl": r"__libc_start_main",
    "zlib": r"inflate",
    "libgcc": r"__\w+[sd]i[23]|__aarch64_\w+",
}
"""Names of functions that only these parts define."""
PROBED = {"PyInstaller": b"pyimod01_archive"}
"""What is in the file where a component has no machine code."""
BUILD_ONLY = 0x8000000


@pytest.fixture(params=(COLD, SAVED), ids=lambda form: form.name)
def executable(request: pytest.FixtureRequest) -> Form:
    form: Form = request.param
    require_form(form)
    return form


@pytest.fixture
def components() -> list[dict[str, str]]:
    require_form(SAVED)
    listed: list[dict[str, str]] = json.loads((DIST / "components.json").read_text())
    return listed


def linked(build: Path) -> subprocess.CompletedProcess[str]:
    """List what is linked in a build."""
    command = [sys.executable, str(ROOT / "binary/program/linked.py"), str(build)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Return a copy of the build, whose maps may be changed."""
    require_form(SAVED)
    place = tmp_path / BUILD.name
    (place / "link").mkdir(parents=True)
    for name in ("sources", "packages", "tools"):
        (tmp_path / name).symlink_to(BUILD.parent / name)
    for name in ("musl", "openssl", "zlib", "python"):
        (place / name).symlink_to(BUILD / name)
    for name in ("warm.map", "python.map"):
        (place / "link" / name).write_text((BUILD / "link" / name).read_text())
    return place


def test_what_is_listed_is_linked(components: list[dict[str, str]]) -> None:
    listed = subprocess.run(
        ["nm", "--defined-only", str(BUILD / "link/warm.symbols")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    defined = {row[2] for row in rows if row[1] in "tTwWiI" and int(row[0], 16) < BUILD_ONLY}
    modules = {name.partition(".")[0] for name in (BUILD / "modules.txt").read_text().split()}
    content = Path(SAVED.argv[0]).read_bytes() + (BUILD / "work/memory").read_bytes()
    for component in components:
        name = component["name"]
        if name in SYMBOLS:
            assert any(re.fullmatch(SYMBOLS[name], one) for one in defined), name
        elif name in PROBED:
            assert PROBED[name] in content
        else:
            assert name in modules


def test_what_is_imported_is_listed(components: list[dict[str, str]]) -> None:
    """Each module is our own, CPython's or a package's that is listed."""
    modules = {name.partition(".")[0] for name in (BUILD / "modules.txt").read_text().split()}
    own = {path.stem for path in (ROOT / "binary/heap").rglob("*.py")}
    known = own | {"healthchecker", "linked_licenses"} | {one["name"] for one in components}
    library = {path.stem for path in (BUILD / "python/source/Lib").iterdir()}
    library |= sys.stdlib_module_names
    assert modules - known - library == set()


def test_an_object_of_no_known_part_fails_the_build(build: Path) -> None:
    map_file = build / "link/warm.map"
    begin = "Linker script and memory map\n"
    more = " .text.decode   0x0000000000401000       0x40 /usr/lib/libnew.a(decode.o)\n"
    map_file.write_text(map_file.read_text().replace(begin, begin + more))
    done = linked(build)
    assert done.returncode == 1
    assert done.stderr == "linked, but of no part that linked.py knows: libnew.a(decode.o)\n"


def test_a_part_that_is_not_linked_fails_the_build(build: Path) -> None:
    map_file = build / "link/warm.map"
    kept = [line for line in map_file.read_text().splitlines() if "libz.a(" not in line]
    map_file.write_text("\n".join(kept))
    done = linked(build)
    assert done.returncode == 1
    assert done.stderr == "a part for linked.py, but not linked: zlib\n"


def test_the_same_build_gives_the_same_list(build: Path) -> None:
    assert linked(build).stderr == ""
    for name in ("components.json", "LICENSES.txt"):
        assert (build / "linked" / name).read_bytes() == (DIST / name).read_bytes()


def test_licenses_are_printed(executable: Form, components: list[dict[str, str]]) -> None:
    outcome = run(executable, ["licenses"])
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == (DIST / "LICENSES.txt").read_text()
    table, *texts = re.split(r"^---- (.+) -+$", outcome.stdout, flags=re.MULTILINE)
    titles, contents = texts[::2], texts[1::2]
    assert titles == ["healthchecker", *(one["name"] for one in components)]
    assert all(len(text.split()) > 50 for text in contents)
    for component in components:
        assert re.search(
            rf"^ +{re.escape(component['name'])} +{re.escape(component['version'])} +"
            rf"{re.escape(component['license'])}$",
            table,
            re.MULTILINE,
        )


def test_nothing_is_linked_into_the_python_form() -> None:
    outcome = run(PYTHON, ["licenses"])
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"healthchecker {VERSION}, under the MIT license.\n")


def test_licenses_takes_nothing() -> None:
    outcome = run(PYTHON, ["licenses", "zlib"])
    assert (outcome.code, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        "healthchecker: usage_error: unexpected argument: ...; "
        "write healthchecker licenses [OPTIONS]\n"
    )


def test_a_reader_that_has_gone(executable: Form) -> None:
    shell = 'exec 3>&1; { "$0" licenses; echo $? >&3; } | true'
    command = ["sh", "-c", shell, executable.argv[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20 * LOADED)
    assert done.stdout in ("0\n", "1\n")
    assert done.stderr == ""

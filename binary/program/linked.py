"""List what is in the executable with the saved heap, with versions and licenses.

    linked.py BUILD

BUILD is the folder of a machine in which everything is linked. Writes, into BUILD/linked:
`components.json`, of which the release makes an SBOM; `LICENSES.txt`, the same as a table, with the
texts; and `linked_licenses.py`, the module that brings that text into the executables.

What is linked is what the linker's maps name; what of the Python packages goes in is what is
installed beside the build for that. Fails on an object file that no part of the list below owns,
and on a part of which nothing is linked.
"""

import hashlib
import json
import platform
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

from healthchecker._version import VERSION

_ROOT = Path(__file__).resolve().parents[2]

_OURS = re.compile(r"(heap|guard-warm|loader-warm|spare|memory|bootloader-only)\.o")
"""Our own object files; of the bootloader only memory is left, which the build needs."""
_PARTLY_LINKED = "python.o"
"""What has a map of its own."""
_NOT_KEPT = re.compile(r"\.comment|\.note|\.debug|\.bss|COMMON")
_BUILD_ONLY = "build_only"
"""The part of the program that is left out of the executable, see saved.lds."""

_SECTION = re.compile(r"^ (\S+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S.*\.o\)?)$")
_OUTPUT_SECTION = re.compile(r"^([^ *(]\S*)(?:\s+0x|$)")

_NAMES_OF_LICENSES = {"The MIT License (MIT)": "MIT"}
"""What packages write that should be an SPDX expression."""


@dataclass(frozen=True, slots=True)
class Part:
    """What may be linked in, from the source of others."""

    name: str
    objects: str
    """A regular expression of its object files. The first part of the list that fits owns one."""
    license: str
    texts: tuple[str, ...]
    """Files with its licenses, from the sources; of a C file it is the first comment."""
    debian: str = ""
    """The source package of Debian that it comes from."""
    cpe: str = ""
    """Vendor and product, by which vulnerabilities are looked up."""
    within: str = ""
    """Its name in CPython's own list of what it brings along."""
    home: str = ""
    """What a package URL begins with, where it comes from no package."""


_CPYTHON = "python/source"
PARTS = (
    Part(
        "HACL*",
        r".*Hacl_\w+\.o\)",
        "MIT",
        (f"{_CPYTHON}/Modules/_hacl/Hacl_Hash_SHA2.c",),
        within="hacl-star",
        home="pkg:github/hacl-star/hacl-star",
    ),
    Part(
        "BLAKE2",
        r".*\(blake2[bs]_impl\.o\)",
        "CC0-1.0",
        (f"{_CPYTHON}/Modules/_blake2/impl/blake2b.c",),
        within="libb2",
        home="pkg:github/blake2/libb2",
    ),
    Part(
        "CPython",
        r"libpython3\.13\.a\(.*|config-warm\.o",
        "PSF-2.0",
        (f"{_CPYTHON}/LICENSE", f"{_CPYTHON}/Doc/license.rst"),
        debian="python3.13",
        cpe="python:python",
    ),
    Part(
        "OpenSSL",
        r"lib(ssl|crypto)\.a\(.*",
        "Apache-2.0",
        ("openssl/source/LICENSE.txt",),
        debian="openssl",
        cpe="openssl:openssl",
    ),
    Part(
        "musl",
        r"libc\.a\(.*|S?crt1\.o|crt[in]\.o",
        "MIT",
        ("musl/source/COPYRIGHT",),
        debian="musl",
        cpe="musl-libc:musl",
    ),
    Part(
        "zlib",
        r"libz\.a\(.*",
        "Zlib",
        ("zlib/source/LICENSE",),
        debian="zlib",
        cpe="zlib:zlib",
    ),
    Part(
        "libgcc",
        r"lib(gcc(_eh)?|atomic)\.a\(.*|crt(begin|end)[ST]?\.o",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        (),  # they come with the compiler
    ),
)


@dataclass(frozen=True, slots=True)
class Component:
    """What is in the executable, as the SBOM has it."""

    name: str
    version: str
    license: str
    purl: str
    cpe: str = ""
    text: str = ""
    sha256: str = ""
    """Of the downloaded source or package."""


def linked_objects(linker_map: str) -> set[str]:
    """Return the object files of which something is in the program, by names without folders."""
    _, _, layout = linker_map.partition("Linker script and memory map")
    # A name that is long has a line of its own.
    joined = re.sub(r"^( \S+)\n +(?=0x)", r"\1 ", layout, flags=re.MULTILINE)
    objects, is_kept = set(), True
    for line in joined.splitlines():
        if output := _OUTPUT_SECTION.match(line):
            is_kept = output[1] != _BUILD_ONLY
        found = _SECTION.match(line)
        if found and is_kept and int(found[2], 16) and not _NOT_KEPT.match(found[1]):
            objects.add(found[3].rpartition("/")[2])
    return objects


def linked_parts(objects: set[str]) -> list[Part]:
    """Return the parts that own these object files, all of which must have an owner."""
    owners = {
        name: next((part for part in PARTS if re.fullmatch(part.objects, name)), None)
        for name in objects
        if not _OURS.fullmatch(name)
    }
    unknown = sorted(name for name, owner in owners.items() if owner is None)
    if unknown:
        raise SystemExit(f"linked, but of no part that linked.py knows: {' '.join(unknown)}")
    absent = [part.name for part in PARTS if part not in owners.values()]
    if absent:
        raise SystemExit(f"a part for linked.py, but not linked: {' '.join(absent)}")
    return list(PARTS)


def component(part: Part, build: Path) -> Component:
    """Return a part as a component, with the version that was compiled."""
    text = "\n".join(_text(build / path) for path in part.texts)
    if part.debian:
        version = _fetched(build, part.debian)
        purl = _debian(part.debian, version, "source", "debian-13")
        upstream = re.sub(r"^\d+:|-[^-]*$", "", version).rpartition("really")[2]
        cpe = f"cpe:2.3:a:{part.cpe}:{upstream}:*:*:*:*:*:*:*"
        description = f"{part.debian}_{version.partition(':')[2] or version}.dsc"
        digest = _sha256(build.parent / "sources" / description)
        return Component(part.name, version, part.license, purl, cpe, text, digest)
    if part.within:
        listed = json.loads((build / _CPYTHON / "Misc/sbom.spdx.json").read_text())["packages"]
        entry = next(one for one in listed if one["name"] == part.within)
        version = entry["versionInfo"]
        cpe = entry["externalRefs"][0]["referenceLocator"]
        return Component(part.name, version, part.license, f"{part.home}@{version}", cpe, text)
    return _of_compiler(part, build / "musl/bin/musl-cc")


def _of_compiler(part: Part, compiler: Path) -> Component:
    """Return the library that a compiler brings along, from a package of this system."""
    library = Path(_output(str(compiler), "-print-libgcc-file-name")).resolve()
    package, _, _ = _output("dpkg-query", "--search", str(library)).partition(": ")
    # Advisories are looked up by source packages.
    shown = "${source:Package} ${source:Version}"
    name, version = _output("dpkg-query", "--show", "--showformat", shown, package).split()
    system = platform.freedesktop_os_release()
    purl = _debian(name, version, "source", f"{system['ID']}-{system['VERSION_ID']}")
    release = library.parent.name.partition(".")[0]
    text = _text(Path(f"/usr/share/doc/gcc-{release}-base/copyright"))
    return Component(part.name, version, part.license, purl, text=text)


def package_component(package: Distribution) -> Component:
    """Return an installed Python package as a component."""
    facts = package.metadata.json
    expression = str(facts.get("license_expression") or facts["license"]).partition("\n")[0]
    files = package.files or []
    texts = [
        _text(Path(str(file.locate())))
        for file in files
        if re.search(r"\.dist-info/(licenses/)?LICENSE[.\w]*$", str(file))
    ]
    if not texts:
        raise SystemExit(f"{package.name}: no text of a license")
    return Component(
        package.name,
        package.version,
        _NAMES_OF_LICENSES.get(expression, expression),
        f"pkg:pypi/{package.name.lower()}@{package.version}",
        text="\n".join(texts),
        sha256=_pinned(package),
    )


def loader(build: Path) -> Component:
    """Return PyInstaller's part: the modules by which a program imports from its archive."""
    version = _fetched(build, "pyinstaller")
    return Component(
        "PyInstaller",
        version,
        "GPL-2.0-or-later WITH Bootloader-exception",
        f"pkg:pypi/pyinstaller@{version}",
        text=_text(build.parent / "tools/pyinstaller/COPYING.txt"),
        sha256=_sha256(build.parent / f"sources/pyinstaller-{version}.tar.gz"),
    )


def components(build: Path) -> Iterator[Component]:
    """Yield all that is in the executable and not ours."""
    objects = set()
    for name in ("warm.map", "python.map"):
        objects |= linked_objects((build / "link" / name).read_text())
    for part in linked_parts(objects - {_PARTLY_LINKED}):
        yield component(part, build)
    yield loader(build)
    installed = distributions(path=[str(build.parent / "packages")])
    yield from sorted(map(package_component, installed), key=lambda one: one.name)


def license_texts(listed: list[Component]) -> str:
    """Return a table of what is in the executable, and the texts of the licenses."""
    rows = [(one.name, one.version, one.license) for one in listed]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    table = [
        f"    {name:{widths[0]}}  {version:{widths[1]}}  {expression}"
        for name, version, expression in rows
    ]
    head = f"healthchecker {VERSION}, under the MIT license. Linked into the executable are:\n"
    texts = [("healthchecker", (_ROOT / "LICENSE").read_text())]
    texts += [(one.name, one.text) for one in listed]
    sections = [f"{f'---- {name} ':-<80}\n\n{text.strip()}\n" for name, text in texts]
    return "\n".join([head, *table, "", *sections])


def _pinned(package: Distribution) -> str:
    """Return the hash of the wheel that pip compared, from packages.txt."""
    pins = (_ROOT / "binary/program/packages.txt").read_text()
    pinned = re.escape(f"{package.name}=={package.version} --hash=sha256:")
    found = re.search(rf"^{pinned}([0-9a-f]{{64}})$", pins, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise SystemExit(f"{package.name} {package.version} is not in packages.txt")
    return found[1]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _text(path: Path) -> str:
    """Return a text; of a C file its first comment."""
    text = path.read_text()
    if path.suffix == ".c":
        comment, _, _ = text.partition("*/")
        text = re.sub(r"^(/\*| \*) ?", "", comment, flags=re.MULTILINE)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _fetched(build: Path, package: str) -> str:
    """Return the version of a source package, as fetch.sh has noted it."""
    lines = (build.parent / "sources/versions").read_text().splitlines()
    return dict(line.split() for line in lines)[package]


def _debian(package: str, version: str, architecture: str, release: str) -> str:
    return (
        f"pkg:deb/{release.partition('-')[0]}/{package}@{quote(version, safe=':~')}"
        f"?arch={architecture}&distro={release}"
    )


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main(build: str) -> None:
    folder = Path(build, "linked")
    folder.mkdir(exist_ok=True)
    listed = list(components(Path(build)))
    facts = [{k: v for k, v in asdict(one).items() if v and k != "text"} for one in listed]
    (folder / "components.json").write_text(json.dumps(facts, indent=1) + "\n")
    text = license_texts(listed)
    (folder / "LICENSES.txt").write_text(text)
    compressed = zlib.compress(text.encode(), 9)
    (folder / "linked_licenses.py").write_text(
        f'"""What linked.py wrote: the licenses of what is linked in."""\n\n'
        f"COMPRESSED = {compressed!r}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1])

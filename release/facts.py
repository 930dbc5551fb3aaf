"""The inputs of all forms: the version, the machines, and their files."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from healthchecker._version import VERSION

ROOT = Path(__file__).resolve().parents[1]
NAME = "healthchecker"
DEBIAN = "13"
"""The release of Debian whose sources are linked, and on which a release is built."""
SUMMARY = "Is this service healthy? Exit code 0 or 1, for Docker, Kubernetes and the shell."


class Architecture(NamedTuple):
    """The names of a machine elsewhere."""

    platform: str
    """In the names of our files: like Docker's TARGETARCH and TARGETVARIANT."""
    debian: str
    rpm: str
    oci: str
    oci_variant: str
    libcs: tuple[str, ...]
    """In the tags of wheels: the first versions that PyPI accepts for the machine."""


_LIBCS = ("manylinux_2_17", "manylinux2014", "musllinux_1_1")
_LATER_LIBCS = ("manylinux_2_31", "musllinux_1_2")
ARCHITECTURES = {
    "x86_64": Architecture("amd64", "amd64", "x86_64", "amd64", "", _LIBCS),
    "aarch64": Architecture("arm64", "arm64", "aarch64", "arm64", "v8", _LIBCS),
    "armv7l": Architecture("arm-v7", "armhf", "armv7hl", "arm", "v7", _LATER_LIBCS),
    "ppc64le": Architecture("ppc64le", "ppc64el", "ppc64le", "ppc64le", "", _LIBCS),
    "riscv64": Architecture("riscv64", "riscv64", "riscv64", "riscv64", "", _LATER_LIBCS),
    "s390x": Architecture("s390x", "s390x", "s390x", "s390x", "", _LIBCS),
}
"""By the names of `uname -m`."""


class File(NamedTuple):
    """A file in an archive."""

    content: bytes
    mode: int = 0o644


class Component(NamedTuple):
    """A third-party part of an executable, as listed by binary/program/linked.py."""

    name: str
    version: str
    license: str
    purl: str
    cpe: str = ""
    sha256: str = ""
    """Of the source or package that was downloaded."""


class Release(NamedTuple):
    """Facts that all machines share."""

    version: str
    date: dt.date
    revision: str
    """The commit."""
    source: str
    """The URL of the repository; may be empty."""
    maintainer: str
    """`NAME <ADDRESS>`, for packages."""

    @property
    def tags(self) -> list[str]:
        """The tags of an image: the version and its prefixes, and `latest`.

        A candidate such as 1.0.0rc1 has only its own.
        """
        parts = self.version.split(".")
        if not all(part.isdecimal() for part in parts):
            return [self.version]
        prefixes = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
        return [*prefixes, "latest"]

    @property
    def package_version(self) -> str:
        """The version for dpkg and rpm, which sort 1.0.0~rc1 before 1.0.0."""
        return re.sub(r"(?<=\d)(a|b|rc)(?=\d)", r"~\1", self.version)

    @property
    def timestamp(self) -> int:
        """The date in seconds, as the time of all files."""
        midnight = dt.datetime.combine(self.date, dt.time(), dt.UTC)
        return int(midnight.timestamp())


@dataclass(frozen=True, slots=True)
class Machine:
    """The output of `scripts/build-binary` for a machine."""

    name: str
    """Like `uname -m`."""
    executable: bytes
    licenses: str
    """Our license and those of the linked parts, with their texts."""
    components: Sequence[Component]
    revisions: bytes
    """The revisions of the sources, for `scripts/build-binary --revisions`."""

    @property
    def architecture(self) -> Architecture:
        """Its names elsewhere."""
        return ARCHITECTURES[self.name]

    @property
    def license(self) -> str:
        """The SPDX expression of the executable as a whole."""
        return " AND ".join(sorted({"MIT", *(one.license for one in self.components)}))


def release(revision: str, source: str, maintainer: str) -> Release:
    """Return the package's version, with its date from the changelog."""
    dated = re.search(
        rf"^## \[{re.escape(VERSION)}\] - (\S+)$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    if not dated:
        raise SystemExit(f"CHANGELOG.md has no date for {VERSION}")
    return Release(VERSION, dt.date.fromisoformat(dated[1]), revision, source, maintainer)


def machine(folder: Path) -> Machine:
    """Read dist/MACHINE."""
    components = json.loads((folder / "components.json").read_text())
    return Machine(
        folder.name,
        (folder / NAME).read_bytes(),
        (folder / "LICENSES.txt").read_text(),
        [Component(**one) for one in components],
        (folder / "revisions.txt").read_bytes(),
    )

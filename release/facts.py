"""What all forms are made of: the version, the machines, and the files that go into each."""

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
SUMMARY = "Is this service healthy? Exit code 0 or 1, for Docker, Kubernetes and the shell."


class Architecture(NamedTuple):
    """What others call a machine."""

    debian: str
    oci: str
    oci_variant: str


ARCHITECTURES = {
    "x86_64": Architecture("amd64", "amd64", ""),
    "aarch64": Architecture("arm64", "arm64", "v8"),
}
"""By the names of `uname -m`."""


class File(NamedTuple):
    """A file in an archive."""

    content: bytes
    mode: int = 0o644


class Component(NamedTuple):
    """What is in an executable and not ours, as binary/program/linked.py lists it."""

    name: str
    version: str
    license: str
    purl: str
    cpe: str = ""


class Release(NamedTuple):
    """What is the same for all machines."""

    version: str
    date: dt.date
    revision: str
    """The commit."""
    source: str
    """The URL of the repository; empty while there is none."""

    @property
    def timestamp(self) -> int:
        """The date in seconds, as the time of all files."""
        midnight = dt.datetime.combine(self.date, dt.time(), dt.UTC)
        return int(midnight.timestamp())


@dataclass(frozen=True, slots=True)
class Machine:
    """What `scripts/build-binary` has made for a machine."""

    name: str
    """As `uname -m` has it."""
    executable: bytes
    licenses: str
    """Our license and those of what is linked in, with their texts."""
    components: Sequence[Component]

    @property
    def architecture(self) -> Architecture:
        """What others call it."""
        return ARCHITECTURES[self.name]

    @property
    def license(self) -> str:
        """The SPDX expression of the executable as a whole."""
        return " AND ".join(sorted({"MIT", *(one.license for one in self.components)}))


def release(revision: str, source: str) -> Release:
    """Return what is released: the package's version, with its date from the changelog."""
    dated = re.search(
        rf"^## \[{re.escape(VERSION)}\] - (\S+)$",
        (ROOT / "CHANGELOG.md").read_text(),
        re.MULTILINE,
    )
    if not dated:
        raise SystemExit(f"CHANGELOG.md has no date for {VERSION}")
    return Release(VERSION, dt.date.fromisoformat(dated[1]), revision, source)


def machine(folder: Path) -> Machine:
    """Read what is in dist/MACHINE."""
    components = json.loads((folder / "components.json").read_text())
    return Machine(
        folder.name,
        (folder / NAME).read_bytes(),
        (folder / "LICENSES.txt").read_text(),
        [Component(**one) for one in components],
    )

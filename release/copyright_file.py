"""The file `copyright` of a Debian package, in the machine-readable format 1.0.

Licenses that every Debian system has are referred to; the others are quoted.
"""

from __future__ import annotations

import re

from release.facts import NAME, ROOT, Machine, Release

_COMMON = {
    "Apache-2.0": "Apache-2.0",
    "GPL-2.0-or-later": "GPL-2",
    "GPL-3.0-or-later": "GPL-3",
    "CC0-1.0": "CC0-1.0",
    "MPL-2.0": "MPL-2.0",
}
"""The files in /usr/share/common-licenses, by SPDX identifier."""


def copyright_file(release: Release, machine: Machine) -> str:
    """Return the text of the file for the executable of a machine."""
    head = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    head += f"Upstream-Name: {NAME}\n"
    if release.source:
        head += f"Source: {release.source}\n"
    parts = ", ".join(f"{one.name} {one.version} ({one.license})" for one in machine.components)
    head += "Comment:\n" + _wrapped(f"The executable is static. Linked into it are: {parts}.")
    own = (ROOT / "LICENSE").read_text()
    (holder,) = re.findall(r"^Copyright \(c\) (.*)$", own, re.MULTILINE)
    stanzas = [head, f"Files: *\nCopyright: {holder}\nLicense: MIT and others\n{_quoted(own)}"]
    quoted = _without_common(machine.licenses)
    stanzas[1] += " .\n" + _quoted(quoted)
    for identifier, file in _COMMON.items():
        if identifier in machine.license:
            stanzas[1] += " .\n" + _wrapped(
                f"The full text of {identifier} is in /usr/share/common-licenses/{file}."
            )
    return "\n".join(stanzas)


def _without_common(texts: str) -> str:
    """Return the sections of LICENSES.txt with the texts of common licenses left out."""
    sections = re.split(r"(?m)^(?=---- )", texts)
    starts = ("GNU GENERAL PUBLIC LICENSE", "Apache License", "Mozilla Public License Version 2.0")
    kept = []
    for section in sections[1:]:
        for start in starts:
            found = re.search(rf"^\s*{start}", section, re.MULTILINE)
            if found:
                section = section[: found.start()] + "(see below for this license)\n"  # noqa: PLW2901
        kept.append(section)
    return "\n".join(kept)


def _quoted(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "".join(f" {line or '.'}\n" for line in lines)


def _wrapped(text: str) -> str:
    words, lines, line = text.split(), [], ""
    for word in words:
        if len(line) + len(word) > 76:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "".join(f"{one}\n" for one in [*lines, line])

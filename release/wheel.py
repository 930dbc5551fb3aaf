"""Wheels: one for any machine, and for each machine one whose command is the executable.

A static executable runs with any libc, so that the one wheel has the tags of all of them. It stands
where the wheel for any machine has a console script, and starts as fast as the executable itself.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

from release import sbom
from release.facts import NAME, ROOT, File, Machine, Release

_LIBCS = ("manylinux_2_17", "manylinux2014", "musllinux_1_1")


def wheel(release: Release) -> dict[str, bytes]:
    """Return the wheel for any machine under its name, as the build back end makes it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(release.timestamp)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*command, "--no-deps", "--wheel-dir", folder, str(ROOT)], check=True, env=environment
        )
        (file,) = Path(folder).iterdir()
        return {file.name: file.read_bytes()}


def machine_wheel(
    release: Release, machine: Machine, for_any: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the wheel for a machine under its name, made from the one for any."""
    ((name, content),) = for_any.items()
    package = name.removesuffix("-py3-none-any.whl")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {
            one.filename: File(archive.read(one), one.external_attr >> 16 & 0o777)
            for one in archive.infolist()
        }
    info = f"{package}.dist-info"
    del files[f"{info}/RECORD"]
    del files[f"{info}/entry_points.txt"]  # the command would be a script
    tags = [f"py3-none-{libc}_{machine.name}" for libc in _LIBCS]
    files[f"{info}/WHEEL"] = _replaced(
        files[f"{info}/WHEEL"],
        {"Root-Is-Purelib: true": "Root-Is-Purelib: false"}
        | {"Tag: py3-none-any": "\n".join(f"Tag: {tag}" for tag in tags)},
    )
    licenses = "License-File: LICENSE\nLicense-File: LICENSES.txt"
    files[f"{info}/METADATA"] = _replaced(
        files[f"{info}/METADATA"],
        {"License-Expression: MIT": f"License-Expression: {machine.license}"}
        | {"License-File: LICENSE": licenses},
    )
    files[f"{info}/licenses/LICENSES.txt"] = File(machine.licenses.encode())
    files[f"{info}/sboms/{sbom.FILE}"] = File(sbom.sbom(release, machine))
    files[f"{package}.data/scripts/{NAME}"] = File(machine.executable, 0o755)
    platforms = ".".join(f"{libc}_{machine.name}" for libc in _LIBCS)
    record = f"{info}/RECORD"
    files[record] = File(_record(files, record).encode())
    return {f"{package}-py3-none-{platforms}.whl": _zip(files, release.timestamp)}


def _replaced(file: File, lines: Mapping[str, str]) -> File:
    """Replace lines, each of which must be there once."""
    text = file.content.decode()
    for line, by in lines.items():
        if text.splitlines().count(line) != 1:
            raise ValueError(f"not one line {line!r} in the wheel")
        text = re.sub(rf"^{line}$", by, text, flags=re.MULTILINE)
    return File(text.encode(), file.mode)


def _record(files: Mapping[str, File], own: str) -> str:
    lines = [f"{own},,\n"]
    for name, file in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(file.content).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(file.content)}\n")
    return "".join(sorted(lines))


def _zip(files: Mapping[str, File], timestamp: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(files.items()):
            entry = zipfile.ZipInfo(name, time.gmtime(timestamp)[:6])
            entry.external_attr = (0o100000 | file.mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, file.content)
    return out.getvalue()

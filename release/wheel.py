"""Wheels: one for any machine, and one per machine whose commands are the executable.

A static executable runs with any libc, so the wheel has the tags of all of them. The executable
replaces the console scripts of the wheel for any machine.
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


def wheel(release: Release) -> dict[str, bytes]:
    """Return the wheel for any machine under its name: the build back end's, with URLs added."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(release.timestamp)}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*command, "--no-deps", "--wheel-dir", folder, str(ROOT)], check=True, env=environment
        )
        (file,) = Path(folder).iterdir()
        files = _unpacked(file.read_bytes())
    info = next(name for name in files if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
    metadata = f"{info}/METADATA"
    files[metadata] = _with_urls(files[metadata], release)
    return {file.name: _packed(files, f"{info}/RECORD", release)}


def machine_wheel(
    release: Release, machine: Machine, for_any: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the wheel for a machine under its name, made from the one for any."""
    ((name, content),) = for_any.items()
    package = name.removesuffix("-py3-none-any.whl")
    files = _unpacked(content)
    info = f"{package}.dist-info"
    del files[f"{info}/entry_points.txt"]  # the commands would be scripts
    platforms = [f"{libc}_{machine.name}" for libc in machine.architecture.libcs]
    files[f"{info}/WHEEL"] = _replaced(
        files[f"{info}/WHEEL"],
        {"Root-Is-Purelib: true": "Root-Is-Purelib: false"}
        | {"Tag: py3-none-any": "\n".join(f"Tag: py3-none-{one}" for one in platforms)},
    )
    licenses = "License-File: LICENSE\nLicense-File: LICENSES.txt"
    files[f"{info}/METADATA"] = _replaced(
        files[f"{info}/METADATA"],
        {"License-Expression: MIT": f"License-Expression: {machine.license}"}
        | {"License-File: LICENSE": licenses},
    )
    files[f"{info}/licenses/LICENSES.txt"] = File(machine.licenses.encode())
    files[f"{info}/sboms/{sbom.FILE}"] = File(sbom.sbom(release, machine))
    # The second name is that of the distribution, for `uvx` and `pipx run`.
    for command in (NAME, f"{NAME}-static"):
        files[f"{package}.data/scripts/{command}"] = File(machine.executable, 0o755)
    name = f"{package}-py3-none-{'.'.join(platforms)}.whl"
    return {name: _packed(files, f"{info}/RECORD", release)}


def _with_urls(metadata: File, release: Release) -> File:
    """Add the project's URLs, and make the README's links absolute: PyPI has no other files."""
    if not release.source:
        return metadata
    head, blank, readme = metadata.content.decode().partition("\n\n")
    head += f"\nProject-URL: Source, {release.source}"
    head += f"\nProject-URL: Changelog, {release.source}/blob/v{release.version}/CHANGELOG.md"
    files = f"{release.source}/blob/v{release.version}/"
    readme = re.sub(r"(?<!!)(\[[^\]]*\]\()(?!https?:|#)", rf"\1{files}", readme)
    pictures = f"{release.source}/raw/v{release.version}/"
    readme = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\1{pictures}", readme)
    return File((head + blank + readme).encode(), metadata.mode)


def _unpacked(content: bytes) -> dict[str, File]:
    """Return the files of a wheel, without its record."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {
            one.filename: File(archive.read(one), one.external_attr >> 16 & 0o777)
            for one in archive.infolist()
            if not one.filename.endswith(".dist-info/RECORD")
        }


def _packed(files: Mapping[str, File], record: str, release: Release) -> bytes:
    everything = {**files, record: File(_record(files, record).encode())}
    return _zip(everything, release.timestamp)


def _replaced(file: File, lines: Mapping[str, str]) -> File:
    """Replace lines, each of which must be there once."""
    text = file.content.decode()
    for line, by in lines.items():
        if text.splitlines().count(line) != 1:
            raise ValueError(f"expected exactly one line {line!r} in the wheel")
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

"""Build all release artifacts.

    python -m release [--source URL] --maintainer TEXT REVISION OUTPUT FOLDER...

FOLDER is dist/MACHINE, for each machine; OUTPUT is a folder, which is replaced. scripts/release
calls this.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

from release import facts, sbom
from release.deb import deb
from release.facts import NAME, Machine, Release
from release.image import docker_image, oci_image
from release.rpm import rpm
from release.source import source_archive
from release.tarball import tarball
from release.vex import vex
from release.wheel import machine_wheel, wheel


def main() -> None:
    """Write the files, and SHA256SUMS of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", default="")
    parser.add_argument("--maintainer", required=True)
    parser.add_argument("revision")
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    release = facts.release(given.revision, given.source, given.maintainer)
    files = _files(release, [facts.machine(folder) for folder in given.folders])
    shutil.rmtree(given.output, ignore_errors=True)
    given.output.mkdir(parents=True)
    for name, content in files.items():
        path = given.output / name
        path.write_bytes(content)
        path.chmod(0o755 if content.startswith(b"\x7fELF") else 0o644)
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    (given.output / "SHA256SUMS").write_text("".join(sums))


def _files(release: Release, machines: list[Machine]) -> dict[str, bytes]:
    for_any = wheel(release)
    files = {**for_any, **oci_image(release, machines), **source_archive(release), **vex(release)}
    for machine in machines:
        bill = sbom.sbom(release, machine)
        if problem := sbom.problem(bill):
            raise SystemExit(f"the SBOM is not valid: {problem}")
        platform = f"linux-{machine.architecture.platform}"
        name = f"{NAME}-{release.version}-{platform}"
        # Without the version for "latest/download", and for ADD …-${TARGETARCH}.
        files |= {name: machine.executable, f"{NAME}-{platform}": machine.executable}
        files[f"{name}.cdx.json"] = bill
        revisions = f"{NAME}-{release.version}-revisions.txt"
        if files.setdefault(revisions, machine.revisions) != machine.revisions:
            raise SystemExit("the machines were built from different sources: build them again")
        files |= tarball(release, machine)
        files |= deb(release, machine)
        files |= rpm(release, machine)
        files |= machine_wheel(release, machine, for_any)
        files |= docker_image(release, machine)
    return dict(sorted(files.items()))


if __name__ == "__main__":
    main()

"""Write all forms of a release.

    python -m release [--source URL] REVISION OUTPUT FOLDER...

FOLDER is dist/MACHINE, for each machine; OUTPUT a folder that is replaced. scripts/release calls
this.
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
from release.tarball import tarball
from release.wheel import machine_wheel, wheel


def main() -> None:
    """Write the files, and SHA256SUMS of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", default="")
    parser.add_argument("revision")
    parser.add_argument("output", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    release = facts.release(given.revision, given.source)
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
    files = {**for_any, **oci_image(release, machines)}
    for machine in machines:
        bill = sbom.sbom(release, machine)
        if problem := sbom.problem(bill):
            raise SystemExit(f"the SBOM is not valid: {problem}")
        name = f"{NAME}-{release.version}-linux-{machine.name}"
        files |= {name: machine.executable, f"{name}.cdx.json": bill}
        files |= tarball(release, machine)
        files |= deb(release, machine)
        files |= machine_wheel(release, machine, for_any)
        files |= docker_image(release, machine)
    return dict(sorted(files.items()))


if __name__ == "__main__":
    main()

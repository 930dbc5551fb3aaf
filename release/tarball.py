"""A tarball to unpack into a prefix: `tar -C /usr/local --strip-components=1 -xf FILE`."""

from __future__ import annotations

from release.archive import compressed, tar
from release.facts import NAME, Machine, Release
from release.tree import tree


def tarball(release: Release, machine: Machine) -> dict[str, bytes]:
    """Return the archive under its name."""
    top = f"{NAME}-{release.version}-linux-{machine.architecture.platform}"
    files = {f"{top}/{path}": file for path, file in tree(release, machine).items()}
    return {f"{top}.tar.gz": compressed(tar(files, release.timestamp))}

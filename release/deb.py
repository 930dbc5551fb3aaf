"""A package for Debian, Ubuntu and other systems with dpkg: deb(5)."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping

from release.archive import tar
from release.facts import NAME, File, Machine, Release
from release.tree import debian_tree

_REVISION = 1  # of the package, for one version
_KIB = 1024


def deb(release: Release, machine: Machine) -> dict[str, bytes]:
    """Return the package under its name."""
    version = f"{release.package_version}-{_REVISION}"
    files = debian_tree(release, machine, version)
    sums = "".join(
        f"{hashlib.md5(file.content, usedforsecurity=False).hexdigest()}  {path}\n"
        for path, file in sorted(files.items())
    )
    control = {
        "control": File(_control(release, version, machine, files).encode()),
        "md5sums": File(sums.encode()),
    }
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": lzma.compress(tar(control, release.timestamp)),
        "data.tar.xz": lzma.compress(tar(files, release.timestamp)),
    }
    name = f"{NAME}_{version}_{machine.architecture.debian}.deb"
    return {name: _ar(members, release.timestamp)}


def _control(release: Release, version: str, machine: Machine, files: Mapping[str, File]) -> str:
    homepage = f"Homepage: {release.source}\n" if release.source else ""
    size = sum(-(-len(file.content) // _KIB) for file in files.values())
    return f"""\
Package: {NAME}
Version: {version}
Architecture: {machine.architecture.debian}
Maintainer: {release.maintainer}
Installed-Size: {size}
Section: net
Priority: optional
{homepage}Description: check whether a service is healthy
 Checks HTTP, gRPC, TCP, databases, brokers, files and processes within one
 timeout and reports the result as exit code 0 or 1: for HEALTHCHECK in a
 Dockerfile, for Kubernetes exec probes, and for the shell. It is one static
 executable.
"""


def _ar(members: Mapping[str, bytes], timestamp: int) -> bytes:
    """Return an archive of ar(5)."""
    out = b"!<arch>\n"
    for name, content in members.items():
        out += f"{name:16}{timestamp:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out

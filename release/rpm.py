"""A package for Fedora, openSUSE and other systems with rpm, built by rpmbuild."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from release.facts import NAME, SUMMARY, Machine, Release
from release.tree import tree

_REVISION = 1
_SPEC = """\
Name: {name}
Version: {version}
Release: {revision}
Summary: {summary}
License: {license}
{url}AutoReqProv: no

%description
Checks HTTP, gRPC, TCP, databases, brokers, files and processes within one
timeout and reports the result as exit code 0 or 1: for HEALTHCHECK in a
Dockerfile, for Kubernetes exec probes, and for the shell. One static executable.

%install
cp -a {tree}/. %{{buildroot}}

%files
{files}
"""
# Without these the package would depend on the machine that builds it, and rpmbuild would look into
# the executable, which has no sections.
_MACROS = {
    "_buildhost": "reproducible",
    "use_source_date_epoch_as_buildtime": "1",
    "clamp_mtime_to_source_date_epoch": "1",
    "_binary_payload": "w9.gzdio",
    "_build_id_links": "none",
    "debug_package": "%{nil}",
    "__os_install_post": "%{nil}",
    "__check_files": "%{nil}",
    "_build_name_fmt": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
}


def rpm(release: Release, machine: Machine) -> dict[str, bytes]:
    """Return the package under its name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {f"usr/{path}": file for path, file in tree(release, machine).items()}
        for path, file in files.items():
            target = folder / "tree" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(file.mode)
        spec = _SPEC.format(
            name=NAME,
            version=release.package_version,
            revision=_REVISION,
            summary=SUMMARY.partition("?")[0],
            license=machine.license,
            url=f"URL: {release.source}\n" if release.source else "",
            tree=folder / "tree",
            files="\n".join(
                f"%attr({file.mode:o},root,root) /{path}" for path, file in files.items()
            ),
        )
        (folder / "package.spec").write_text(spec)
        macros = {**_MACROS, "_topdir": str(folder / "build"), "_rpmdir": str(folder / "rpm")}
        defined = [word for key, of in macros.items() for word in ("--define", f"{key} {of}")]
        command = ["rpmbuild", "-bb", "--quiet", "--target", f"{machine.architecture.rpm}-linux"]
        done = subprocess.run(
            [*command, *defined, str(folder / "package.spec")],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(release.timestamp)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"rpmbuild failed:\n{done.stderr}")
        (package,) = (folder / "rpm").iterdir()
        return {package.name: package.read_bytes()}

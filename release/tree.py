"""The files installed on a machine: the executable, its documentation and completions."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

from release import sbom
from release.archive import compressed
from release.completions import SHELLS
from release.copyright_file import copyright_file
from release.facts import NAME, ROOT, File, Machine, Release
from release.man_page import man_page

_COMPLETIONS = {
    "bash": f"share/bash-completion/completions/{NAME}",
    "fish": f"share/fish/vendor_completions.d/{NAME}.fish",
    "zsh": f"share/zsh/site-functions/_{NAME}",
}


def tree(release: Release, machine: Machine) -> dict[str, File]:
    """Return the files below a prefix such as /usr/local."""
    return {
        f"bin/{NAME}": File(machine.executable, 0o755),
        f"share/man/man1/{NAME}.1": File(man_page(release.date.isoformat()).encode()),
        **{_COMPLETIONS[shell]: File(make().encode()) for shell, make in SHELLS.items()},
        **{
            f"share/doc/{NAME}/{name}": File((ROOT / name).read_bytes())
            for name in ("CHANGELOG.md", "LICENSE", "README.md")
        },
        f"share/doc/{NAME}/LICENSES.txt": File(machine.licenses.encode()),
        f"share/doc/{NAME}/{sbom.FILE}": File(sbom.sbom(release, machine)),
    }


_OVERRIDES = f"""\
# One static executable is the point of the package: it also runs in images without a libc.
{NAME}: statically-linked-binary [usr/bin/{NAME}]
# It was never uploaded to Debian, so there is no bug to close.
{NAME}: initial-upload-closes-no-bugs [usr/share/doc/{NAME}/changelog.Debian.gz:1]
"""


def debian_tree(release: Release, machine: Machine, version: str) -> dict[str, File]:
    """Return the same below the root, in the places of Debian's policy."""
    files = tree(release, machine)
    doc = f"share/doc/{NAME}"
    man = f"share/man/man1/{NAME}.1"
    files[f"{man}.gz"] = File(compressed(files.pop(man).content))
    files[f"{doc}/changelog.gz"] = File(compressed(files.pop(f"{doc}/CHANGELOG.md").content))
    changes = _debian_changelog(release, version)
    files[f"{doc}/changelog.Debian.gz"] = File(compressed(changes.encode()))
    files[f"share/zsh/vendor-completions/_{NAME}"] = files.pop(_COMPLETIONS["zsh"])
    del files[f"{doc}/LICENSE"], files[f"{doc}/LICENSES.txt"]
    files[f"{doc}/copyright"] = File(copyright_file(release, machine).encode())
    files[f"share/lintian/overrides/{NAME}"] = File(_OVERRIDES.encode())
    return {f"usr/{path}": file for path, file in files.items()}


def _debian_changelog(release: Release, version: str) -> str:
    time = dt.datetime.fromtimestamp(release.timestamp, dt.UTC)
    return (
        f"{NAME} ({version}) unstable; urgency=medium\n\n"
        f"  * Version {release.version}; changelog.gz lists the changes.\n\n"
        f" -- {release.maintainer}  {format_datetime(time)}\n"
    )

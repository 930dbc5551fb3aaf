"""What is installed on a machine: the executable, its documentation and completions."""

from __future__ import annotations

from release import sbom
from release.archive import compressed
from release.completions import SHELLS
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


def debian_tree(release: Release, machine: Machine) -> dict[str, File]:
    """Return the same where Debian's policy wants it, below the root."""
    files = tree(release, machine)
    man, changes = f"share/man/man1/{NAME}.1", f"share/doc/{NAME}/CHANGELOG.md"
    files[f"{man}.gz"] = File(compressed(files.pop(man).content))
    files[f"share/doc/{NAME}/changelog.gz"] = File(compressed(files.pop(changes).content))
    files[f"share/zsh/vendor-completions/_{NAME}"] = files.pop(_COMPLETIONS["zsh"])
    files.pop(f"share/doc/{NAME}/LICENSE")  # is part of the other file
    files[f"share/doc/{NAME}/copyright"] = files.pop(f"share/doc/{NAME}/LICENSES.txt")
    return {f"usr/{path}": file for path, file in files.items()}

"""Fetch the source archive of a Python package by its hash, and run nothing of it.

    sdist.py NAME VERSION SHA256

`pip download` runs the build code of an archive, and of the packages that this code names, before
it compares the hash. Here pip only looks the archive up, in the index that it is configured for.
"""

import hashlib
import sys
from pathlib import Path

from pip._internal.commands.download import DownloadCommand


def main(name: str, version: str, sha256: str) -> None:
    archive = f"{name}-{version}.tar.gz"
    command = DownloadCommand("download", "")
    options, _ = command.parse_args([])
    with command.main_context():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)  # noqa: SLF001 - pip has no public one
        links = (one.link for one in finder.find_all_candidates(name))
        url = next((link.url for link in links if link.filename == archive), None)
        if url is None:
            sys.exit(f"the package index has no {archive}")
        response = session.get(url, timeout=60)
        response.raise_for_status()
    found = hashlib.sha256(response.content).hexdigest()
    if found != sha256:
        sys.exit(f"{archive}: expected SHA-256 {sha256}, got {found}")
    Path(archive).write_bytes(response.content)


if __name__ == "__main__":
    main(*sys.argv[1:])

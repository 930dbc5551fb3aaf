"""`healthchecker install`: copy the executable, for images that have no `cp`.

An init container runs it: the copy goes to a volume, from which another container, whose image has
no health check, runs it.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click

from healthchecker._cli.options import DESTINATION
from healthchecker._cli.parsing import Command
from healthchecker._cli.process import HEALTHY
from healthchecker._values.result import BadArgumentError

_NAME = "healthchecker"
_FOR_ALL = 0o755
_CHUNK_BYTES = 1 << 20
_RANDOM_BYTES = 8


def _run(context: click.Context) -> int:
    text = DESTINATION.of(context)
    if not getattr(sys, "frozen", False):
        raise BadArgumentError(
            "DEST", text, "only the static executable can install itself; run that instead"
        )
    try:
        destination = _destination(text)
        source = _open_own_file()
        try:
            _replace(destination, source)
        finally:
            os.close(source)
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise BadArgumentError("DEST", text, f"cannot be written: {problem}") from error
    return HEALTHY


def _destination(text: str) -> Path:
    """Return the file to write: in a directory, one with the name of the program."""
    if not text:
        raise BadArgumentError("DEST", text, "is empty; name a directory or a file")
    destination = Path(text)
    if destination.is_dir():
        return destination / _NAME
    if text.endswith("/") or not destination.parent.is_dir():
        raise BadArgumentError("DEST", text, "no such directory; create it first")
    return destination


def _open_own_file() -> int:
    """Open the executable of this process by the kernel's link, or by its path at the start."""
    started_as = sys.orig_argv[0]
    for path in ("/proc/self/exe", *([started_as] if "/" in started_as else [])):
        with suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    problem = "cannot be located without /proc; run it by its full path, such as /healthchecker"
    raise BadArgumentError("the executable", started_as, problem)


def _replace(destination: Path, source: int) -> None:
    """Write the whole file under another name first, so that half a file is never run.

    The name is a new one each time: several installs may run at the same time, in containers where
    all of them have the same process id, and one that was killed leaves its file behind.
    """
    unfinished = destination.with_name(f".{_NAME}-{os.urandom(_RANDOM_BYTES).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    target = os.open(unfinished, flags, _FOR_ALL)
    try:
        try:
            while chunk := os.read(source, _CHUNK_BYTES):
                while chunk:
                    chunk = chunk[os.write(target, chunk) :]
            os.fchmod(target, _FOR_ALL)  # whatever the umask is
            os.fsync(target)
        finally:
            os.close(target)
        unfinished.replace(destination)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


INSTALL = Command(
    "install",
    _run,
    DESTINATION,
    (),
    help="""Copy this executable to DEST, a directory or a file name.

    Meant for init containers that copy the executable to a shared volume; scratch images have no
    cp. DEST is replaced atomically.
    """,
)

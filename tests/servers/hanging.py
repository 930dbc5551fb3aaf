"""A file system that hangs, like a network mount whose server is gone."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support import require

_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2


@contextmanager
def hanging_file_system(directory: Path) -> Iterator[Callable[[], None]]:
    """Mount one whose server never responds; yield a function that makes it fail instead."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        server = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        require(False, f"/dev/fuse cannot be opened: {error.strerror}")
        raise
    with ExitStack() as stack:
        stack.callback(os.close, server)
        options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
        name = os.fsencode(directory)
        failed = libc.mount(b"hanging", name, b"fuse", _MS_NOSUID | _MS_NODEV, options)
        require(not failed, f"cannot be mounted: {os.strerror(ctypes.get_errno())}")
        stack.callback(libc.umount2, name, _MNT_DETACH)

        def fail() -> None:
            stack.pop_all().close()

        yield fail

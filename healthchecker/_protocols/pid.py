"""pid://: healthy if the process whose id is in the file is running."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from pathlib import Path
from typing import ClassVar

from healthchecker._protocols.base import Healthy, LocalProber
from healthchecker._protocols.file import read_start, regular_file
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme

_MAX_PID = 1 << 22  # PID_MAX_LIMIT in proc(5)
_MAX_FILE_BYTES = 4096
_CLOCK_TOLERANCE = 2.0
"""Seconds: the time resolution of some file systems; clocks are also set by small steps."""

_UNAVAILABLE = (errno.ENOSYS, errno.EPERM)
"""How pidfd_open(2) fails on an old kernel, and under a filter that does not know it."""
_START_TIME = 19  # of the fields of /proc/PID/stat that follow the name: proc_pid_stat(5)
_INIT = 1


class PidProber(LocalProber):
    """Reads the file's first line, and looks for that process.

    No signal is sent and no permission is needed. Zombies are detected with a pidfd (Linux 5.3);
    elsewhere they count as alive. A reused id is detected with /proc (the process started after
    the file was written); without /proc it goes unnoticed.
    """

    SCHEMES: ClassVar = {
        "pid": Scheme("pid:///PATH", place=Place.FILE, has_query=False, over_unix_socket=False)
    }

    def _examine(self) -> Healthy:
        written = regular_file(self._target.path).st_mtime
        pid = parse_pid(read_start(self._target.path, _MAX_FILE_BYTES))
        if not _is_running(pid):
            raise UnexpectedResponse(Reason.MISSING, f"process {pid} is not running")
        if _is_younger(pid, written):
            raise UnexpectedResponse(
                Reason.STALE,
                f"process id {pid} has been reused: process {pid} started after the file was "
                "written",
            )
        return Healthy(None, f"process {pid} is running")


def parse_pid(content: bytes) -> int:
    """Return the number in the first line of a file; a `ProbeFailure` if there is none."""
    line = content.partition(b"\n")[0].strip()
    # The length first: int() is slow for very long numbers.
    if line.isdigit() and len(line) <= len(str(_MAX_PID)) and 0 < int(line) <= _MAX_PID:
        return int(line)
    raise ProbeFailure(Reason.INVALID_RESPONSE, "the file does not start with a process id")


def _is_running(pid: int) -> bool:
    if sys.platform == "linux":
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in _UNAVAILABLE:
                return False  # no such process, or the id is that of a thread
        else:
            ended = select.poll()
            ended.register(process, select.POLLIN)
            try:
                return not ended.poll(0)
            finally:
                os.close(process)
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_younger(pid: int, written: float) -> bool:
    """Return whether a process started after a moment of the clock; False if that is unknown."""
    if sys.platform != "linux":
        return False
    started, init_started = _uptime_at_start(pid), _uptime_at_start(_INIT)
    if started is None or init_started is None:
        return False
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    boot = boot_time(
        written,
        uptime,
        time.time() - uptime,
        Path("/proc").stat().st_mtime - init_started,
    )
    return boot + started > written + _CLOCK_TOLERANCE


def boot_time(written: float, uptime: float, boot: float, mounted_boot: float) -> float:
    """Return the boot time by the clock that a file was `written` by, as far as that is known.

    The kernel counts from the boot to the start of a process. By the clock of today the boot was at
    `boot`. By that of the moment when /proc was mounted, as process 1 of a container started, it
    was at `mounted_boot`: earlier, if the clock has been stepped forward since. The file may then
    be from before the step, unless the old clock would not have reached its time yet.
    """
    is_from_after_step = written > mounted_boot + uptime + _CLOCK_TOLERANCE
    return boot if is_from_after_step else min(boot, mounted_boot)


def _uptime_at_start(pid: int) -> float | None:
    """Return the seconds between the boot and the start of a process; None without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        return int(fields[_START_TIME]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None

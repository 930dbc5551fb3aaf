"""The probe for pid:// targets: healthy when the process lives whose id the file holds."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from pathlib import Path
from typing import ClassVar

from healthchecker._net.deadline import Deadline
from healthchecker._protocols.base import Healthy, Prober, Progress
from healthchecker._protocols.file import read_start, regular_file
from healthchecker._protocols.unbounded import UnboundedCall
from healthchecker._values.options import CheckOptions
from healthchecker._values.result import ProbeFailure, Reason, UnexpectedResponse
from healthchecker._values.target import Place, Scheme, Target

_MAX_PID = 1 << 22  # PID_MAX_LIMIT in proc(5)
_MAX_FILE_BYTES = 4096
_CLOCK_TOLERANCE = 2.0
"""Seconds: some file systems know times no better, and clocks are set by small steps."""

_NOT_TO_BE_HAD = (errno.ENOSYS, errno.EPERM)
"""What pidfd_open(2) says on an old kernel, and under a filter that does not know it."""
_START_TIME = 19  # of the fields of /proc/PID/stat that follow the name: proc_pid_stat(5)


class PidProber(Prober):
    """Reads the file's first line, and asks the kernel for that process.

    No signal is sent, and none need be allowed: the process may be anybody's. A zombie is told by a
    descriptor of the process (Linux 5.3); where there is none, as on other systems, it passes for
    alive. Whether another process has got the id since is told by /proc: it was started after the
    file was written. Without /proc it passes for the one that is meant.
    """

    SCHEMES: ClassVar = {
        "pid": Scheme("pid:///PATH", place=Place.FILE, has_query=False, over_unix_socket=False)
    }

    def __init__(self, target: Target, options: CheckOptions) -> None:
        super().__init__(target, options)
        self._look = UnboundedCall(self._judge)

    def _probe(self, deadline: Deadline, progress: Progress) -> Healthy:
        return self._look.result(deadline)

    def _judge(self) -> Healthy:
        written = regular_file(self._target.path).st_mtime
        pid = parse_pid(read_start(self._target.path, _MAX_FILE_BYTES))
        if not _lives(pid):
            raise UnexpectedResponse(Reason.MISSING, f"no process {pid}")
        started = _start_time(pid)
        if started is not None and started > written + _CLOCK_TOLERANCE:
            raise UnexpectedResponse(
                Reason.STALE,
                f"process {pid} is another one: it was started {started - written:.0f} s after "
                "the file was written",
            )
        return Healthy(None, f"process {pid} lives")


def parse_pid(content: bytes) -> int:
    """Return the number in the first line of a file; a `ProbeFailure` where there is none."""
    line = content.partition(b"\n")[0].strip()
    # As a length first: int() takes its time for a very long one.
    if line.isdigit() and len(line) <= len(str(_MAX_PID)) and 0 < int(line) <= _MAX_PID:
        return int(line)
    raise ProbeFailure(Reason.INVALID_RESPONSE, "the file holds no process id")


def _lives(pid: int) -> bool:
    if sys.platform == "linux":
        try:
            process = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in _NOT_TO_BE_HAD:
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


def _start_time(pid: int) -> float | None:
    """Return when a process was started, in seconds since the epoch; None where nobody tells."""
    if sys.platform != "linux":
        return None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()
        ticks = int(fields[_START_TIME])
    except (OSError, ValueError, IndexError):
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age

"""Run one program; report its exit code, its times and the peak of its memory.

Reported too is the longest time for which the machine stood still meanwhile, as a virtual one does
when its host is busy: times then say nothing of the program.

A process of its own, because the kernel counts the memory of the process that starts a program as
the program's: started by a test runner of 100 MB, every program would seem to need 100 MB.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

try:
    import resource
except ModuleNotFoundError:
    resource = None  # type: ignore[assignment]

_TICK = 0.005


def main() -> None:
    report_fd, timeout, *argv = sys.argv[1:]
    os.set_inheritable(int(report_fd), False)
    started = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    report = observe(pid, started, float(timeout))
    os.write(int(report_fd), json.dumps(report).encode())


def observe(pid: int, started: float, timeout: float) -> dict[str, object]:
    """Wait for a child process, end it after `timeout` seconds, and return the report."""
    watch = os.pidfd_open(pid)
    in_time = False
    stalled = 0.0
    ended = before = started
    while not in_time and ended < started + timeout:
        in_time = bool(select.select([watch], [], [], _TICK)[0])
        ended = time.monotonic()
        stalled = max(stalled, ended - before - _TICK)
        before = ended
    os.close(watch)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    status, max_rss_kib, cpu_seconds = _end_of(pid)
    return {
        "in_time": in_time,
        "code": os.waitstatus_to_exitcode(status),
        "started": started,
        "ended": ended,
        "stalled": stalled,
        "max_rss_kib": max_rss_kib,
        "cpu_seconds": cpu_seconds,
    }


def _end_of(pid: int) -> tuple[int, int, float]:
    """Return a child's status, the peak of its memory in KiB and its seconds on the CPU.

    The last two are 0 where Python has been built without its module `resource`, as the one of the
    guarded form; they are limited in other forms.
    """
    if resource is None:
        return os.waitpid(pid, 0)[1], 0, 0.0
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

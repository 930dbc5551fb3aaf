"""Run one program; report its exit code, its times and its peak memory.

The report also has the times that do not depend on the program: for how long it waited for a
processor, and the longest time for which the machine stood still, as a virtual one does when its
host is busy.

This is a process of its own because the kernel attributes the memory of the starting process to the
started one: started by a test runner of 100 MB, every program would seem to need 100 MB.
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
    descriptor = os.pidfd_open(pid)
    in_time = False
    stalled = 0.0
    ended = before = started
    while not in_time and ended < started + timeout:
        in_time = bool(select.select([descriptor], [], [], _TICK)[0])
        ended = time.monotonic()
        stalled = max(stalled, ended - before - _TICK)
        before = ended
    os.close(descriptor)
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    delayed = waited_for_processor(f"/proc/{pid}")
    status, max_rss_kib, cpu_seconds = _end_of(pid)
    return {
        "in_time": in_time,
        "code": os.waitstatus_to_exitcode(status),
        "started": started,
        "ended": ended,
        "stalled": stalled,
        "delayed": delayed,
        "max_rss_kib": max_rss_kib,
        "cpu_seconds": cpu_seconds,
    }


def waited_for_processor(process: str) -> float:
    """Return for how many seconds a process or thread of /proc was ready to run but did not.

    That is 0 if it has gone, or if the kernel does not count it.
    """
    try:
        file = os.open(f"{process}/schedstat", os.O_RDONLY)
        try:
            _, nanoseconds, _ = os.read(file, 100).split()
        finally:
            os.close(file)
    except (OSError, ValueError):
        return 0.0
    return int(nanoseconds) / 1e9


def _end_of(pid: int) -> tuple[int, int, float]:
    """Return a child's status, its peak memory in KiB and its CPU seconds.

    The last two are 0 if Python was built without the module `resource`, like that of the guarded
    form; tests limit them in the other forms.
    """
    if resource is None:
        return os.waitpid(pid, 0)[1], 0, 0.0
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss, usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()

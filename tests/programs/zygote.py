"""Run a program in forks of an interpreter that has imported it already.

    python -m tests.programs.zygote MODULE DESCRIPTOR

Each run is like `python -m MODULE` without the start, which costs a hundred times as much as a
check. A request is a byte on the Unix socket DESCRIPTOR, with the descriptors of standard output,
standard error and another Unix socket. On that one the request continues: a line, a JSON object
with `args`, `env`, `cwd` and `timeout`. The response is two lines of JSON: the id of the process
immediately, and the report of `launch` at its end. Bytes that are not UTF-8 are surrogates.

This process has one thread, and no descriptors except the standard ones and the channel. Each run
has a process that observes it, like `launch`, so that runs are concurrent.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from runpy import run_module
from typing import Any

from tests.programs.launch import observe


def serve(channel: socket.socket, program: Callable[[], object]) -> None:
    """Run `program` for each request until there are no more; in a run, return when it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # observers are not waited for
    while True:
        byte, descriptors, _, _ = socket.recv_fds(channel, 1, 3)
        if not byte:
            return
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    _run(program, *descriptors)


def _run(program: Callable[[], object], stdout: int, stderr: int, client: int) -> None:
    """Fork again: the child runs the program, and the parent reports its end."""
    with socket.socket(fileno=client) as channel, channel.makefile("rb") as lines:
        request = json.loads(lines.readline())
        started = time.monotonic()
        pid = os.fork()
        if pid:
            os.close(stdout)
            os.close(stderr)
            channel.sendall(b"%d\n" % pid)
            report = observe(pid, started, request["timeout"])
            channel.sendall(json.dumps(report).encode() + b"\n")
            os._exit(0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["args"]
    program()


def main(module: str, descriptor: str) -> None:
    # The program is imported first: it must be the first to load OpenSSL.
    import_module(f"{module}.__main__")
    del sys.modules[f"{module}.__main__"]  # each run has its own
    try:
        coverage: Any = import_module("coverage")
    except ModuleNotFoundError:  # it needs sqlite3, which scripts/fuzz --sanitize does not build
        coverage = None

    def program() -> None:
        if coverage is not None:
            coverage.process_startup()  # if the environment of this run enables it
        run_module(module, run_name="__main__", alter_sys=True)

    with socket.socket(fileno=int(descriptor)) as channel:
        serve(channel, program)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Run a program in forks of an interpreter that has imported it already.

    python -m tests.programs.zygote MODULE DESCRIPTOR

Each run is as one of `python -m MODULE`, but for the start, which costs a hundred times what a
check does. To begin one, a byte comes over the Unix socket DESCRIPTOR, with the descriptors of
standard output, standard error and another Unix socket. Over that one comes what to run, a line, a
JSON object with `args`, `env`, `cwd` and `timeout`. The answers are two lines of JSON: at once the
id of the process, at its end what `launch` reports. Bytes that are not UTF-8 travel as surrogates.

This process has one thread, and no descriptors but the standard ones and the channel. Each run has
a process that observes it, as `launch` does, so that many can be under way.
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

from tests.programs.launch import observe


def serve(channel: socket.socket, program: Callable[[], object]) -> None:
    """Run `program` for each request until there are no more; in a run, return when it does."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that observe
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


def _run(program: Callable[[], object], stdout: int, stderr: int, answers: int) -> None:
    """Fork once more: the child runs the program, and we say what comes of it."""
    with socket.socket(fileno=answers) as asker, asker.makefile("rb") as lines:
        asked = json.loads(lines.readline())
        started = time.monotonic()
        pid = os.fork()
        if pid:
            os.close(stdout)
            os.close(stderr)
            asker.sendall(b"%d\n" % pid)
            report = observe(pid, started, asked["timeout"])
            asker.sendall(json.dumps(report).encode() + b"\n")
            os._exit(0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv[1:] = asked["args"]
    program()


def main(module: str, descriptor: str) -> None:
    # Nothing else comes before the program: it wants to be the first to load OpenSSL.
    import_module(f"{module}.__main__")
    del sys.modules[f"{module}.__main__"]  # each run has its own
    coverage = import_module("coverage")

    def program() -> None:
        coverage.process_startup()  # if the environment of this run asks for it
        run_module(module, run_name="__main__", alter_sys=True)

    with socket.socket(fileno=int(descriptor)) as channel:
        serve(channel, program)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs the program in forks of an interpreter that has imported it already.

The interpreted forms without their start, which costs a hundred times what a check does. What is
asked for comes over a Unix socket: a byte with the descriptors of standard output and standard
error, and a line, a JSON object with `args`, `env` and `timeout`. The answer is a line with what
`launch` reports. Bytes that are not UTF-8 travel as surrogates.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from tests.programs.launch import observe


def serve(channel: socket.socket, program: Callable[[], NoReturn]) -> None:
    """Run `program`, which is what ends the process, for each request until there are no more."""
    lines = channel.makefile("rb")
    while True:
        byte, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
        if not byte:
            return
        asked = json.loads(lines.readline())
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            for standard, descriptor in enumerate(descriptors, 1):
                os.dup2(descriptor, standard)
            os.closerange(3, max(descriptors) + 1)
            os.environ.clear()
            os.environ.update(asked["env"])
            sys.argv = ["healthchecker", *asked["args"]]
            program()
        for descriptor in descriptors:
            os.close(descriptor)
        report = observe(pid, started, asked["timeout"])
        channel.sendall(json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    from healthchecker.__main__ import run

    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel, run)

#!/usr/bin/python -IS
"""The init program of a virtual machine: servers, and programs that check them.

/cases.json is a list of [name, arguments, limits]; a limit is the name of one of `resource` and a
number of bytes. Each outcome becomes a line: "outcome: " and [name, exit code, output, seconds] as
JSON. The wall clock jumps forward and back by an hour the whole time.
"""

import contextlib
import fcntl
import json
import mmap
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n" + b"x" * 199_997 + b"end"
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def loopback_up() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def serve(port: int, context: ssl.SSLContext | None = None) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=16)
    while True:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            connection = context.wrap_socket(peer, server_side=True) if context else peer
            connection.recv(65536)
            connection.sendall(_RESPONSE)
            connection.close()


def serve_silently(port: int) -> None:
    """Accept connections and send nothing."""
    with socket.create_server(("127.0.0.1", port), backlog=16):
        threading.Event().wait()


def set_clock() -> None:
    while True:
        for step in (3600, -3600):
            time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + step)
            threading.Event().wait(0.1)


def is_strict() -> bool:
    """Return whether the kernel promises no more memory than it has."""
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
            try:
                stack.enter_context(mmap.mmap(-1, size, mmap.MAP_PRIVATE))
            except OSError:
                return True
    return False


def report(what: str, values: list[object]) -> None:
    # The console may be in the middle of a line.
    sys.stdout.write(f"\n{what}: {json.dumps(values)}\n")
    sys.stdout.flush()


def main() -> None:
    os.environ["HEALTHCHECKER_TIMEOUT"] = "60"  # emulated processors are slow
    loopback_up()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("/chain.pem")
    threading.Thread(target=serve, args=(8080,), daemon=True).start()
    threading.Thread(target=serve, args=(8443, context), daemon=True).start()
    threading.Thread(target=serve_silently, args=(8082,), daemon=True).start()
    threading.Thread(target=set_clock, daemon=True).start()
    report("machine", [os.uname().release, os.sysconf("SC_PAGE_SIZE"), is_strict()])
    for name, arguments, limits in json.loads(Path("/cases.json").read_text()):

        def limit(limits: dict[str, int] = limits) -> None:
            for which, size in limits.items():
                resource.setrlimit(getattr(resource, which), (size, size))

        start = time.monotonic()
        done = subprocess.run(
            arguments,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=limit,
        )
        report("outcome", [name, done.returncode, done.stdout, time.monotonic() - start])
    os.sync()


main()
os._exit(0)  # without init, the kernel ends the machine

"""Runs command lines, each in a fork of an interpreter that has imported the program already.

The Python form without its start, which takes a hundred times as long as most command lines. Each
line of standard input is a JSON object with `args` and `env`; the answer is one with what
`Outcome` of `fuzzing_cli` has. Bytes that are not UTF-8 travel as surrogates.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
from typing import NoReturn

from healthchecker.__main__ import run


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(out_write, 1)
            os.dup2(err_write, 2)
            os.closerange(3, err_write + 1)
            become(request["args"], request["env"])
        os.close(out_write)
        os.close(err_write)
        stdout, stderr = read_all(out, err)
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps({"code": code, "stdout": stdout, "stderr": stderr}) + "\n")
        sys.stdout.flush()


def become(args: list[str], env: dict[str, str]) -> NoReturn:
    """Run the program as a process that was started with these."""
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["healthchecker", *args]
    run()


def read_all(*descriptors: int) -> list[str]:
    """Read several pipes to their ends at the same time, and close them."""
    data = dict.fromkeys(descriptors, b"")
    with selectors.DefaultSelector() as selector:
        for fd in descriptors:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 65536)
                data[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [one.decode(errors="surrogateescape") for one in data.values()]


if __name__ == "__main__":
    main()

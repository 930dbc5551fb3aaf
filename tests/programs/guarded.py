"""Run `python -m healthchecker`, but end it if it calls a function that the executable lacks.

    guarded.py LEFT-OUT [ARGUMENT]...
    guarded.py --serve LEFT-OUT DESCRIPTOR

LEFT-OUT is the list of functions that are left out of the saved heap. The interpreter of the build
runs this, with the packages of the executable. --serve runs it in forks; see `zygote`.
"""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

_ROOT = Path(__file__).parents[2]
_CALLED = 99
"""The exit code, which no check has."""


def guard(left_out: str) -> Callable[[], NoReturn]:
    """Return the program; it ends at a call of a function in LEFT-OUT."""
    # As in the build, everything is imported before functions are left out.
    places = ("build/packages", "binary/heap", "binary/heap/build", "")
    sys.path[:0] = [str(_ROOT / place) for place in places]
    __import__("warmup")
    from forget import forget  # noqa: PLC0415 - see above

    from healthchecker.__main__ import run  # noqa: PLC0415

    forget()
    names = set(Path(left_out).read_text().split())

    def called(code: CodeType, _offset: int) -> object:
        module = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - there is no public way
        name = f"{module}:{code.co_qualname}:{code.co_firstlineno}"
        if name in names:
            os.write(2, f"left out of the saved heap, but called: {name}\n".encode())
            os._exit(_CALLED)
        return monitoring.DISABLE  # once is enough

    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]  # Python 3.12
    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "guard")
    monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.PY_START, called)

    def program() -> NoReturn:
        monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.PY_START)
        run()

    return program


if sys.argv[1] == "--serve":
    _, _, left_out, descriptor = sys.argv
    sys.path.insert(0, str(_ROOT))
    from tests.programs.zygote import serve  # before the end of all imports

    program = guard(left_out)
    with socket.socket(fileno=int(descriptor)) as channel:
        serve(channel, program)
else:
    program = guard(sys.argv.pop(1))
    program()

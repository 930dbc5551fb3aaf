"""The executables on other kernels than that of the build machine, in virtual machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.support import ROOT, require
from tests.support.forms import EXECUTABLES, MACHINE, require_form

_MIB = 1 << 20
_INIT = ROOT / "tests/programs/init.py"
_MODULES = (
    "contextlib, fcntl, json, mmap, pathlib, resource, socket, ssl, subprocess, threading, time"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine."""

    architecture: str
    kernel: str
    """The end of the name of its kernel."""
    page_kib: int
    command: str
    console: str
    is_strict: bool = False
    """Whether the kernel promises no more memory than it has: vm.overcommit_memory=2."""
    cases_of_cold: int | None = None
    """How many; all of them would take minutes where this is set."""
    marks: tuple[pytest.MarkDecorator, ...] = ()


_ARM64 = "qemu-system-aarch64 -M virt -m 512 -cpu"
_ARM = "qemu-system-arm -M virt -m 512 -cpu cortex-a15"
_POWER = "qemu-system-ppc64 -M pseries -m 512"
_RISCV = "qemu-system-riscv64 -M virt -m 512"
MACHINES = [
    Machine("x86_64", "-cloud-amd64", 4, "qemu-system-x86_64 -cpu max -m 256", "ttyS0", True),
    Machine(
        *("aarch64", "-cloud-arm64", 4, f"{_ARM64} max,pauth-impdef=on", "ttyAMA0"),
        marks=(pytest.mark.nightly,),
    ),
    Machine("aarch64", "-arm64-16k", 16, f"{_ARM64} max,pauth-impdef=on", "ttyAMA0"),
    Machine("armv7l", "-armmp-lpae", 4, _ARM, "ttyAMA0", cases_of_cold=1),
    Machine("armv7l", "-cloud-arm64", 4, f"{_ARM64} cortex-a57", "ttyAMA0", cases_of_cold=1),
    Machine("ppc64le", "-powerpc64le", 4, _POWER, "hvc0", cases_of_cold=1),
    Machine("ppc64le", "-powerpc64le-64k", 64, _POWER, "hvc0", cases_of_cold=1),
    Machine("riscv64", "-riscv64", 4, _RISCV, "ttyS0", cases_of_cold=1),
]


@dataclass(frozen=True, slots=True)
class Case:
    """A check of the servers of `init.py`."""

    name: str
    args: str
    code: int = 0
    output: str = ""
    limits: tuple[tuple[str, int], ...] = ()
    seconds: float = 200
    """How long it may take on an emulated processor of a loaded machine."""


# Large blocks, the stack and the program's segments consist of pages.
CASES = [
    Case("a service", "--port 8080"),
    Case("a large block", "--port 8080 --expect-body end"),
    Case("nothing", "--port 8081", 1, ": connection_refused: "),
    Case("silence", "--timeout 2s http://127.0.0.1:8082", 1, ": timeout: ", seconds=20),
    Case(
        "silence on threads",
        "wait --deadline 4s --timeout 2s http://127.0.0.1:8082 tcp://127.0.0.1:8081",
        1,
        ": timeout: ",
        seconds=20,
    ),
    Case("https", "--cacert /ca.pem https://127.0.0.1:8443/"),
    Case("several targets", "http://127.0.0.1:8080/ --cacert /ca.pem https://127.0.0.1:8443/"),
    Case("a small stack", "--port 8080", limits=(("RLIMIT_STACK", _MIB // 4),)),
    # Some kernels then map from the bottom up, and so might the heap's addresses be taken.
    Case("any stack", "--port 8080", limits=(("RLIMIT_STACK", -1),)),
    Case("little address space", "--port 8080", limits=(("RLIMIT_AS", 256 * _MIB),)),
]


def static_busybox() -> str:
    for candidate in ("/bin/busybox", "/usr/bin/busybox"):
        if Path(candidate).exists():
            kind = subprocess.run(["ldd", candidate], capture_output=True, check=False)
            if kind.returncode != 0:
                return candidate
    return ""


def interpreter_files(architecture: str) -> Iterator[tuple[Path, str]]:
    """Yield names and paths of the build's interpreter and of the modules for init.py."""
    build = ROOT / "build" / architecture
    yield build / "python/python", "usr/bin/python"
    library = ROOT / "build" / MACHINE / "python/source/Lib"
    files = "[getattr(module, '__file__', '') for module in sys.modules.values()]"
    lines = f"import sys, {_MODULES}\nprint(*{files}, sep='\\n')"
    listed = subprocess.run(
        [library.parents[1] / "python", "-IS", "-c", lines],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in {*map(Path, listed.split()), library / "os.py"}:
        if name.is_relative_to(library):
            yield name, f"usr/lib/python3.13/{name.relative_to(library)}"


def initrd(folder: Path, files: dict[str, Path]) -> Path:
    """Pack files under their names in the machine."""
    busybox = static_busybox()
    require(busybox, "no static busybox")
    root = folder / "root"
    for name, file in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / name)
    (root / "usr/lib/python3.13/lib-dynload").mkdir()  # or the interpreter warns that it is missing
    (root / "init").chmod(0o755)
    archive = subprocess.run(
        [busybox, "cpio", "-o", "-H", "newc"],
        cwd=root,
        input="\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*"))).encode(),
        capture_output=True,
        check=True,
    ).stdout
    packed = folder / "initrd"
    packed.write_bytes(archive)
    return packed


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(machine, id=machine.architecture + machine.kernel, marks=machine.marks)
        for machine in MACHINES
        if machine.architecture in EXECUTABLES
    ],
)
def test_on_another_kernel(machine: Machine, tmp_path: Path) -> None:
    forms = dict(zip(("cold", "saved"), EXECUTABLES[machine.architecture], strict=True))
    for form in forms.values():
        require_form(form)
    kernels = sorted((ROOT / "build/kernel").glob(f"vmlinuz-*{machine.kernel}"))
    require(kernels, "no kernel: run scripts/kernel")
    emulator, *options = machine.command.split()
    require(shutil.which(emulator), f"no {emulator}")

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "chain.pem")
    chosen = {"cold": CASES[: machine.cases_of_cold], "saved": CASES}
    cases = {f"{name}, {case.name}": (name, case) for name in forms for case in chosen[name]}
    (tmp_path / "cases.json").write_text(
        json.dumps(
            [
                [key, [f"/{name}", *case.args.split()], dict(case.limits)]
                for key, (name, case) in cases.items()
            ]
        )
    )
    files = {name: file for file, name in interpreter_files(machine.architecture)}
    files |= {name: Path(form.argv[-1]) for name, form in forms.items()}
    files |= {name: tmp_path / name for name in ("ca.pem", "chain.pem", "cases.json")}
    packed = initrd(tmp_path, {**files, "init": _INIT})
    parameters = f"console={machine.console} quiet panic=-1"
    if machine.is_strict:
        parameters += " sysctl.vm.overcommit_memory=2 sysctl.vm.overcommit_ratio=75"
    ran = subprocess.run(
        [
            *(emulator, *options, "-nographic", "-no-reboot", "-net", "none"),
            *("-kernel", str(kernels[-1]), "-initrd", str(packed), "-append", parameters),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=1200,  # 40 s of CPU time, on a loaded machine
        check=True,
    )
    said = ran.stdout.decode("ascii", "replace").replace("\r", "")
    booted = re.search(r"^machine: (.*)", said, re.MULTILINE)
    assert booted, said
    release, page, is_strict = json.loads(booted[1])
    assert release != os.uname().release
    assert (page, is_strict) == (machine.page_kib * 1024, machine.is_strict)
    outcomes = {
        name: outcome
        for name, *outcome in map(json.loads, re.findall(r"^outcome: (.*)", said, re.MULTILINE))
    }
    for key, (_, case) in cases.items():
        code, output, seconds = outcomes[key]
        assert code == case.code, (key, output)
        assert seconds < case.seconds, (key, seconds, output)
        assert case.output in output if case.output else output == "", (key, output)

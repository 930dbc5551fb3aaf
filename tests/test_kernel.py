"""The executables on another kernel than the one that they were built on, in a virtual machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT, require
from tests.support.forms import COLD, SAVED, require_form

_INIT = """#!/busybox sh
/busybox ifconfig lo 127.0.0.1 up
/busybox mkdir /www
/busybox touch /www/health
/busybox httpd -p 127.0.0.1:8080 -h /www
echo "kernel $(/busybox uname -r)"
for form in cold saved; do
    /$form --port 8080; echo "$form of a service: $?"
    /$form --port 8081; echo "$form of nothing: $?"
done
/busybox poweroff -f
"""


def static_busybox() -> str:
    for candidate in ("/bin/busybox", "/usr/bin/busybox"):
        if Path(candidate).exists():
            kind = subprocess.run(["ldd", candidate], capture_output=True, check=False)
            if kind.returncode != 0:
                return candidate
    return ""


def test_on_another_kernel(tmp_path: Path) -> None:
    for form in (COLD, SAVED):
        require_form(form)
    kernels = sorted((ROOT / "build/kernel").glob("vmlinuz-*"))
    require(kernels, "no kernel: run scripts/kernel")
    require(shutil.which("qemu-system-x86_64"), "no qemu-system-x86_64")
    busybox = static_busybox()
    require(busybox, "no static busybox")

    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(busybox, root / "busybox")
    shutil.copy(COLD.argv[0], root / "cold")
    shutil.copy(SAVED.argv[0], root / "saved")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    files = "\n".join(path.name for path in root.iterdir())
    archive = subprocess.run(
        [busybox, "cpio", "-o", "-H", "newc"],
        cwd=root,
        input=files.encode(),
        capture_output=True,
        check=True,
    ).stdout
    (tmp_path / "initrd").write_bytes(archive)
    machine = subprocess.run(
        [
            "qemu-system-x86_64",
            "-nographic",
            "-no-reboot",
            "-net",
            "none",
            "-m",
            "256",
            "-kernel",
            str(kernels[-1]),
            "-initrd",
            str(tmp_path / "initrd"),
            "-append",
            "console=ttyS0 quiet panic=-1",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
    )
    said = machine.stdout.decode("ascii", "replace").replace("\r", "")
    booted = re.search(r"kernel (\S+)", said)
    assert booted, said
    assert booted[1] != os.uname().release
    for name in ("cold", "saved"):
        assert f"{name} of a service: 0\n" in said, said
        assert f"{name} of nothing: 1\n" in said, said
    assert said.count("unhealthy: http://127.0.0.1:8081/health: connection_refused") == 2

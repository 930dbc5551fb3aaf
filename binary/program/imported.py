"""Print the Python modules that the program imports, one per line, for the executable.

    imported.py PATH...    with PATHs to import from; run by the build's own interpreter

Fails if any of these modules has an import of another module, even a late one, unless modules-
never.txt lists it with the reason why it never happens or need not succeed.
"""

import dis
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType

NEVER = Path(__file__).with_name("modules-never.txt")


def code_of(module: ModuleType) -> CodeType | None:
    spec = module.__spec__
    loader = spec.loader if spec else None
    get_code = getattr(loader, "get_code", None)
    code = get_code(spec.name) if spec and get_code else None
    return code if isinstance(code, CodeType) else None


def imports_of(code: CodeType, package: str) -> Iterator[str]:
    """Yield `module` or `module:name` for every import statement in `code`, run or not."""
    constants: list[object] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_CONST":
            constants.append(instruction.argval)
        elif instruction.opname == "IMPORT_NAME":
            level, names = constants[-2:]
            dots = "." * level if isinstance(level, int) else ""
            name = importlib.util.resolve_name(dots + instruction.argval, package)
            yield name
            if isinstance(names, tuple):
                yield from (f"{name}:{attribute}" for attribute in names if attribute != "*")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from imports_of(constant, package)


def is_there(imported: str) -> bool:
    name, _, attribute = imported.partition(":")
    module = sys.modules.get(name)
    if module is None:
        return False
    return not attribute or hasattr(module, attribute) or f"{name}.{attribute}" in sys.modules


def main(paths: list[str]) -> int:
    sys.path[:0] = paths
    __import__("healthchecker.__main__")
    __import__("warmup")
    lines = (line.partition("#")[0].split() for line in NEVER.read_text().splitlines())
    never = {line[0] for line in lines if line}
    modules = {name: module for name, module in sys.modules.items() if name != "__main__"}
    missing: dict[str, list[str]] = {}
    kept = []
    for name, module in sorted(modules.items()):
        code = code_of(module)
        if code is None or getattr(module.__spec__, "name", "") != name:
            continue  # built in, or an alias of another module
        kept.append(name)
        for imported in imports_of(code, getattr(module, "__package__", None) or ""):
            target = imported.partition(":")[0]
            parents = [target.rsplit(".", n)[0] for n in range(target.count(".") + 1)]
            if not is_there(imported) and not never & {imported, *parents}:
                missing.setdefault(imported, []).append(name)
    for imported, names in sorted(missing.items()):
        print(f"not in the executable: {imported}, by {' '.join(names)}", file=sys.stderr)
    print("\n".join(kept))
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The import rules of the design: an arrow points down the floors or stays in its folder, and there is no circle."""

import ast
import subprocess
import sys
from pathlib import Path

import likewise

ROOT = Path(likewise.__file__).parent
#: every folder and every module of the root, from the bottom up; parts of one floor do not import each other
FLOORS = (
    ("errors", "version"),
    ("spaces", "draws", "catalog"),
    ("config", "assemble"),
    ("data",),
    ("modalities",),
    ("backbones", "classical"),
    ("metrics",),
    ("families",),
    ("training", "sampling", "quality"),
    ("runs",),
    ("planning",),
    ("report",),
    ("explain", "export"),
    ("verbs",),
    ("cli",),
    ("__init__", "__main__"),
)
#: the abstract classes of each kind of part, which settings and assembly are written against
BASES = {"modalities.base", "backbones.base", "families.base"}
HEIGHT = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


FILES = {module(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "likewise":
            base = (node.module or "").removeprefix("likewise").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in FILES else base for name in names}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("likewise.") for a in node.names if a.name.split(".")[0] == "likewise"}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: import by the whole name"
    return {f"{name or ''}.__init__".lstrip(".") if name not in FILES else name for name in found} - {module(path)}


GRAPH = {name: imports(path) for name, path in FILES.items()}


def test_every_folder_and_root_module_has_a_floor():
    parts = {name.split(".")[0] for name in FILES}
    assert parts == set(HEIGHT)
    assert sum(map(len, FLOORS)) == len(HEIGHT)


def test_every_import_is_of_a_file_that_is_there():
    assert set().union(*GRAPH.values()) <= set(FILES)


def up() -> set[tuple[str, str]]:
    """The arrows that point up, or aside to another part of the same floor."""
    found = set()
    for name, used in GRAPH.items():
        part = name.split(".")[0]
        for other in used:
            there = other.split(".")[0]
            contract = part in ("config", "assemble") and other in BASES
            if part != there and HEIGHT[there] >= HEIGHT[part] and not contract:
                found.add((name, other))
    return found


def test_no_arrow_points_up():
    assert up() == set()


def circles() -> list[list[str]]:
    """The sets of files that import each other, directly or by way of others (Tarjan's strong components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for used in GRAPH[name]:
            if used not in order:
                visit(used)
                low[name] = min(low[name], low[used])
            elif used in stack:
                low[name] = min(low[name], order[used])
        if low[name] == order[name]:
            ring = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            found.extend([sorted(ring)] if len(ring) > 1 else [])

    for name in GRAPH:
        if name not in order:
            visit(name)
    return found


def test_there_is_no_circle():
    assert circles() == []


def test_help_loads_no_torch():
    code = "import sys, likewise, likewise.cli\nlikewise.cli.entry.build_parser()\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

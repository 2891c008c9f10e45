"""The rooms of docs/architecture.md that are pure touch no disk, network or process."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tools" / "helioimages"
#: Rooms of which every module is a function of its arguments, but for those named.
PURE = {"core": {"files", "http", "progress", "rows"}, "spec": set()}
#: Pure modules of rooms that touch the disk elsewhere.
ALSO = (
    "make/plan.py",
    "make/labels.py",
    *(f"works/{name}.py" for name in ("citation", "crate", "datacite", "documents", "shown", "spase", "work")),
)
IO = {"subprocess", "socket", "requests", "shutil", "tempfile", "urllib.request", "os", "fcntl", "docker"}
#: What opens a file of a path that it is given.
OPENS = {
    "open",
    "read_text",
    "read_bytes",
    "write_text",
    "write_bytes",
    "iterdir",
    "glob",
    "rglob",
    "is_file",
    "exists",
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.relative_to(PACKAGE).as_posix())
        for path in (
            *(PACKAGE / name for name in ALSO),
            *(
                path
                for room, others in PURE.items()
                for path in sorted((PACKAGE / room).glob("*.py"))
                if path.stem not in others
            ),
        )
    ],
)
def test_a_pure_module_touches_nothing(path):
    tree = ast.parse(path.read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
    called = {node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "attr")}
    called |= {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")}
    assert imported & IO == set()
    assert called & OPENS == set()

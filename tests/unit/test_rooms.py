"""The rooms of docs/architecture.md: imports point down, and the rooms of row 1 do not know each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "tools" / "helioimages"
ROW_0 = {"errors", "digest", "entries"}
ROOMS = ("conda", "pypi", "debian", "oci")
PURE = {"reading", "yanked", "spec", "plan", "render", "tags", "recipes", "lockdiff", "hubspec", "cuda"}


def imported(path: Path) -> set[str]:
    """Return the project's modules that a file imports, as dotted names below the package."""
    package = path.relative_to(SOURCE).parent.parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            base = [part for part in base if part]
            found |= {".".join(base)} if node.module else {".".join([*base, alias.name]) for alias in node.names}
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_row_0_and_itself(room):
    for path in (SOURCE / room).glob("*.py"):
        for name in imported(path):
            top = name.split(".")[0]
            assert top in ROW_0 or top == room, f"{path.name} of {room} imports {name}"


def test_row_0_knows_nothing_but_itself():
    for name in ROW_0:
        assert imported(SOURCE / f"{name}.py") <= ROW_0


def test_pure_modules_import_no_io():
    for name in PURE:
        tops = {found.split(".")[0] for found in imported(SOURCE / f"{name}.py")}
        assert tops <= ROW_0 | PURE | {"progress"}, f"{name} imports {tops}"
        text = (SOURCE / f"{name}.py").read_text()
        for module in ("subprocess", "socket", "requests"):
            assert f"import {module}" not in text, f"{name} imports {module}"

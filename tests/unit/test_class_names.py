"""Names can be searched: no two classes share one, nor one but for an underscore, and locals say what they are."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "tools" / "helioimages"


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def test_no_two_classes_share_a_name():
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert len(places) > 200
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


#: What runs inside of builders: their key is made of its text.
GUESTS = {"make/wheels_guest.py"}


def locals_of(tree: ast.AST) -> set[str]:
    """Return what the functions of a module bind; fields of classes are no locals."""
    functions = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    )
    nodes = [node for function in functions for node in ast.walk(function)]
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {node.arg for node in nodes if isinstance(node, ast.arg)}


def test_no_local_is_called_one_or_found():
    names = {path: locals_of(tree) for path, tree in trees().items()}
    nameless = {path.relative_to(PACKAGE).as_posix() for path, told in names.items() if told & {"one", "found"}}
    assert nameless == GUESTS

"""The rooms of docs/architecture.md that are pure touch no disk, network or process; functions are of six words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "tools" / "helioimages"
#: Rooms of which every module is a function of its arguments, but for those named.
PURE = {"core": {"files", "http", "progress"}, "spec": set()}
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


#: So many parameters a function may have, `self` apart; a frozen value says more of what belongs together.
MOST = 6
_CLICK = "click gives each option of a verb by its name"
_HEADER = "a field of a ustar header each, in its order"
#: Reviewed: function -> why it has more.
LONG = {
    "verbs/audit.py audit": _CLICK,
    "verbs/catalogue.py catalogue": _CLICK,
    "verbs/cite.py cite": _CLICK,
    "verbs/extend.py extend": _CLICK,
    "verbs/hub.py hub": _CLICK,
    "verbs/import_.py import_": _CLICK,
    "verbs/profiles.py profiles": _CLICK,
    "verbs/publish_work.py publish_work": _CLICK,
    "verbs/run.py run": _CLICK,
    "verbs/smoke.py smoke": _CLICK,
    "verbs/verify.py verify": _CLICK,
    "oci/layer.py _block": _HEADER,
}


def parameters(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Yield the functions below a node, those of classes and functions too, and how many parameters each has."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            words = [word.arg for word in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)]
            yield prefix + child.name, len(words) - (words[:1] in (["self"], ["cls"]))
        name = getattr(child, "name", "")
        yield from parameters(child, f"{prefix}{name}." if name else prefix)


def test_no_function_has_more_parameters_than_one_keeps_in_mind():
    """Who mends one takes it off the list; who adds one asks first whether a value is hidden in it."""
    names = {
        f"{path.relative_to(PACKAGE).as_posix()} {name}"
        for path in PACKAGE.rglob("*.py")
        for name, count in parameters(ast.parse(path.read_text("utf-8")))
        if count > MOST
    }
    assert names == set(LONG)


def test_parameters_are_counted_without_self():
    code = "class A:\n def f(self, a, /, b, *c, d, **e):\n  async def g(x): pass\nif 1:\n def h(cls, y): pass\n"
    assert dict(parameters(ast.parse(code))) == {"A.f": 3, "A.f.g": 1, "h": 1}

"""How the code is written. Names can be searched: no two classes share one, nor one but for an underscore, and locals
say what they are; functions are of six words.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
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
        for path, tree in trees().items()
        for name, count in parameters(tree)
        if count > MOST
    }
    assert names == set(LONG)


def test_parameters_are_counted_without_self():
    code = "class A:\n def f(self, a, /, b, *c, d, **e):\n  async def g(x): pass\nif 1:\n def h(cls, y): pass\n"
    assert dict(parameters(ast.parse(code))) == {"A.f": 3, "A.f.g": 1, "h": 1}

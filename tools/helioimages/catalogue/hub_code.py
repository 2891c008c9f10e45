"""Images that are named by Python inside Helm values: ``extraConfig`` of JupyterHub and of Dask Gateway. Pure.

The code is read, never run. An image is the value of a key ``image``, what is assigned to an attribute ``image``, and
the default and the choices of a cluster's option ``image``. What is put together at run time is not seen; containers
that stand beside users' are left out.

Spec: dask-gateway-server, ``Options``, ``String``, ``Select``; KubeSpawner, ``profile_list``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_NAME = "image"
#: Keys of a whole container, as Kubernetes has it: such a one is the admin's.
_CONTAINER = {"command", "args", "securityContext", "volumeMounts"}
#: A reference with a tag or a digest; other texts of code are not taken for one.
_REFERENCE = re.compile(r"[\w.-]+(?::\d+)?(?:/[\w.-]+)*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?")


def images(code: str) -> tuple[str, ...]:
    """Return the images that a piece of Python names, each once; none of what is not Python."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    lists = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    texts = [text for node in ast.walk(tree) for value in _values(node) for text in _texts(value, lists)]
    return tuple(dict.fromkeys(text for text in texts if _is_reference(text)))


def _values(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node gives to something that is called ``image``."""
    if isinstance(node, ast.Dict):
        if _CONTAINER & {key.value for key in node.keys if isinstance(key, ast.Constant)}:
            return
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == _NAME:
                yield value
    elif isinstance(node, ast.Assign):
        if any(isinstance(target, ast.Attribute) and target.attr == _NAME for target in node.targets):
            yield node.value
    elif isinstance(node, ast.Call):
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and first.value == _NAME:
            yield from node.args[1:]
            yield from (word.value for word in node.keywords if word.arg in ("default", "options"))


def _texts(value: ast.expr, lists: dict[str, ast.expr]) -> Iterator[str]:
    """Yield the texts of a value: itself, what a list holds, or what a name of the code stands for."""
    if isinstance(value, ast.Name):
        value = lists.get(value.id, value)
    elements = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    for element in elements:
        # A choice of a Select is a text, or its label and a text.
        last = element.elts[-1] if isinstance(element, ast.Tuple) and element.elts else element
        if isinstance(last, ast.Constant) and isinstance(last.value, str):
            yield last.value


def _is_reference(text: str) -> bool:
    return (":" in text or "@" in text) and _REFERENCE.fullmatch(text) is not None

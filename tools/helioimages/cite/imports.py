"""The modules that a notebook imports, those of files beside it with them. Pure but for ``read``.

Spec: nbformat 4; IPython, "Magic functions".
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator

from ..core.errors import HelioError, Stage
from ..core.reading import Form, load_json

#: Returns the text of a file beside the notebook, None if there is none.
Read = Callable[[str], str | None]

#: Cell magics whose cell is Python.
_PYTHON_CELLS = frozenset(("time", "timeit", "capture", "prun", "memit", "mprun"))
_FORM = Form(
    stage=Stage.USAGE,
    message="`{file}` is not a notebook",
    hint="expected JSON with cells (nbformat 4)",
    comma=False,
    null_is_absent=True,
    json=True,
)
_LINE = re.compile(r"^(?P<indent>\s*)(?P<left>[\w, ]+=\s*)?(?P<mark>[%!]|\?)(?P<rest>.*)$")
_IMPORT = re.compile(r"^\s*(?:import|from)\s+([A-Za-z_][\w.]*)", re.MULTILINE)


def of_notebook(text: str | bytes, where: str, read: Read = lambda name: None) -> frozenset[str]:
    """Return the dotted names of imported modules, without Python's own.

    Args:
        read: gives files beside the notebook: what they import counts, they themselves do not.

    Raises:
        HelioError: it is no notebook, or one of another language.
    """
    document = load_json(text, where, _FORM)
    language = document.table("metadata").table("kernelspec").text("language", "python")
    cells = document.tables("cells", required=True)
    sources = [cell.multiline("source") for cell in cells if cell.text("cell_type") == "code"]
    if language.lower() != "python":
        raise HelioError(
            Stage.USAGE,
            f"`{where}` is a notebook of {language}",
            detail="expected Python: what other languages load is not read",
            hint="leave --notebook out: all software of the image is cited then",
        )
    imported: set[str] = set()
    for source in sources:
        imported |= _of_code(_plain(source, imported))
    return _followed(imported, read)


def _followed(names: set[str], read: Read) -> frozenset[str]:
    """Return names with what files beside the notebook import, without the names of these files."""
    kept: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        text = next((text for file in (f"{top}.py", f"{top}/__init__.py") if (text := read(file)) is not None), None)
        if text is None:
            kept.add(name)
        elif top not in seen:
            seen.add(top)
            waiting += _of_code(text)
    return frozenset(kept)


def _plain(source: str, loaded: set[str]) -> str:
    """Return a cell as Python: magics are left out; what they load is added to ``loaded``."""
    first = source.lstrip()
    if first.startswith("%%"):
        head, _, rest = first.partition("\n")
        if head[2:].split(" ")[0] not in _PYTHON_CELLS:
            return ""
        source = rest
    lines = []
    for line in source.split("\n"):
        match = _LINE.match(line)
        if match is None:
            lines.append(line)
            continue
        words = match["rest"].split()
        if match["mark"] == "%" and words[:1] == ["load_ext"] and len(words) == 2:
            loaded.add(words[1])
        elif match["mark"] == "%" and words[:1] == ["matplotlib"]:
            loaded.add("matplotlib")
        lines.append(f"{match['indent']}{match['left'] or ''}None")
    return "\n".join(lines)


def _of_code(code: str) -> set[str]:
    """Return the modules that code imports anywhere in it; of what does not parse, those that lines name."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return set(_IMPORT.findall(code))
    return set(_of_tree(tree))


def _of_tree(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module, too: of a namespace only that says whose it is.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            value = first.value if isinstance(first, ast.Constant) else None
            if called in ("import_module", "__import__") and isinstance(value, str) and not value.startswith("."):
                yield value

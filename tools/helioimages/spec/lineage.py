"""The order of environments and images that their parents give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import HelioError, Stage


def lineage(specs: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return a spec and its ancestors, the oldest first."""
    line = []
    at: str | None = name
    while at is not None:
        line.append(specs[at])
        at = specs[at].parent
    return tuple(reversed(line))


def parents_first(specs: dict[str, Any], file: str, key: str, folder: str) -> dict[str, Any]:
    """Return the specs so ordered that parents come before their children.

    Args:
        file, key, folder: how errors call the place that names the parent.

    Raises:
        HelioError: a parent is missing, or its own ancestor.
    """
    ordered: dict[str, Any] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in ordered:
            return
        where = f"{folder}/{path[-1] if path else name}/{file} at {key}"
        if name in path:
            raise HelioError(
                Stage.SPEC, f"`{name}` is its own ancestor", where=where, detail=" -> ".join((*path, name))
            )
        if name not in specs:
            raise HelioError(
                Stage.SPEC, f"there is no `{name}`", where=where, detail=f"expected one of: {', '.join(specs)}"
            )
        if specs[name].parent is not None:
            visit(specs[name].parent, (*path, name))
        ordered[name] = specs[name]

    for name in specs:
        visit(name, ())
    return ordered

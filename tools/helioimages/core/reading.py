"""Typed reading of parsed documents: every error names the file and the key.

A `Table` hands out each key once; `done()` then refuses what nobody asked for, so that a misspelt key is never ignored.
"""

from __future__ import annotations

import datetime
from collections.abc import Hashable, Mapping
from typing import Any

import yaml

from .errors import HelioError, Stage


class Table:
    """A mapping of a document, read key by key.

    Args:
        value: the parsed mapping.
        file: shown in errors, relative to the checkout.
        key: where in the file, e.g. ``x-helioimages.build``; empty for the document itself.
    """

    def __init__(self, value: Any, file: str, key: str = "", stage: Stage = Stage.SPEC) -> None:
        self.file, self.key, self.stage = file, key, stage
        if not isinstance(value, Mapping):
            raise self.error("", f"expected a mapping, not {_kind(value)}")
        self._left = dict(value)

    def error(self, name: str, detail: str, message: str = "", hint: str = "") -> HelioError:
        """Return an error that points at ``name`` of this table."""
        key = ".".join(part for part in (self.key, name) if part) or "the top level"
        return HelioError(
            self.stage, message or f"cannot read `{self.file}`", where=f"{self.file} at {key}", detail=detail, hint=hint
        )

    def take(self, name: str, kind: type, default: Any = ...) -> Any:
        """Return the value of a key, checked; without a default the key must be there."""
        if name not in self._left:
            if default is ...:
                raise self.error(name, "expected this key, found nothing")
            return default
        value = self._left.pop(name)
        # bool is an int in Python, and `yes` where a number belongs is a mistake worth naming.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(name, f"expected {_NAMES[kind]}, not {_kind(value)}: {value!r}")
        return value

    def strings(self, name: str, default: tuple[str, ...] | Any = ()) -> tuple[str, ...]:
        """Return a list of strings as a tuple."""
        values = self.take(name, list, default)
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{name}[{index}]", f"expected a string, not {_kind(value)}: {value!r}")
        return tuple(values)

    def mapping(self, name: str) -> dict[str, str]:
        """Return a mapping of strings to strings; absent means empty."""
        values = self.take(name, dict, {})
        for key, value in values.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise self.error(f"{name}.{key}", f"expected a string, not {_kind(value)}: {value!r}")
        return dict(values)

    def table(self, name: str, *, required: bool = False) -> Table:
        """Return a nested table; absent means empty unless required."""
        value = self.take(name, dict) if required else self.take(name, dict, {})
        return Table(value, self.file, ".".join(part for part in (self.key, name) if part), self.stage)

    def names(self) -> tuple[str, ...]:
        """Return the keys not taken yet."""
        return tuple(self._left)

    def done(self) -> None:
        """Refuse the keys that nobody took."""
        if self._left:
            name = next(iter(self._left))
            raise self.error(
                str(name), "this key is not understood", hint=f"see docs/reference.md for the keys of {self.file}"
            )


def load_yaml(text: str, file: str, stage: Stage = Stage.SPEC) -> Any:
    """Parse YAML, refusing duplicate keys, which YAML forbids and PyYAML lets pass."""
    try:
        return yaml.load(text, Loader=_Strict)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise HelioError(stage, f"cannot read `{file}`", where=f"{file}{line}", detail=problem) from error


class _Strict(yaml.SafeLoader):
    pass


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                problem="a list or a mapping as a key", problem_mark=key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(problem=f"duplicate key {key!r}", problem_mark=key_node.start_mark)
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a mapping",
    datetime.date: "a date",
}


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return _NAMES.get(type(value), f"a {type(value).__name__}")

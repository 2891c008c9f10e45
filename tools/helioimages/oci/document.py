"""Reading JSON documents key by key: every error names the key path, and null counts as absent, as Docker writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..core.digest import is_digest
from ..core.errors import HelioError, Stage


def load(data: bytes, where: str) -> Any:
    """Parse JSON, refusing what two readers may read differently.

    Raises:
        HelioError: not JSON, or a key twice in one object.
    """
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise HelioError(
            Stage.BUILD, f"cannot read an OCI document of {len(data)} bytes", where=where, detail=f"not JSON: {error}"
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Two readers that pick different ones of two equal keys see two different images.
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return table


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "true or false", int: "a whole number"}


class Node:
    """A JSON object.

    Args:
        value: what was parsed; anything but an object is refused.
        where: its key path, for errors.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise HelioError(
                Stage.BUILD, "malformed OCI document", where=where, detail=f"expected an object not {_kind(value)}"
            )
        self._value, self.where = value, where

    def fault(self, key: str, detail: str) -> HelioError:
        """Return an error that points at a key."""
        return HelioError(Stage.BUILD, "malformed OCI document", where=f"{self.where}.{key}", detail=detail)

    def get(self, key: str, kind: type) -> Any:
        """Return a value of one type, None when it is absent."""
        value = self._value.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise self.fault(key, f"expected {_NAMES[kind]} not {_kind(value)}")
        return value

    def must(self, key: str, kind: type) -> Any:
        """Return a value of one type that has to be there."""
        if (value := self.get(key, kind)) is None:
            raise self.fault(key, f"expected {_NAMES[kind]}, found nothing")
        return value

    def text(self, key: str, *, required: bool = True) -> str:
        """Return a string, empty when it may be absent and is."""
        return self.must(key, str) if required else self.get(key, str) or ""

    def number(self, key: str) -> int:
        """Return a whole number."""
        return self.must(key, int)

    def digest(self, key: str) -> str:
        """Return a sha256 digest."""
        return self.check_digest(self.text(key), key)

    def check_digest(self, text: str, key: str) -> str:
        """Return ``text`` if it is a sha256 digest."""
        if not is_digest(text):
            raise self.fault(key, f"expected sha256:<64 hex digits> not {text!r}")
        return text

    def strings(self, key: str) -> tuple[str, ...] | None:
        """Return a list of strings, None when it is absent."""
        values = self.get(key, list)
        for index, value in enumerate(values or ()):
            if not isinstance(value, str):
                raise self.fault(f"{key}[{index}]", f"expected a string not {_kind(value)}")
        return None if values is None else tuple(values)

    def texts(self, key: str) -> Mapping[str, str]:
        """Return a mapping of strings to strings, empty when it is absent."""
        values = self.get(key, dict)
        for name, value in (values or {}).items():
            if not isinstance(value, str):
                raise self.fault(f"{key}[{json.dumps(name)}]", f"expected a string not {_kind(value)}")
        return dict(values or {})


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return _NAMES.get(type(value), f"a {type(value).__name__}")

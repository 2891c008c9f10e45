"""How input is broken: bytes flipped, cut, moved and repeated; values of documents swapped for hostile ones."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser: ``good`` is valid input, ``inputs`` gives broken input, ``feed`` parses it."""

    name: str
    good: bytes
    inputs: st.SearchStrategy[bytes]
    feed: Callable[[bytes], None]


TOKENS = (
    b"\0",
    b"..",
    b"/",
    b"\xff\xfe",
    b"{",
    b"[" * 50,
    b'"',
    b"\n",
    b"-1",
    b"99999999999999999999",
    b"PK\5\6",
    b"../",
)
SCALARS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**40,
    1.5,
    float("inf"),
    "",
    " ",
    "\0",
    "../../etc/passwd",
    "/etc/passwd",
    "a/../b",
    "\udcff",
    "CON",
    "x" * 5000,
    "é",
    "${HOME}",
    "sha256:" + "0" * 64,
    "0" * 64,
    "python",
    "1" * 5000,
    [],
    {},
    [None],
    {"": None},
    {"a": {"b": []}},
    [[[[[[]]]]]],
    datetime.date(2026, 1, 1),
)

_places = st.floats(0, 1, allow_nan=False)
_cuts = st.tuples(st.sampled_from(("flip", "cut", "insert", "repeat", "end", "random")), _places, st.integers(0, 255))
byte_edits = st.lists(_cuts, min_size=1, max_size=5)
_swaps = st.tuples(st.sampled_from(("swap", "drop", "copy", "key")), st.integers(0, 10**6), st.sampled_from(SCALARS))
tree_edits = st.lists(_swaps, min_size=1, max_size=3)


def broken_bytes(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    """Return ``data`` after edits."""
    for kind, place, number in edits:
        at = int(place * len(data))
        if kind == "flip" and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (number or 1)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + 1 + number :]
        elif kind == "insert":
            data = data[:at] + TOKENS[number % len(TOKENS)] + data[at:]
        elif kind == "repeat":
            data = data[: at + number] + data[at:]
        elif kind == "end":
            data = data[:at]
        elif kind == "random":
            data = data[:at] + bytes((number * 7 + i * 13) % 256 for i in range(number % 32)) + data[at:]
    return data


def broken_tree(tree: Any, edits: list[tuple[str, int, Any]]) -> Any:
    """Return a copy of a document (mappings, lists, scalars) after edits."""
    tree = copy.deepcopy(tree)
    for kind, number, value in edits:
        spots = list(_spots(tree))
        if not spots:
            return value
        holder, key = spots[number % len(spots)]
        if kind == "swap":
            holder[key] = copy.deepcopy(value)
        elif kind == "drop":
            del holder[key]
        elif kind == "copy" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif kind == "key" and isinstance(holder, dict):
            holder[value if isinstance(value, str) else "unknown"] = holder.pop(key)
    return tree


def _spots(tree: Any):
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _spots(value)


def edited(data: bytes, to_tree: Callable[[bytes], Any] | None, to_bytes: Callable[[Any], bytes] | None):
    """Return a strategy of broken forms of one valid input: of its bytes, and of its document where it is one."""
    ways = [byte_edits.map(lambda edits: broken_bytes(data, edits))]
    if to_tree and to_bytes:
        tree = to_tree(data)

        def swapped(edits: list) -> bytes:
            try:
                return to_bytes(broken_tree(tree, edits))
            except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
                # Some formats cannot say some values.
                return broken_bytes(data, [("flip", 0.5, 1)])

        ways.append(tree_edits.map(swapped))
    return st.one_of(ways)


def broken(data: bytes, to_tree: Any = None, to_bytes: Any = None) -> dict[str, Any]:
    """Return a target's ``good`` and ``inputs``; see `edited`."""
    return {"good": data, "inputs": edited(data, to_tree, to_bytes)}


def to_json(tree: Any) -> bytes:
    """Return a document as JSON, surrogates and all."""
    return json.dumps(tree, default=str).encode("utf-8", "surrogatepass")

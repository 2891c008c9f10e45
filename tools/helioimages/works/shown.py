"""What an executed notebook shows, cell by cell, to be kept and to be compared with another run. Pure.

Two runs are compared with tolerance 0. What differs between any two runs is left out of it: warnings (stderr), HTML
views of what is there as text, and the places of objects in memory. A cell that says so, by the tag
``nbval-ignore-output`` or a line ``# NBVAL_IGNORE_OUTPUT``, is not compared.

Spec: nbformat 4.5, "code cell outputs"; nbval, "Using markers".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.digest import canonical_json, of_bytes
from ..core.errors import without_addresses
from ..smoke.books import NUMBERS, without_colours

if TYPE_CHECKING:
    from nbformat import NotebookNode

PNG = "image/png"
#: What a cell's output may be of.
TEXT, VALUE, FIGURE = "text", "number", "figure"
_TAG, _MARK = "nbval-ignore-output", re.compile(r"^\s*#\s*NBVAL_IGNORE_OUTPUT\b", re.MULTILINE)
#: An image of the text is drawn anew from what is compared anyway.
_PLAIN = "text/plain"
_MOST_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One thing that a cell shows.

    Attributes:
        kind: ``text``, ``number`` or ``figure``.
        text: as it is compared; of a figure its digest.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two runs of a notebook differ.

    Attributes:
        cell: its index, counted from 0.
        kind: as in `Output`.
        before, after: what was recorded and what came now, cut to what a message can hold.
    """

    notebook: str
    cell: int
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return (
            f"{self.notebook} cell {self.cell}: {self.kind} {self.before or 'nothing'} became {self.after or 'nothing'}"
        )


def clean(node: NotebookNode) -> bytes:
    """Return an executed notebook without what differs between any two runs: times, and ids of cells made anew."""
    for index, cell in enumerate(node.cells):
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", ()) and "id" in cell:
            cell["id"] = f"injected-{index}"
    node.metadata.pop("papermill", None)
    return (json.dumps(node, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def figures(node: NotebookNode) -> Iterator[tuple[int, bytes]]:
    """Yield the pictures of a notebook as PNG, with the index of the cell that drew each."""
    for index, data in _shown(node):
        if png := "".join(data.get(PNG) or ()):
            try:
                yield index, base64.b64decode(png)
            except binascii.Error:
                continue


def numbers(node: NotebookNode) -> dict[str, object]:
    """Return the numbers that a notebook recorded with the numbers MIME type."""
    by_name: dict[str, object] = {}
    for _, data in _shown(node):
        if isinstance(recorded := data.get(NUMBERS), Mapping):
            by_name |= recorded
    return by_name


def outputs(node: NotebookNode) -> tuple[tuple[Output, ...] | None, ...]:
    """Return what each code cell shows, in order; None for one that is not to be compared."""
    return tuple(None if _left_out(cell) else tuple(_of_cell(cell)) for cell in node.cells if cell.cell_type == "code")


def compare(name: str, before: NotebookNode, after: NotebookNode) -> tuple[Difference, ...]:
    """Return where another run of a notebook shows something else."""
    differences: list[Difference] = []
    old, new = outputs(before), outputs(after)
    for cell in range(max(len(old), len(new))):
        was = old[cell] if cell < len(old) else ()
        now = new[cell] if cell < len(new) else ()
        if was is None or now is None:
            continue
        for kind in (VALUE, TEXT, FIGURE):
            first, second = _texts(was, kind), _texts(now, kind)
            if first != second:
                differences.append(Difference(notebook=name, cell=cell, kind=kind, **_first_apart(first, second)))
    return tuple(differences)


def _first_apart(first: Sequence[str], second: Sequence[str]) -> dict[str, str]:
    """Return the first lines that differ, cut."""
    rows = [[line for text in texts for line in text.splitlines()] for texts in (first, second)]
    at = next((index for index, pair in enumerate(zip(*rows, strict=False)) if pair[0] != pair[1]), min(map(len, rows)))
    before, after = (f"`{row[at][:_MOST_SHOWN]}`" if at < len(row) else "" for row in rows)
    return {"before": before, "after": after}


def _texts(shown: Sequence[Output], kind: str) -> list[str]:
    return [output.text for output in shown if output.kind == kind]


def _left_out(cell: Any) -> bool:
    return _TAG in cell.metadata.get("tags", ()) or bool(_MARK.search(cell.source))


def _of_cell(cell: Any) -> Iterator[Output]:
    # A stream comes in pieces that depend on when it was read.
    stream = "".join(
        "".join(output.get("text") or ())
        for output in cell.get("outputs", ())
        if output.get("output_type") == "stream" and output.get("name") == "stdout"
    )
    if stream:
        yield Output(kind=TEXT, text=_comparable(stream))
    for output in cell.get("outputs", ()):
        data = output.get("data") or {}
        if NUMBERS in data:
            yield Output(kind=VALUE, text=canonical_json(data[NUMBERS]).decode())
        elif PNG in data:
            yield Output(kind=FIGURE, text=of_bytes("".join(data[PNG]).replace("\n", "").encode()))
        elif _PLAIN in data:
            yield Output(kind=TEXT, text=_comparable("".join(data[_PLAIN])))


def _comparable(text: str) -> str:
    # Lists of objects, too, as matplotlib's functions return them.
    return re.sub(r" at 0x[0-9a-fA-F]+", " at 0x", without_addresses(without_colours(text)))


def _shown(node: NotebookNode) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, cell in enumerate(node.cells):
        for output in cell.get("outputs", ()):
            if isinstance(data := output.get("data"), Mapping):
                yield index, data

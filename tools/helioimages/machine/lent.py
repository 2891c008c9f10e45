"""A layer that a registry has and this machine has not: what is believed of it, for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..oci.layer import Layer

#: A folder (path, mode, uid, gid) or a link (path, target), as memos have them.
ShapeRow = tuple[str, int, int, int] | tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """What a cache says of a layer whose bytes stay where they are.

    Attributes:
        layer: as images name it.
        rows: the list of its files, as `make.linking` writes it.
        files: path -> content, of the files that documents are made from.
        metadata: sha256 (hex) of a package -> METADATA of a wheel, or the record of a conda package.
        shape: its folders and links, where other layers' files may lie on them.
        proven: a key signed it; else it is believed as far as what was committed agrees.
    """

    layer: Layer
    rows: bytes
    files: Mapping[str, bytes]
    metadata: Mapping[str, str]
    shape: tuple[ShapeRow, ...]
    proven: bool

"""What is told of a layer without its bytes: the few files that documents are made from, and its folders and links.

Of a package these are METADATA or conda's record, for its licence; of Debian's, dpkg's lists and the copyright files,
for whose a file is. Folders and links are noted of layers that have some outside of the environment, where an image's
own files may lie on them. Each file has its sha256 in the list of the layer, so whoever believes that can check them.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.digest import canonical_json
from ..core.entries import Entry, Kind
from ..machine.lent import ShapeRow
from ..machine.store import Store
from ..oci.layer import examine
from .plan import PREFIX

#: The kind of the store's files that hold notes, by the layer's key.
NOTES = "notes"
_HOME = PREFIX[1:]
#: The environment and the folders above it, which every layer of packages brings.
TRUNK = tuple(_HOME[:at] for at, letter in enumerate(f"{_HOME}/") if letter == "/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """Notes on one layer: path -> content of files, and its folders and links."""

    files: Mapping[str, bytes]
    shape: tuple[ShapeRow, ...]


def wanted(path: str) -> bool:
    """Say whether documents are made from a file.

    >>> wanted("srv/conda/envs/notebook/lib/python3.13/site-packages/dask-1.dist-info/METADATA")
    True
    """
    folder, _, name = path.rpartition("/")
    if folder.startswith(_HOME):
        record = folder == f"{_HOME}/conda-meta" and name.endswith(".json")
        return record or (name == "METADATA" and folder.endswith(".dist-info"))
    if folder == "var/lib/dpkg/info":
        return name.endswith(".list")
    return name == "copyright" and folder.startswith("usr/share/doc/")


class NotedPaths(Container[str]):
    """The paths for which `wanted` holds, as `oci.layer.examine` asks for them."""

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and wanted(path)


def dump(files: Mapping[str, bytes], entries: Iterable[Entry]) -> bytes:
    """Return notes as they are kept: canonical JSON in which each character of a text is a byte.

    Args:
        files: path -> content, of those that are `wanted`.
        entries: all of the layer, or its folders and links.
    """
    entries = tuple(entries)
    # Below it, the lists of files say all that others need to know.
    inside = all(entry.path in TRUNK or entry.path.startswith(f"{_HOME}/") for entry in entries)
    shape: list[list[str | int]] = []
    for entry in () if inside else entries:
        if entry.kind is Kind.DIR:
            shape.append([_bytewise(entry.path), entry.mode, entry.uid, entry.gid])
        elif entry.kind is Kind.SYMLINK:
            shape.append([_bytewise(entry.path), _bytewise(entry.target)])
    texts = {_bytewise(path): data.decode("latin-1") for path, data in files.items()}
    return canonical_json({"files": texts, "shape": shape})


def parse(data: bytes) -> Notes:
    """Read what `dump` wrote.

    Raises:
        ValueError: it is none of that.
    """
    try:
        document: Any = json.loads(data)
        return Notes(
            files={_text(path): content.encode("latin-1") for path, content in document["files"].items()},
            shape=tuple(_row(row) for row in document["shape"]),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"these are no notes: {error}") from error


def of_layer(store: Store, key: str, blob: Path) -> bytes:
    """Return the notes on a layer that this machine made; of one that an earlier version made, out of its blob.

    Raises:
        HelioError: the blob is no layer.
    """
    path = store.cached(NOTES, key)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        real = examine(blob, NotedPaths())
        data = dump(real.kept, real.shape)
        with store.writing(path) as file:
            file.write(data)
        return data


def _row(row: Any) -> ShapeRow:
    match row:
        case [str(path), int(mode), int(uid), int(gid)]:
            return _text(path), mode, uid, gid
        case [str(path), str(target)]:
            return _text(path), _text(target)
    raise ValueError(f"these are no notes: expected a folder or a link not {row!r:.80}")


def _bytewise(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _text(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")

"""What is told of a layer without its bytes: the few files that documents are made from, and its folders and links.

Of a package these are METADATA or conda's record, for its licence; of Debian's, dpkg's lists and the copyright files,
for whose a file is. Folders and links are noted of layers that have some outside of the environment, where an image's
own files may lie on them. Each file has its sha256 in the list of the layer, so whoever believes that can check them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.digest import canonical_json
from ..core.entries import Entry, Kind
from ..core.errors import Stage
from ..core.reading import Form, Shape, Table, load_json
from ..machine.lent import ShapeRow
from ..machine.store import Store
from ..oci.layer import examine
from .plan import PREFIX

#: The kind of the store's files that hold notes, by the layer's key.
NOTES = "notes"
_FORM = Form(stage=Stage.FETCH, comma=False, json=True)
_BYTES = Shape.of(r"(?s)[\x00-\xff]*", "a byte for each character")
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


def parse(data: bytes, where: str = "notes") -> Notes:
    """Read what `dump` wrote.

    Args:
        where: what errors call it.

    Raises:
        HelioError: it is none of that.
    """
    table = load_json(data, where, _FORM)
    files = table.mapping("files", required=True, keys=_BYTES, values=_BYTES)
    return Notes(
        files={_text(path): content.encode("latin-1") for path, content in files.items()}, shape=tuple(_shape(table))
    )


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


def _shape(table: Table) -> Iterator[ShapeRow]:
    for index, row in enumerate(table.take("shape", list)):
        match row:
            case [str(path), int(mode), int(uid), int(gid)] if _BYTES.fits(path):
                yield _text(path), mode, uid, gid
            case [str(path), str(target)] if _BYTES.fits(path) and _BYTES.fits(target):
                yield _text(path), _text(target)
            case _:
                raise table.wrong(f"shape[{index}]", "a folder or a link", f"{row!r:.80}")


def _bytewise(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _text(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "surrogateescape")

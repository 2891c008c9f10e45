"""Entries: the one value that linkers make and layers are written from.

An entry is one member of a layer's tar file. Paths are relative to the image's root, POSIX, normalised, and never
leave it; contents are read late, so a package of any size is a short list. Nothing here touches the disk.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .errors import HelioError, Stage

#: Raised when the same package would be linked into other bytes; part of every layer's key and lock's digest.
LINKER_VERSION = 2

#: Every entry's modification time (1980-01-01T00:00:00Z, the earliest that zip can hold). A constant, because a layer
#: must depend on its packages only; the lock's timestamp is written once, in the image config.
LAYER_MTIME = 315532800


class Kind(enum.Enum):
    """What a tar member is. Devices, sockets and FIFOs are never written."""

    DIR = "dir"
    FILE = "file"
    SYMLINK = "symlink"
    HARDLINK = "hardlink"


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes read late.

    Attributes:
        size: in bytes.
        read: returns exactly that many.
        sha256: of these bytes in hex, where whoever made the content has hashed them; empty if nobody has.
    """

    size: int
    read: Callable[[], bytes]
    sha256: str = ""

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return content already in memory."""
        return cls(len(data), lambda: data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer.

    Attributes:
        path: relative to ``/``, e.g. ``srv/conda/envs/notebook/bin/python``; no leading slash, no ``.`` or ``..``.
        kind: what it is.
        mode: permission bits, setuid and friends included (0 to 0o7777).
        uid, gid: numeric owner.
        content: of a FILE, else None.
        target: of a SYMLINK the text as is; of a HARDLINK the ``path`` of a FILE of the same layer.
        origin: who brought it, for error messages and file-to-package maps, e.g. ``numpy-2.4.6``.
    """

    path: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: Content | None = None
    target: str = ""
    origin: str = ""


def file(path: str, data: bytes, *, mode: int = 0o644, uid: int = 0, gid: int = 0, origin: str = "") -> Entry:
    """Return a FILE entry whose content is in memory."""
    return Entry(path=path, kind=Kind.FILE, mode=mode, uid=uid, gid=gid, content=Content.of(data), origin=origin)


def directory(path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0, origin: str = "") -> Entry:
    """Return a DIR entry."""
    return Entry(path=path, kind=Kind.DIR, mode=mode, uid=uid, gid=gid, origin=origin)


def symlink(path: str, target: str, *, origin: str = "") -> Entry:
    """Return a SYMLINK entry (mode 0777, as every file system shows it)."""
    return Entry(path=path, kind=Kind.SYMLINK, mode=0o777, target=target, origin=origin)


def check_path(path: str, origin: str) -> str:
    """Return ``path`` if a layer may hold it, else raise.

    Raises:
        HelioError: absolute, empty, not normalised, with NUL, or with a part that is ``.``, ``..`` or a whiteout.
    """
    parts = path.split("/")
    bad = (
        not path
        or "\0" in path
        or any(part in ("", ".", "..") for part in parts)
        # An OCI whiteout would delete another layer's file. Spec: image-spec v1.1, layer.md, "Whiteouts".
        or any(part.startswith(".wh.") for part in parts)
    )
    if bad:
        raise HelioError(
            Stage.LINK,
            f"`{origin}` has a path that may not be in a layer: {path!r}",
            detail="expected a relative, normalised path without `.`, `..`, NUL or whiteouts",
            hint="the package is malformed or malicious; do not use it",
        )
    return path


def same(left: Entry, right: Entry) -> bool:
    """Say whether two entries of one path put the same thing there, whoever brings them."""
    if (left.kind, left.mode, left.uid, left.gid, left.target) != (
        right.kind,
        right.mode,
        right.uid,
        right.gid,
        right.target,
    ):
        return False
    if left.content is None or right.content is None:
        return left.content is right.content
    if left.content.size != right.content.size:
        return False
    return _sha256(left.content) == _sha256(right.content)


def _sha256(content: Content) -> str:
    return content.sha256 or hashlib.sha256(content.read()).hexdigest()


def merge(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries of one layer: checked, with missing parents added, sorted so that parents come first.

    The order in which packages are given does not matter. What two packages both bring folds into one where it is
    the same (directories, and files with equal bytes: many wheels carry an empty ``tests/__init__.py``); else it is a
    clash.

    Raises:
        HelioError: on a clash (names both packages) or a path that may not be in a layer.
    """
    seen: dict[str, Entry] = {}
    for entry in entries:
        check_path(entry.path, entry.origin)
        other = seen.get(entry.path)
        if other is None:
            seen[entry.path] = entry
        elif not same(entry, other):
            raise HelioError(
                Stage.LINK,
                f"`{other.origin}` and `{entry.origin}` both bring {entry.path}",
                hint="name the one that wins in environment.yml under x-helioimages.clobber",
            )
    for path in tuple(seen):
        parent = path.rpartition("/")[0]
        while parent and parent not in seen:
            seen[parent] = directory(parent)
            parent = parent.rpartition("/")[0]
    for path, entry in seen.items():
        parent = path.rpartition("/")[0]
        if parent and seen[parent].kind is not Kind.DIR:
            other = seen[parent]
            raise HelioError(
                Stage.LINK,
                f"`{entry.origin}` brings {path}, but {parent} of `{other.origin}` is a {other.kind.value}",
                hint="the two packages cannot be in one environment",
            )
        if "\0" in entry.target:
            raise HelioError(
                Stage.LINK,
                f"`{entry.origin}` has a link that no file system can hold: {path!r}",
                detail=f"expected a target without NUL not {entry.target!r}",
                hint="the package is malformed or malicious; do not use it",
            )
        if entry.kind is Kind.HARDLINK and (entry.target not in seen or seen[entry.target].kind is not Kind.FILE):
            raise HelioError(
                Stage.LINK,
                f"`{entry.origin}` links {path} to {entry.target}, which is not a file of the same layer",
                hint="the package is malformed or malicious; do not use it",
            )
    # Hard links last: a tar reader makes the file they point at first. Otherwise by bytes, parents before children.
    return tuple(sorted(seen.values(), key=lambda e: (e.kind is Kind.HARDLINK, e.path.split("/"))))

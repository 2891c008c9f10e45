"""Where two layers differ: which package, which file, which metadata, and at which byte first."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import HelioError, Stage

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One path that differs.

    Attributes:
        package: who brings it, empty if unknown.
        what: e.g. ``mode 0644 not 0755`` or ``content differs from byte 17``.
    """

    path: str
    package: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}" + (f" (of {self.package})" if self.package else "") + f": {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    kind: str
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: float
    size: int
    target: str
    headers: str
    sha256: str


_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hard link",
}


def compare(expected: Path, found: Path, owners: Mapping[str, str]) -> tuple[Difference, ...]:
    """Return every path that differs between two layers (gzip or plain tar), in order of paths.

    Args:
        expected: what this checkout builds.
        found: what was published.
        owners: path -> package.

    Raises:
        HelioError: one is no tar.
    """
    ours, theirs = _members(expected), _members(found)
    rows = []
    for path in sorted({*ours, *theirs}):
        for what in _faults(path, ours.get(path), theirs.get(path), expected, found):
            rows.append(Difference(path=path, package=owners.get(path, ""), what=what))
    if not rows and list(ours) != list(theirs):
        first = next(a for a, b in zip(ours, theirs, strict=True) if a != b)
        rows.append(Difference(path=first, package=owners.get(first, ""), what="the order of the entries differs"))
    return tuple(rows)


def _faults(path: str, ours: _Member | None, theirs: _Member | None, expected: Path, found: Path) -> Iterator[str]:
    if ours is None or theirs is None:
        yield "expected, and missing" if theirs is None else "not expected"
        return
    if ours.kind != theirs.kind:
        yield f"expected a {ours.kind} not a {theirs.kind}"
        return
    if ours.mode != theirs.mode:
        yield f"mode: expected {ours.mode:04o} not {theirs.mode:04o}"
    for name in ("uid", "gid", "uname", "gname", "mtime", "target", "headers", "size"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other:
            yield f"{name}: expected {mine or 'none'} not {other or 'none'}"
    if ours.sha256 != theirs.sha256:
        offset, one, two = _first(_read(expected, path), _read(found, path))
        yield f"content: byte {offset:,}: expected {one} not {two}"


def _first(ours: bytes, theirs: bytes) -> tuple[int, str, str]:
    """Return the first offset at which two contents differ, with up to eight bytes of each in hex."""
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return at, *(data[at : at + 8].hex() or "the end" for data in (ours, theirs))


def _members(layer: Path) -> dict[str, _Member]:
    found: dict[str, _Member] = {}
    try:
        with tarfile.open(layer, "r:*") as tar:
            for one in tar:
                content = hashlib.sha256()
                stream = tar.extractfile(one) if one.isfile() else None
                while stream and (piece := stream.read(_PIECE)):
                    content.update(piece)
                path = one.name.rstrip("/")
                # What comes twice is told apart, since the last of two wins in an engine.
                while path in found:
                    path += " (again)"
                found[path] = _Member(
                    kind=_KINDS.get(one.type, f"entry of type {one.type!r}"),
                    mode=one.mode,
                    uid=one.uid,
                    gid=one.gid,
                    uname=one.uname,
                    gname=one.gname,
                    mtime=one.mtime,
                    size=one.size,
                    target=one.linkname,
                    headers=" ".join(f"{k}={v}" for k, v in sorted(one.pax_headers.items()) if k != "path"),
                    sha256=content.hexdigest() if stream else "",
                )
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise HelioError(Stage.CHECK, f"cannot read the layer {layer.name}", detail=str(error)) from error
    return found


def _read(layer: Path, path: str) -> bytes:
    with tarfile.open(layer, "r:*") as tar:
        matches = [one for one in tar if one.name.rstrip("/") == path.removesuffix(" (again)")]
        stream = tar.extractfile(matches[-1] if path.endswith(" (again)") else matches[0])
        return stream.read() if stream else b""

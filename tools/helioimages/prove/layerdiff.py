"""Where two layers differ: which package, which file, which metadata, and at which byte first.

Each layer is read twice at most, however much of it differs: once for its headers and for a short hash of each block of
each file, and once more for the blocks in which files begin to differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..core import archives
from ..core.errors import HelioError, Stage
from ..oci import inflated

#: Bytes of a file that are hashed together: what is kept of each file that differs.
_BLOCK = 4096
_SHORT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDifference:
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
    blocks: bytes


_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hard link",
}


def compare(expected: Path, actual: Path, owners: Mapping[str, str]) -> tuple[PathDifference, ...]:
    """Return every path that differs between two layers (gzip or plain tar), in order of paths.

    Args:
        expected: what this checkout builds.
        found: what was published.
        owners: path -> package.

    Raises:
        HelioError: one is not a tar.
    """
    ours, theirs = _members(expected), _members(actual)
    differing = {
        path: _block_of(mine, other)
        for path, mine in ours.items()
        if (other := theirs.get(path)) and mine.kind == other.kind and mine.sha256 != other.sha256
    }
    here, there = (_blocks(layer, differing) if differing else {} for layer in (expected, actual))
    rows = []
    for path in sorted({*ours, *theirs}):
        faults = _header_faults(ours.get(path), theirs.get(path))
        if path in differing:
            offset, wanted, actual_bytes = _first(here[path], there[path])
            at = differing[path] * _BLOCK + offset
            faults.append(f"content: byte {at:,}: expected {wanted} not {actual_bytes}")
        rows += [PathDifference(path=path, package=owners.get(path, ""), what=what) for what in faults]
    if not rows and list(ours) != list(theirs):
        first = next(a for a, b in zip(ours, theirs, strict=True) if a != b)
        rows.append(PathDifference(path=first, package=owners.get(first, ""), what="the order of the entries differs"))
    return tuple(rows)


def _header_faults(ours: _Member | None, theirs: _Member | None) -> list[str]:
    if ours is None or theirs is None:
        return ["expected, and missing" if theirs is None else "not expected"]
    if ours.kind != theirs.kind:
        return [f"expected a {ours.kind} not a {theirs.kind}"]
    lines = []
    if ours.mode != theirs.mode:
        lines.append(f"mode: expected {ours.mode:04o} not {theirs.mode:04o}")
    for name in ("uid", "gid", "uname", "gname", "mtime", "target", "headers", "size"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine != other:
            lines.append(f"{name}: expected {mine or 'none'} not {other or 'none'}")
    return lines


def _first(ours: bytes, theirs: bytes) -> tuple[int, str, str]:
    """Return the first offset at which two contents differ, with up to eight bytes of each in hex."""
    at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    wanted_bytes, actual_bytes = (data[at : at + 8].hex() or "the end" for data in (ours, theirs))
    return at, wanted_bytes, actual_bytes


def _block_of(ours: _Member, theirs: _Member) -> int:
    """Return the number of the first block that differs; the one behind the shorter file if it only ends before."""
    pairs = zip(_words(ours.blocks), _words(theirs.blocks), strict=False)
    least = min(len(ours.blocks), len(theirs.blocks)) // _SHORT
    return next((n for n, (a, b) in enumerate(pairs) if a != b), least)


def _words(blocks: bytes) -> Iterator[bytes]:
    return (blocks[at : at + _SHORT] for at in range(0, len(blocks), _SHORT))


def _members(layer: Path) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    with _opened(layer) as tar:
        for path, member, stream in _walk(tar):
            content, blocks = hashlib.sha256(), bytearray()
            while stream and (block := stream.read(_BLOCK)):
                content.update(block)
                blocks += hashlib.blake2b(block, digest_size=_SHORT).digest()
            members[path] = _Member(
                kind=_KINDS.get(member.type, f"entry of type {member.type!r}"),
                mode=member.mode,
                uid=member.uid,
                gid=member.gid,
                uname=member.uname,
                gname=member.gname,
                mtime=member.mtime,
                size=member.size,
                target=member.linkname,
                headers=" ".join(f"{k}={v}" for k, v in sorted(member.pax_headers.items()) if k != "path"),
                sha256=content.hexdigest() if stream else "",
                blocks=bytes(blocks),
            )
    return members


def _blocks(layer: Path, wanted: Mapping[str, int]) -> dict[str, bytes]:
    """Return one block of each of these files by its number, and what follows it: eight bytes may go over its end."""
    blocks = {}
    with _opened(layer) as tar:
        for path, _, stream in _walk(tar):
            if stream and path in wanted:
                stream.seek(wanted[path] * _BLOCK)
                blocks[path] = stream.read(_BLOCK + 8)
    return blocks


@contextlib.contextmanager
def _opened(layer: Path) -> Iterator[tarfile.TarFile]:
    """Open a layer; what is wrong with it is told whoever reads it further."""
    try:
        with (
            archives.reading(),
            open(layer, "rb") as file,
            tarfile.open(fileobj=inflated.of(file), mode="r:") as tar,
        ):
            yield tar
    except (OSError, archives.ArchiveError) as error:
        raise HelioError(Stage.CHECK, f"cannot read the layer {layer.name}", detail=str(error)) from error


def _walk(tar: tarfile.TarFile) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
    """Yield the members with their paths and, of a file, its content."""
    seen: set[str] = set()
    for member in archives.members(tar):
        path = member.name.rstrip("/")
        # What comes twice is told apart, since the last of two wins in an engine.
        while path in seen:
            path += " (again)"
        seen.add(path)
        yield path, member, tar.extractfile(member) if member.isfile() else None

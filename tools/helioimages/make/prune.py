"""Give disk space back: what the store holds and no lock of the checkout asks for any more.

Nothing is lost by it: all of the store can be fetched or made again. What a running build has just made or fetched is
young, and stays.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from ..debian import lock as apt_lock
from ..machine import mounts
from ..machine.bootstrap import name_of
from ..machine.store import Store
from . import rootfs

_SHA256 = re.compile(rb"\b[0-9a-f]{64}\b")
#: Manifests, configs and SBOMs are small, and the memos that lead to them are not read here.
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One kind of files: how many there were to remove, and their bytes on disk; what stays."""

    kind: str
    removed: int
    removed_bytes: int
    kept_bytes: int


def prune(root: Path, store: Store, layers: Set[str], *, age_s: float, dry_run: bool) -> tuple[Swept, ...]:
    """Remove what no image of a checkout needs from its store.

    The embedded registry and the engine are not touched: what was published stays published.

    Args:
        root: the checkout, whose locks say what is needed.
        layers: digests of the layers that its images have.
        age_s: what is younger stays, seconds.
        dry_run: remove nothing, count only.

    Raises:
        HelioError: a lock is malformed.
    """
    systems = {rootfs.cached(store, apt_lock.parse(text, file)).name for file, text in _apt_locks(root)}
    environments = {name_of(lock) for lock in root.rglob("*.lock") if ".git" not in lock.parts}
    wanted = _named(root)
    kinds = {
        "packages": _files(store.root / "artefacts" / "sha256", lambda path: path.name in wanted),
        "layers": _files(
            store.root / "blobs" / "sha256",
            lambda path: f"sha256:{path.name}" in layers or path.stat().st_size < _SMALL,
        ),
        "root file systems": _files(store.root / "cache" / "rootfs", lambda path: path.name in systems),
        "compiled modules": _files(store.root / "cache" / "pyc", lambda path: False),
        "tool environments": _files(
            store.root / "tool",
            lambda path: path.name in environments or not path.is_dir() or Path(sys.prefix).is_relative_to(path),
        ),
        "leftovers of interrupted runs": _files(store.root / "tmp", lambda path: False),
    }
    young = time.time() - age_s
    return tuple(_sweep(kind, rows, young, dry_run) for kind, rows in kinds.items())


def _named(root: Path) -> frozenset[str]:
    """Return every sha256 (hex) that a lock of the checkout names."""
    folders = [root / "environments", root / "images", root / "channel"]
    found: set[str] = set()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and (path.suffix in (".toml", ".yml", ".json")):
                found.update(match.decode() for match in _SHA256.findall(path.read_bytes()))
    return frozenset(found)


def _apt_locks(root: Path) -> Iterator[tuple[str, str]]:
    for path in (*sorted(root.glob("images/*/apt-lock.json")), root / "channel" / "apt-lock.json"):
        if path.exists():
            yield path.relative_to(root).as_posix(), path.read_text("utf-8")


def _files(folder: Path, keep) -> list[tuple[Path, bool]]:
    return [(path, keep(path)) for path in sorted(folder.iterdir())] if folder.is_dir() else []


def _sweep(kind: str, rows: Iterable[tuple[Path, bool]], young: float, dry_run: bool) -> Swept:
    count = removed = kept = 0
    for path, keep in rows:
        try:
            # What is mounted in a leftover is the machine's, and deleting goes through a mount.
            if path.is_dir() and mounts.below(path):
                continue
            size, made = _size(path), path.lstat().st_mtime
            if keep or made > young:
                kept += size
                continue
            if not dry_run:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        except FileNotFoundError:
            continue  # another process was faster
        count, removed = count + 1, removed + size
    return Swept(kind=kind, removed=count, removed_bytes=removed, kept_bytes=kept)


def _size(path: Path) -> int:
    """Return the bytes that a file or a folder takes on disk."""
    parts = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    return sum(part.lstat().st_blocks * 512 for part in parts)

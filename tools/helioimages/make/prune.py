"""Give disk space back: what the store holds and no lock of the checkout asks for any more.

Nothing is lost by it: all of the store can be fetched or made again. What a running build has just made or fetched is
young, and stays.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from ..debian import lock as apt_lock
from ..locks.checkout import Checkout
from ..locks.file_names import builder_lock
from ..machine import mounts
from ..machine.bootstrap import name_of
from ..machine.store import Store
from ..spec.recipes import RECIPES
from . import builder, channel, linking, notes, own_files, rootfs, toolchain, travel
from .plan import ImagePlan

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


def prune(
    checkout: Checkout, store: Store, plans: Iterable[ImagePlan], *, age_s: float, dry_run: bool
) -> tuple[Swept, ...]:
    """Remove what no image of a checkout needs from its store.

    The embedded registry and the engine are not touched: what was published stays published. A folder that this version
    does not know stays too, and has a row of its own.

    Args:
        checkout: its locks say what is needed.
        plans: of its images, whose layers stay.
        age_s: what is younger stays, seconds.
        dry_run: remove nothing, count only.

    Raises:
        HelioError: a lock is malformed.
    """
    young = time.time() - age_s
    keys = {key for plan in plans for key in own_files.keys(store, plan)}
    # What came from a cache stays, too, whoever prunes.
    every = Store(store.root, travelled=True)
    layers = {layer.digest for layer in (linking.recall(every, key) for key in keys) if layer}
    # What is kept is settled before anything goes: a list of files is kept for its layer's memo.
    kinds = [
        (kind, [row for part in parts for row in part.rows]) for kind, parts in _kinds(checkout, store, layers, keys)
    ]
    strangers = [(f"{name} (of another version)", [(store.root / name, True)]) for name in unknown(store)]
    return tuple(_sweep(kind, rows, young, dry_run) for kind, rows in (*kinds, *strangers))


def unknown(store: Store) -> tuple[str, ...]:
    """Return the folders of a store that `prune` has no rule for, e.g. ``cache/rootfs-2`` of a later version."""
    names = []
    for top in sorted(store.root.iterdir()):
        parts = sorted(top.iterdir()) if top.name in ("cache", "memo") else [top]
        names += [path.relative_to(store.root).as_posix() for path in parts if path.is_dir()]
    return tuple(name for name in names if name not in _PRUNED and name not in _KEPT)


#: Servers' own folders; results that a few bytes remember and that take minutes or a signature to have again.
_KEPT = frozenset(("run", "engine", "registry", "hub", "memo/smoke", "memo/trust", "memo/contents"))
#: Every other folder of a store. Each has a row in `_kinds`.
_PRUNED = frozenset(
    (
        "artefacts",
        "blobs",
        "cache/rootfs",
        "cache/pyc",
        "cache/index",
        "cache/repodata",
        "cache/osv",
        *(f"cache/{name}" for name in (linking.LISTS, linking.OLD_LISTS, notes.NOTES)),
        *(f"memo/{name}" for name in (linking.LAYERS, linking.OLD_LAYERS)),
        "memo/wheel",
        "memo/post-link",
        "memo/requires",
        "memo/cite",
        "memo/extend-wheel",
        f"memo/{travel.METADATA}",
        *(f"memo/{name}" for name in (own_files.SETTLED, own_files.SHAPES)),
        "toolchain",
        "channels",
        "tool",
        "tmp",
    )
)


@dataclass(frozen=True, slots=True)
class _Folder:
    """One folder's files, and which of them stay."""

    rows: tuple[tuple[Path, bool], ...]

    @classmethod
    def of(cls, folder: Path, keep: Callable[[Path], bool], *, deep: bool = False) -> _Folder:
        """Read a folder; ``deep`` takes the files below it one by one."""
        if not folder.is_dir():
            return cls(())
        paths = (path for path in folder.rglob("*") if not path.is_dir()) if deep else folder.iterdir()
        return cls(tuple((path, keep(path)) for path in sorted(paths)))


def _kinds(
    checkout: Checkout, store: Store, layers: Set[str], keys: Set[str]
) -> Iterator[tuple[str, tuple[_Folder, ...]]]:
    """Yield what people call a kind, and its folders."""
    root, wanted = checkout.root, _named(checkout.root)
    systems = {rootfs.cached(store, apt_lock.parse(text, file)).name for file, text in _apt_locks(root)}
    environments = {name_of(lock) for lock in root.rglob("*.lock") if ".git" not in lock.parts}
    interpreters = {toolchain.key(checkout.locks(name)) for name in checkout.images}
    yield "packages", (_Folder.of(store.root / "artefacts" / "sha256", lambda path: path.name in wanted),)
    blobs = store.root / "blobs" / "sha256"
    yield (
        "layers",
        (_Folder.of(blobs, lambda path: f"sha256:{path.name}" in layers or path.stat().st_size < _SMALL),),
    )
    pairs = ((linking.LAYERS, linking.LISTS), (linking.OLD_LAYERS, linking.OLD_LISTS))
    yield (
        "lists of files",
        tuple(
            _Folder.of(store.root / "cache" / lists, _about(store, kind, layers))
            for kind, lists in (*pairs, (linking.LAYERS, notes.NOTES))
        ),
    )
    yield (
        "memos",
        (
            *(_Folder.of(store.root / "memo" / kind, _about(store, kind, layers)) for kind, _ in pairs),
            *(_Folder.of(store.root / "memo" / kind, _about(store, kind, wanted)) for kind in ("wheel", "post-link")),
            _Folder.of(store.root / "memo" / "requires", lambda path: path.stem in wanted),
            # What is made for others than this checkout's images is made again in seconds.
            *(_Folder.of(store.root / "memo" / name, lambda path: False) for name in ("cite", "extend-wheel")),
            _Folder.of(store.root / "memo" / travel.METADATA, lambda path: path.stem in wanted),
            _Folder.of(store.root / "memo" / own_files.SHAPES, lambda path: path.stem in keys),
            _Folder.of(store.root / "memo" / own_files.SETTLED, lambda path: _settled_to(store, path) in keys),
        ),
    )
    yield "root file systems", (_Folder.of(store.root / "cache" / "rootfs", lambda path: path.name in systems),)
    yield "compiled modules", (_Folder.of(store.root / "cache" / "pyc", lambda path: False),)
    yield (
        "pages of indexes",
        tuple(_Folder.of(store.root / "cache" / name, lambda path: False, deep=True) for name in ("index", "repodata")),
    )
    yield "advisories", (_Folder.of(store.root / "cache" / "osv", lambda path: False),)
    # Tools that build wheels are unpacked again for the next wheel; the interpreter is asked for by every build.
    yield "interpreters", (_Folder.of(store.root / "toolchain", lambda path: path.name in interpreters),)
    channels = _channels(checkout)
    yield "local channels", (_Folder.of(store.root / "channels", lambda path: path.name in channels),)
    yield (
        "tool environments",
        (
            _Folder.of(
                store.root / "tool",
                lambda path: path.name in environments or not path.is_dir() or Path(sys.prefix).is_relative_to(path),
            ),
        ),
    )
    yield "leftovers of interrupted runs", (_Folder.of(store.root / "tmp", lambda path: False),)


def _about(store: Store, kind: str, wanted: Set[str]) -> Callable[[Path], bool]:
    """Return what says of a file, named by a memo's key, whether the memo's layer or wheel is wanted."""

    def keep(path: Path) -> bool:
        known = store.recall(kind, path.name.removesuffix(".json"))
        return isinstance(known, dict) and (known.get("digest") or known.get("sha256")) in wanted

    return keep


def _settled_to(store: Store, path: Path) -> object:
    known = store.recall(own_files.SETTLED, path.stem)
    return known.get("key") if isinstance(known, dict) else None


def _channels(checkout: Checkout) -> frozenset[str]:
    """Return the name of the channel that the checkout's recipes make: compiling one takes long."""
    root, file = checkout.root, builder_lock(checkout.platform)
    lock = root / file
    if not lock.exists() or not (root / RECIPES).exists():
        return frozenset()
    maker = builder.key(apt_lock.parse(lock.read_text("utf-8"), file))
    return frozenset((channel.channel_key(root, maker, checkout.platform),))


def _named(root: Path) -> frozenset[str]:
    """Return every sha256 (hex) that a lock of the checkout names."""
    folders = [root / "environments", root / "images", root / "channel"]
    digests: set[str] = set()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and (path.suffix in (".toml", ".yml", ".json")):
                digests.update(match.decode() for match in _SHA256.findall(path.read_bytes()))
    return frozenset(digests)


def _apt_locks(root: Path) -> Iterator[tuple[str, str]]:
    for path in (*sorted(root.glob("images/*/apt-lock*.json")), *sorted(root.glob("channel/apt-lock*.json"))):
        if path.exists():
            yield path.relative_to(root).as_posix(), path.read_text("utf-8")


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

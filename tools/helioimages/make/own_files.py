"""An image's own files where they belong: on top of what the layers below have there.

A layer is no copy into a running system: a tar that says ``bin/tool`` where a lower layer has the link ``bin ->
usr/bin`` puts a folder in place of the link, and every program is gone; one that says ``tmp`` gives it another mode.
So the entries of ``images/<image>/files`` and of ``dirs`` in image.toml are settled first:

* a folder that is a link below is followed, as the kernel would in the image (absolute, relative, chains);
* a folder that exists keeps its owner, group and mode;
* a new folder is like the nearest one above it, for it is used by whoever uses that one; below a folder where all may
  write (``tmp``) it is root's, 0755;
* a file never takes a folder away, and is none.

What is below has keys, and so has the result: `keys` tells it from the store, without a build.

Spec: OCI image-spec v1.1, layer.md, "Applying Changesets"; path_resolution(7).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from ..core.digest import is_hex, key_of
from ..core.entries import Entry, Kind, directory, merge, same
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..machine.store import Store
from ..oci.layer import Layer, read_layer, write_layer
from . import linking
from .notes import TRUNK
from .plan import COMPRESSOR, PREFIX, ImagePlan, LayerKind, LayerPlan

#: Memos: the folders and links of a layer; the key that an image's own files have on the layers below.
SHAPES, SETTLED = "shape", "settled"
#: Raised when the same files on the same layers would be settled otherwise.
_FORMAT = 1
#: As the kernel's: more links on the way to one file are a circle. Spec: path_resolution(7).
_MOST_LINKS = 40
_HOME = PREFIX[1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lower:
    """A layer below: what it is made of, and its key in the store."""

    kind: LayerKind
    key: str


def made(store: Store, plan: ImagePlan, below: Sequence[Lower]) -> tuple[str, Layer, bool]:
    """Return the key of the layer of an image's own files, the layer, and whether it was made now.

    Args:
        below: the layers of the image's ancestors and its own others, lowest first; they are in the store.

    Raises:
        HelioError: a file and a folder have one place, links go in a circle, or a folder of the environment would have
            another owner or mode.
    """
    layer = plan.layers[-1]
    memo = _memo(layer, [lower.key for lower in below])
    known = store.recall(SETTLED, memo)
    if known and (recalled := linking.recall(store, known["key"])):
        return known["key"], recalled, False
    entries = settle(plan.name, plan.files, LowerFiles(store, below))
    key = _key(layer, plan.files, entries)
    recalled = linking.recall(store, key)
    written = recalled or linking.write(store, key, entries)
    # What is believed of layers that nobody has read here is not believed by later runs.
    if not any(lower.key in store.lent for lower in below):
        store.remember(SETTLED, memo, {"key": key})
    return key, written, recalled is None


def keys(store: Store, plan: ImagePlan) -> tuple[str, ...]:
    """Return the keys of an image's whole stack, lowest first, as far as builds before have found them."""
    layer_keys: list[str] = []
    for layer in plan.stack:
        known = store.recall(SETTLED, _memo(layer, layer_keys)) if layer.kind is LayerKind.FILES else None
        layer_keys.append(known["key"] if known else layer.key)
    return tuple(layer_keys)


def foreseen(store: Store, plan: ImagePlan, below: Sequence[Lower]) -> Layer:
    """Return the layer that `made` would make, without a trace of it in the store.

    Where the layers below are not there, the files are taken for what they are by themselves.

    Raises:
        HelioError: see `made`.
    """
    there = all(linking.recall(store, lower.key) for lower in below)
    entries = settle(plan.name, plan.files, LowerFiles(store, below)) if there else merge(plan.files)
    return write_layer(entries, BytesIO(), compressor=COMPRESSOR)


def settle(image: str, files: Sequence[Entry], below: LowerFiles) -> tuple[Entry, ...]:
    """Return the entries of an image's own files where they belong, merged.

    Args:
        files: as they lie in the checkout, and the directories of image.toml.

    Raises:
        HelioError: see `made`.
    """
    placed: dict[str, Entry] = {}
    whose: dict[str, str] = {}
    for entry, where in _in_order(image, files):
        real = _place(entry, where, placed, below)
        other = placed.get(real.path)
        if other is not None and not same(other, real):
            raise HelioError(
                Stage.BUILD,
                f"two files of the image `{image}` have one place: /{real.path}",
                where=where,
                detail=f"{whose[real.path]} lands there too, since a folder of its path is a link in the layers below",
                hint="remove one of them",
            )
        if real.path != entry.path:
            say(f"    {where} is /{real.path} in the image: the layers below have a link")
        placed[real.path], whose[real.path] = real, where
    return merge((*placed.values(), *_parents(placed, below)))


def check_kept(store: Store, plan: ImagePlan, below: Sequence[Lower], debian: Lower) -> None:
    """Refuse Debian packages of a child that take away what an ancestor's own files put there.

    Args:
        below: the layers of the image's ancestors.
        debian: the child's layer of Debian packages.

    Raises:
        HelioError: names the path, and the way out: the file in the child again.
    """
    mine = LowerFiles(store, (debian,))
    again = {entry.path for entry in plan.files}
    faults = []
    for layer in below:
        if layer.kind is LayerKind.FILES:
            for path in linking.files_of(store, layer.key):
                shipped = mine.at(path)
                if path not in again and shipped is not None:
                    faults.append(f"/{path} is a {shipped.kind.value} of the child's Debian packages")
    for entry in (entry for image in plan.line[:-1] for entry in image.files if entry.kind is Kind.DIR):
        shipped = mine.at(entry.path)
        if entry.path not in again and shipped is not None and not same(shipped, entry):
            faults.append(
                f"/{entry.path} is to have mode {entry.mode:04o} and owner {entry.uid}:{entry.gid}, "
                f"and the child's Debian packages give it {shipped.mode:04o} and {shipped.uid}:{shipped.gid}"
            )
    if faults:
        raise HelioError(
            Stage.BUILD,
            f"Debian packages of `{plan.name}` replace files of its parents' own",
            where=f"images/{plan.name}/image.toml at debian.packages",
            detail="\n".join(sorted(faults)[:10]),
            hint=f"bring them again: in images/{plan.name}/files, or under dirs of its image.toml",
        )


class LowerFiles:
    """What an image has without its own files: one thing a path, that of the highest layer.

    Args:
        layers: lowest first; all of them are in the store.
    """

    def __init__(self, store: Store, layers: Sequence[Lower]) -> None:
        self._store, self._layers = store, tuple(reversed(layers))
        self._shapes: dict[str, dict[str, Entry]] = {}
        self._lists: dict[str, dict[str, tuple[str, str]]] = {}
        self._package_folders: set[str] = set()

    def at(self, path: str) -> Entry | None:
        """Return what is at a path: a DIR, a SYMLINK, or a FILE (without its content); None if nothing is."""
        for layer in self._layers:
            entry = self._of_packages(layer, path) if layer.kind is LayerKind.PACKAGES else self._of_files(layer, path)
            if entry is not None:
                return entry
        return None

    def _of_files(self, layer: Lower, path: str) -> Entry | None:
        if layer.key not in self._shapes:
            self._shapes[layer.key] = _shape(self._store, layer.key)
        if (entry := self._shapes[layer.key].get(path)) is not None:
            return entry
        return Entry(path=path, kind=Kind.FILE) if path in self._listed(layer) else None

    def _of_packages(self, layer: Lower, path: str) -> Entry | None:
        if path in TRUNK:
            return directory(path)
        if not path.startswith(f"{_HOME}/"):
            return None  # nothing of a package is elsewhere, and their lists are long
        listed = self._listed(layer)
        if path not in listed:
            return directory(path) if path in self._package_folders else None
        held = listed[path][1]
        # A list says the sha256 of a file, the target of a link, and of a second name the first one.
        link = not is_hex(held) and held not in listed
        return Entry(path=path, kind=Kind.SYMLINK if link else Kind.FILE, target=held if link else "")

    def _listed(self, layer: Lower) -> dict[str, tuple[str, str]]:
        if layer.key not in self._lists:
            self._lists[layer.key] = linking.files_of(self._store, layer.key)
            if layer.kind is LayerKind.PACKAGES:
                self._package_folders.update(_folders(self._lists[layer.key]))
        return self._lists[layer.key]


def _folders(paths: Mapping[str, object]) -> set[str]:
    folders: set[str] = set()
    for path in paths:
        above = path.rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    return folders


def _shape(store: Store, key: str) -> dict[str, Entry]:
    """Return the folders and links of a layer by path; read from the layer once."""
    if (lent := store.lent.get(key)) is not None:
        return _entries(lent.shape)
    known = store.recall(SHAPES, key)
    layer = linking.recall(store, key)
    if known is None or layer is None or known["digest"] != layer.digest:
        if layer is None:
            linking.files_of(store, key)  # says that the store lost it
            raise AssertionError(key)
        known = remember_shape(store, key, layer.digest, read_layer(store.blob(layer.digest)))
    return _entries(known["rows"])


def _entries(rows: Iterable[Sequence[Any]]) -> dict[str, Entry]:
    return {
        path: Entry(path=path, kind=Kind.SYMLINK, target=rest[0])
        if len(rest) == 1
        else directory(path, mode=rest[0], uid=rest[1], gid=rest[2])
        for path, *rest in rows
    }


def remember_shape(store: Store, key: str, digest: str, entries: Iterable[Entry]) -> dict[str, Any]:
    """Remember the folders and links of a layer, for whoever has read it; returns the memo.

    Args:
        key, digest: the layer's.
        entries: all of it, or its folders and links alone.
    """
    rows = [
        [entry.path, entry.mode, entry.uid, entry.gid] if entry.kind is Kind.DIR else [entry.path, entry.target]
        for entry in entries
        if entry.kind in (Kind.DIR, Kind.SYMLINK)
    ]
    memo = {"digest": digest, "rows": rows}
    store.remember(SHAPES, key, memo)
    return memo


def _in_order(image: str, files: Sequence[Entry]) -> Iterator[tuple[Entry, str]]:
    """Yield entries with their file and key: links first, which others may lead through."""
    dirs = [entry for entry in files if entry.kind is Kind.DIR]
    for entry in sorted(files, key=lambda file: (file.kind is not Kind.SYMLINK, file.path.count("/"), file.path)):
        if entry.kind is Kind.DIR:
            yield entry, f"images/{image}/image.toml at dirs[{dirs.index(entry)}].path"
        else:
            yield entry, f"images/{image}/files/{entry.path}"


def _place(entry: Entry, where: str, placed: Mapping[str, Entry], below: LowerFiles) -> Entry:
    """Return an entry at the path that it has in the image."""
    if any(part.startswith(".wh.") for part in entry.path.split("/")):
        raise HelioError(
            Stage.BUILD,
            f"`{entry.path}` is a name that deletes files of lower layers",
            where=where,
            detail="expected no part of a path that begins with `.wh.`",
            hint="give it another name; what a layer brought cannot be deleted, leave out its package",
        )
    if entry.kind is Kind.DIR:
        entry = dataclasses.replace(entry, path=_resolved(entry.path, where, placed, below))
        if entry.path in ("", *TRUNK) or entry.path.startswith(f"{_HOME}/"):
            _check_root(entry, where)
        return entry
    folder, _, name = entry.path.rpartition("/")
    path = "/".join(filter(None, (_resolved(folder, where, placed, below), name)))
    there = below.at(path)
    # Another link may replace a link, whatever is behind it; a file would hide what is.
    if there is not None and (there.kind is Kind.DIR or (entry.kind is Kind.FILE and _is_folder(path, below))):
        raise HelioError(
            Stage.BUILD,
            f"/{path} is a folder in the layers below, and all that is in it would be gone",
            where=where,
            detail=f"expected a folder not a {entry.kind.value}",
            hint="give it another name, or put the files into that folder",
        )
    return dataclasses.replace(entry, path=path)


def _check_root(entry: Entry, where: str) -> None:
    if (entry.mode, entry.uid, entry.gid) != (0o755, 0, 0) or not entry.path:
        raise HelioError(
            Stage.BUILD,
            f"/{entry.path} is of the environment, whose folders are root's",
            where=where,
            detail=f"expected 0755 and owner 0:0, as every layer of packages says, "
            f"not {entry.mode:04o} and {entry.uid}:{entry.gid}",
            hint="make the folder elsewhere, and a link to it here",
        )


def _is_folder(path: str, below: LowerFiles) -> bool:
    try:
        entry = below.at(_resolved(path, path, {}, below))
    except HelioError:
        return False
    return entry is not None and entry.kind is Kind.DIR


def _resolved(path: str, where: str, placed: Mapping[str, Entry], below: LowerFiles) -> str:
    """Return a folder's path in the image, without links; empty for the root. It need not exist."""
    resolved: list[str] = []
    parts, links = path.split("/")[::-1], 0
    while parts:
        part = parts.pop()
        if part == "..":
            # Above the root is the root.
            del resolved[-1:]
            continue
        if part in ("", "."):
            continue
        here = "/".join((*resolved, part))
        there = placed.get(here) or below.at(here)
        if there is None or there.kind is Kind.DIR:
            resolved.append(part)
            continue
        if there.kind is not Kind.SYMLINK:
            raise HelioError(
                Stage.BUILD,
                f"/{here} is a file, and `{path}` needs a folder there",
                where=where,
                detail="expected a folder, or a link to one, in the layers below",
                hint="give the folder another name",
            )
        links += 1
        if links > _MOST_LINKS:
            raise HelioError(
                Stage.BUILD,
                f"the links of `{path}` go in a circle",
                where=where,
                detail=f"/{here} is a link to {there.target}",
                hint="give the folder another name",
            )
        if there.target.startswith("/"):
            resolved.clear()
        parts += there.target.split("/")[::-1]
    return "/".join(resolved)


def _parents(placed: Mapping[str, Entry], below: LowerFiles) -> tuple[Entry, ...]:
    """Return the folders above the entries, with the owner and mode that they have or get."""
    parents: dict[str, Entry] = {}

    def folder(path: str) -> Entry:
        if path in placed:
            return placed[path]
        if path not in parents:
            there = below.at(path) if path else directory("")
            parents[path] = there or _like(path, folder(path.rpartition("/")[0]))
        return parents[path]

    for path in placed:
        folder(path.rpartition("/")[0])
    return tuple(entry for path, entry in parents.items() if path)


def _like(path: str, above: Entry) -> Entry:
    if above.mode & 0o002:
        return directory(path)
    return directory(path, mode=above.mode, uid=above.uid, gid=above.gid)


def _memo(layer: LayerPlan, below: Sequence[str]) -> str:
    return key_of([SETTLED, _FORMAT, layer.key, list(below)])


def _key(layer: LayerPlan, files: Sequence[Entry], settled: Sequence[Entry]) -> str:
    """Return the key of settled files: the plan's where they are what they are by themselves."""
    try:
        alone = _rows(merge(files))
    except HelioError:
        alone = []
    rows = _rows(settled)
    return layer.key if rows == alone else key_of([SETTLED, _FORMAT, layer.key, rows])


def _rows(entries: Sequence[Entry]) -> list[list[object]]:
    return [[entry.path, entry.kind.value, entry.mode, entry.uid, entry.gid, entry.target] for entry in entries]

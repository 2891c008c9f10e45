"""What a node that has one image must pull for another, and which packages are the reason. Pure.

Two figures, because engines differ. *Pull*: the layers that the node lacks, by their exact compressed sizes; what
containerd, CRI-O and podman fetch. *Unpack*: every layer from the lowest one that differs, since a file system is
stacked from below; dockerd's classic store fetches these again too. Stable layers low make both small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ..core.package import Package
from ..core.words import count, human_size
from ..locks import diff
from ..locks.diff import Change
from ..publish.contents import Contents


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRef:
    """One layer of an image.

    Attributes:
        digest: of the compressed bytes; for a layer that was never built, its key.
        size: compressed, in bytes.
        name: for people.
        exact: False for a layer that was never built; ``size`` is then the sum of its packages' files.
        unpacked: bytes of its tar stream; 0 where nothing says it.
    """

    digest: str
    size: int
    name: str = ""
    exact: bool = True
    unpacked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two images.

    Attributes:
        label: how messages call it.
        layers: base layer first.
        config: the config's digest and size in bytes; size 0 where it was never built (it has some kilobytes).
        packages: those of ``contents`` by their identity.
    """

    label: str
    layers: tuple[LayerRef, ...]
    config: tuple[str, int]
    contents: Contents
    packages: Mapping[tuple[str, str], Package] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once a side, for a catalogue compares each with a hundred others. Package lists have no digests.
        listed = sorted(self.contents.packages, key=lambda package: (package.kind, package.name))
        object.__setattr__(self, "packages", diff.by_identity(replace(package, sha256="") for package in listed))

    @property
    def size(self) -> int:
        """Bytes that a node with nothing pulls."""
        return sum(layer.size for layer in self.layers) + self.config[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What going from one image to another costs.

    Attributes:
        pull: layers of the new image that the old one lacks, base layer first.
        pull_bytes: theirs and the config's, if it differs.
        shared: layers that both have.
        unpack: layers of the new image from the lowest that differs.
        exact: whether the size of every layer is measured.
        changes: packages, in `locks.diff`'s order.
        known: whether both sides name packages at all.
        partial: labels of sides whose package list is not whole, with where it came from.
    """

    old: str
    new: str
    old_size: int
    new_size: int
    pull: tuple[LayerRef, ...]
    pull_bytes: int
    shared: tuple[LayerRef, ...]
    unpack: tuple[LayerRef, ...]
    exact: bool
    changes: tuple[Change, ...]
    known: bool
    partial: tuple[str, ...]

    def lines(self) -> tuple[str, ...]:
        """Return the delta for people."""
        sign = "" if self.exact else "about "
        unpacked = sum(layer.size for layer in self.unpack)
        rows = [
            f"{self.old} -> {self.new}",
            f"pull    {sign}{human_size(self.pull_bytes)} in {count(len(self.pull), 'layer')}"
            f" of {human_size(self.new_size)} in {len(self.shared) + len(self.pull)}",
            f"unpack  {sign}{human_size(unpacked)} in {count(len(self.unpack), 'layer')}"
            " (dockerd's classic store fetches these)",
        ]
        if not self.exact:
            unbuilt = sum(not layer.exact for layer in self.pull)
            rows.append(f"        {count(unbuilt, 'layer')} not built yet: counted by the packages' files")
        rows += [f"  {human_size(layer.size):>12}  {layer.name or layer.digest}" for layer in _largest(self.pull)]
        if len(self.pull) > _SHOWN:
            rest = sum(layer.size for layer in self.pull) - sum(layer.size for layer in _largest(self.pull))
            rows.append(f"  {human_size(rest):>12}  {count(len(self.pull) - _SHOWN, 'more layer')}")
        rows.append(f"packages: {summary(self.changes)}")
        rows += [f"  {change}" for change in self.changes]
        rows += [f"warning: {line}" for line in self.partial]
        return tuple(rows)


_SHOWN = 12


def delta(old: Side, new: Side) -> Delta:
    """Return what a node that has ``old`` must do for ``new``."""
    have = {layer.digest for layer in old.layers}
    pull = tuple(dict.fromkeys(layer for layer in new.layers if layer.digest not in have))
    config = 0 if new.config[0] == old.config[0] else new.config[1]
    same = 0
    for before, after in zip(old.layers, new.layers, strict=False):
        if before.digest != after.digest:
            break
        same += 1
    partial = tuple(_missing(side) for side in (old, new) if not side.contents.complete)
    return Delta(
        old=old.label,
        new=new.label,
        old_size=old.size,
        new_size=new.size,
        pull=pull,
        pull_bytes=sum(layer.size for layer in pull) + config,
        shared=tuple(layer for layer in new.layers if layer.digest in have),
        unpack=new.layers[same:],
        exact=all(layer.exact for layer in pull),
        changes=changes(old, new),
        known=_known(old, new),
        partial=partial,
    )


def changes(old: Side, new: Side) -> tuple[Change, ...]:
    """Return the packages that changed; none where one side says nothing of its packages.

    Where a list is not whole, a package that only the other side names proves nothing, and is left out. What was
    rebuilt at the same version is not told: package lists have no digests.
    """
    if not _known(old, new):
        return ()
    unproven = {kind for kind, side in (("added", old), ("removed", new)) if not side.contents.complete}
    return tuple(change for change in diff.between(old.packages, new.packages) if change.kind not in unproven)


def summary(differences: Iterable[Change]) -> str:
    """Return e.g. ``2 upgraded, 1 added``."""
    kinds = [change.kind for change in differences]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in diff.KINDS if kind in kinds) or "none changed"


def _known(old: Side, new: Side) -> bool:
    return "none" not in (old.contents.source, new.contents.source)


def _missing(side: Side) -> str:
    if side.contents.source == "none":
        return f"{side.label} carries no package list, so packages are not compared"
    return f"{side.label} lists {count(len(side.contents.packages), 'package')} in its history, not all of them"


def _largest(layers: Iterable[LayerRef]) -> list[LayerRef]:
    return sorted(layers, key=lambda layer: (-layer.size, layer.digest))[:_SHOWN]

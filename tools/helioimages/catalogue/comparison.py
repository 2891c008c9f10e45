"""The deltas that the compare page shows, made by `delta` and packed: one file a build that people go to. Pure.

A page without a server cannot ask, so each delta that it shows is in the site. From one build to the next few packages
and layers differ, and what differs stays so for a run of builds. So a file has each change and each layer once, with
the runs of builds from which it holds: some 70 kB for a hundred builds of an image of 900 packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from ..locks import ecosystems
from ..locks.diff import order
from .delta import Delta, LayerRef, Side, delta, summary
from .model import Catalogue, CatalogueEntry

#: Builds of one image and platform that are compared with each other, the newest ones: a year of weekly builds. Bytes
#: and seconds grow with its square: some 6 MB for an image of 900 packages. `buildimages delta` compares any two.
COMPARED = 52


#: Image -> kind and name of a package -> why it is in the image, for people.
Reasons = Mapping[str, Mapping[tuple[str, str], str]]
NO_REASONS: Reasons = MappingProxyType({})


def comparisons(catalogue: Catalogue, reasons: Reasons = NO_REASONS) -> Iterator[tuple[CatalogueEntry, dict[str, Any]]]:
    """Yield each build that one may go to, and the deltas to it as `packed` has them."""
    groups = _groups(catalogue)
    sides = {entry.id: entry.side() for entries in groups.values() for entry in entries}
    for key, entries in groups.items():
        others = [
            next((entry for entry in entries if not entry.yanked), entries[0])
            for other, entries in groups.items()
            if other != key and other[1] == key[1]
        ]
        for entry in entries:
            # What hangs on the build says it of this build; the checkout's locks may be of another day.
            why = entry.weight.reasons() if entry.weight else reasons.get(entry.image, {})
            yield entry, packed(entry, (*entries, *others), sides, why)


def compared(catalogue: Catalogue) -> frozenset[str]:
    """Return the ids of the builds that `comparisons` goes to."""
    return frozenset(entry.id for entries in _groups(catalogue).values() for entry in entries)


def packed(
    new: CatalogueEntry,
    olds: Iterable[CatalogueEntry],
    sides: Mapping[str, Side],
    reasons: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    """Return the deltas from each of ``olds`` to one build, as the page reads them.

    * ``label``, ``yanked``, ``size`` in bytes and ``layers``, their number: of the build;
    * ``from``: a row an old build: its id and label; bytes and layers to pull; bytes and layers to unpack; layers that
      are there already; what became of packages, empty where it is not known; what is to be said of package lists;
    * ``pull``: name and bytes of a layer, the largest first, and of which rows of ``from`` it holds;
    * ``changes``: a row a word and package, in `delta`'s order: the word, the package's name, kind and new version, a
      row an old version (the version, and the same), and why the image has it, empty where that is not known.

    Of which rows: first, last, first, last, …, the last ones included.

    Args:
        sides: of all of them, by their ids.
        reasons: why the build has a package, by kind and name.
    """
    rows: list[list[Any]] = []
    layers: dict[LayerRef, list[int]] = {}
    changes: dict[tuple[tuple[int, str], str, str, str, str], dict[str, list[int]]] = {}
    side = sides[new.id]
    for at, old in enumerate(olds):
        update = delta(sides[old.id], side)
        rows.append([old.id, _label(old), *_totals(update), _told(update), list(update.partial)])
        for layer in update.pull:
            layers.setdefault(layer, []).append(at)
        for change in update.changes:
            # As `delta` sorts: of one word and name, by the world that the name is of.
            world = ecosystems.of(change.package_kind).world
            key = (order(change), world, change.kind, change.package_kind, change.new)
            changes.setdefault(key, {}).setdefault(change.old, []).append(at)
    return {
        "label": _label(new),
        "yanked": new.yanked,
        "size": side.size,
        "layers": len(side.layers),
        "from": rows,
        "pull": [
            [layer.name, layer.size, *_runs(layers[layer])]
            for layer in sorted(layers, key=lambda layer: (-layer.size, layer.digest))
        ],
        "changes": [
            [
                word,
                name,
                kind,
                now,
                [[before, *_runs(places)] for before, places in changes[key].items()],
                reasons.get((kind, name), ""),
            ]
            for key in sorted(changes)
            for (_, name), _, word, kind, now in [key]
        ],
    }


def _groups(catalogue: Catalogue) -> dict[tuple[str, str], list[CatalogueEntry]]:
    """Return the builds of each image and platform, newest first."""
    groups: dict[tuple[str, str], list[CatalogueEntry]] = {}
    for image in catalogue.images:
        for entry in image.entries:
            groups.setdefault((image.name, str(entry.platform)), []).append(entry)
    return {key: entries[:COMPARED] for key, entries in groups.items()}


def _label(entry: CatalogueEntry) -> str:
    return f"{entry.image} {entry.tag}"


def _totals(update: Delta) -> tuple[int, ...]:
    unpacked = sum(layer.size for layer in update.unpack)
    return update.pull_bytes, len(update.pull), unpacked, len(update.unpack), len(update.shared)


def _told(update: Delta) -> str:
    return summary(update.changes) if update.known else ""


def _runs(places: list[int]) -> list[int]:
    """Return rising numbers as the firsts and lasts of their runs.

    >>> _runs([0, 1, 2, 5, 7, 8])
    [0, 2, 5, 5, 7, 8]
    """
    ends: list[int] = []
    for place in places:
        if ends and place == ends[-1] + 1:
            ends[-1] = place
        else:
            ends += [place, place]
    return ends

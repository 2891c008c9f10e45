"""The catalogue: what hub admins choose a tag from, as values, and as one JSON document for machines. Pure.

Package lists and layers of a year of tags differ little, so the document has one table of packages and one of layers,
and images name rows of them. Rows of one package are in the order of its versions: a larger number is a newer version.
`catalogue.schema.json` is the document's schema; `VERSION` rises when a reader of the old one would be wrong.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.package import Package
from ..core.platform import Platform
from ..locks import ecosystems
from ..publish.contents import Contents
from ..spec.tags import newest_first
from ..spec.yanks import Yank
from .delta import LayerRef, Side
from .weight import Weight
from .works import Shown

VERSION = 1
#: Packages of each list of weights in the document, which has a hundred builds.
_HEAVIEST = 10
#: label -> our key; every image states them, ours under these labels.
FACTS = {
    "python": "io.helioimages.python",
    "jupyterhub": "io.helioimages.jupyterhub",
    "jupyterlab": "io.helioimages.jupyterlab",
    "dask": "io.helioimages.dask",
    "cuda": "io.helioimages.cuda",
    "driver": "io.helioimages.cuda.driver",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of an artifact; ``path`` is where the site has it, empty if it was not copied."""

    name: str
    media_type: str
    digest: str
    size: int
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """An artifact that refers to an image; ``kind`` as in `referring.Artifact`."""

    kind: str
    type: str
    digest: str
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """How one smoke notebook went; ``path``, ``page`` (the same to read) and ``figures`` are files of the site."""

    name: str
    title: str
    status: str
    seconds: float
    peak_memory_bytes: int | None
    path: str = ""
    page: str = ""
    figures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """A smoke report; ``report`` is the page in the site."""

    passed: bool
    notebooks: tuple[Notebook, ...]
    report: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One image: what one or more tags name, for one platform.

    Attributes:
        digest: of its manifest.
        named: what its tags name: the same digest, or that of an index of platforms.
        tags: dated ones first, newest first, then lock tags, then those that move.
        created: RFC 3339.
        facts: versions by the keys of `FACTS`; an unknown one is absent.
        works: of teams, that hang on it.
        weight: what it weighs and why; None where nothing that hangs on it says so.
        signature: ``none``, ``attached`` (nobody checked it), ``verified`` or ``bad``.
        advisory: what the checkout's yanked.toml says.
        faults: what could not be read, for people.
    """

    image: str
    digest: str
    named: str
    platform: Platform
    tags: tuple[str, ...]
    created: str
    facts: dict[str, str] = field(hash=False)
    layers: tuple[LayerRef, ...]
    config: tuple[str, int]
    contents: Contents
    attached: tuple[Attached, ...] = ()
    smoke: Smoke | None = None
    works: tuple[Shown, ...] = ()
    weight: Weight | None = None
    signature: str = "none"
    advisory: Yank | None = None
    faults: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that a node with nothing pulls."""
        return sum(layer.size for layer in self.layers) + self.config[1]

    @property
    def unpacked(self) -> int:
        """Bytes of its layers' tar streams, what they take on a disk; 0 where it is not known of each."""
        sizes = [layer.unpacked for layer in self.layers]
        return sum(sizes) if all(sizes) else 0

    @property
    def tag(self) -> str:
        """The name for people: the newest dated tag, else the first tag there is, else the digest's start."""
        return self.tags[0] if self.tags else self.digest[7:19]

    @property
    def id(self) -> str:
        """A name that no other entry has, safe in a file name."""
        return entry_id(self.image, self.digest, self.named)

    @property
    def yanked(self) -> bool:
        """Whether hubs should leave it."""
        return self.advisory is not None and self.advisory.level == "yanked"

    def has(self, kind: str) -> bool:
        """Say whether an artifact of a kind is attached."""
        return any(artifact.kind == kind for artifact in self.attached)

    def side(self) -> Side:
        """Return it as `delta` sees it."""
        return Side(label=f"{self.image}:{self.tag}", layers=self.layers, config=self.config, contents=self.contents)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePage:
    """One repository, its entries newest first."""

    name: str
    repository: str
    title: str
    description: str
    entries: tuple[CatalogueEntry, ...]

    @property
    def newest(self) -> CatalogueEntry:
        """The entry to take: the newest one that nobody yanked, or the newest of all if every one is."""
        return next((entry for entry in self.entries if not entry.yanked), self.entries[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """All that is read from one registry."""

    registry: str
    images: tuple[ImagePage, ...]

    @property
    def entries(self) -> tuple[CatalogueEntry, ...]:
        """Every image's entries."""
        return tuple(entry for image in self.images for entry in image.entries)


def entry_id(image: str, digest: str, named: str) -> str:
    """Return `CatalogueEntry.id`: one image may stand alone and in an index too.

    >>> entry_id("org/helio", "sha256:0123456789abcdef", "sha256:0123456789abcdef")
    'org-helio-0123456789ab'
    """
    within = "" if named == digest else f"-in-{named[7:19]}"
    return f"{image.replace('/', '-')}-{digest[7:19]}{within}"


def page_of(image: str, entry: Mapping[str, Any]) -> str:
    """Return the path in the site of an entry of the document."""
    return f"tags/{entry_id(image, entry['digest'], entry['named'])}.html"


def order_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as people look for them: dated, newest first; lock tags; what moves.

    >>> order_tags(["latest", "lock-000000000000", "2026.11.01", "2026.11.01-2"])
    ('2026.11.01-2', '2026.11.01', 'lock-000000000000', 'latest')
    """
    names = tuple(sorted(tags))
    dated = newest_first(names)
    locks = [tag for tag in names if tag.startswith("lock-")]
    return (*dated, *locks, *(tag for tag in names if tag not in dated and tag not in locks))


def newest_entries_first(entries: Iterable[CatalogueEntry]) -> tuple[CatalogueEntry, ...]:
    """Return entries by time, the newest first; of one second, the higher dated tag first."""
    dated = newest_first(tuple(tag for entry in entries for tag in entry.tags))
    place = {tag: index for index, tag in enumerate(dated)}
    rows = sorted(
        entries, key=lambda entry: min((place.get(tag, len(place)) for tag in entry.tags), default=len(place))
    )
    return tuple(sorted(rows, key=lambda entry: entry.created, reverse=True))


def package_table(entries: Iterable[CatalogueEntry]) -> tuple[Package, ...]:
    """Return every package of every entry once, by kind, name and version, older versions first."""
    packages_by_key: dict[tuple[str, str, str], Package] = {}
    for entry in entries:
        for package in entry.contents.packages:
            known = packages_by_key.setdefault(_key(package), package)
            if not known.licenses and package.licenses:
                packages_by_key[_key(package)] = package
    rows = sorted(packages_by_key.values(), key=lambda package: (package.kind, package.name))
    return tuple(
        package
        for _, mine in itertools.groupby(rows, key=lambda package: (package.kind, package.name))
        # Versions that are equal in their order (1.0, 1.0.0) stand side by side, always in the same way.
        for package in sorted(
            sorted(mine, key=_key), key=lambda package: ecosystems.order(package.kind, package.version)
        )
    )


def package_row(package: Package) -> dict[str, str]:
    """Return a package as the document and the store's notes have it."""
    return {
        "kind": package.kind,
        "name": package.name,
        "version": package.version,
        "licenses": package.licenses,
        "purl": package.purl,
    }


def layer_table(entries: Iterable[CatalogueEntry]) -> tuple[LayerRef, ...]:
    """Return every layer once, in the order in which entries first name them."""
    layers: dict[str, LayerRef] = {}
    for layer in (layer for entry in entries for layer in entry.layers):
        known = layers.setdefault(layer.digest, layer)
        if layer.unpacked and not known.unpacked:
            layers[layer.digest] = layer
    return tuple(layers.values())


def document(catalogue: Catalogue) -> dict[str, Any]:
    """Return the JSON value of a catalogue; `catalogue.schema.json` describes it."""
    packages, layers = package_table(catalogue.entries), layer_table(catalogue.entries)
    row_of = {_key(package): index for index, package in enumerate(packages)}
    layer_row = {layer.digest: index for index, layer in enumerate(layers)}
    return {
        "version": VERSION,
        "registry": catalogue.registry,
        "packages": [package_row(package) for package in packages],
        "layers": [
            {"digest": layer.digest, "size": layer.size, "unpacked": layer.unpacked, "name": layer.name}
            for layer in layers
        ],
        "images": [
            {
                "name": image.name,
                "repository": image.repository,
                "title": image.title,
                "description": image.description,
                "entries": [
                    _entry(entry, f"{catalogue.registry}/{image.repository}", row_of, layer_row)
                    for entry in image.entries
                ],
            }
            for image in catalogue.images
        ],
    }


def _entry(
    entry: CatalogueEntry, repository: str, row_of: dict[tuple[str, str, str], int], layer_row: dict[str, int]
) -> dict[str, Any]:
    contents, advisory = entry.contents, entry.advisory
    return {
        "reference": f"{repository}@{entry.named}",
        "digest": entry.digest,
        "named": entry.named,
        "platform": str(entry.platform),
        "tags": list(entry.tags),
        "created": entry.created,
        "size": entry.size,
        "unpacked": entry.unpacked,
        "facts": dict(sorted(entry.facts.items())),
        "config": {"digest": entry.config[0], "size": entry.config[1]},
        "layers": [layer_row[layer.digest] for layer in entry.layers],
        "packages": {
            "source": contents.source,
            "complete": contents.complete,
            "rows": sorted(row_of[_key(package)] for package in contents.packages),
        },
        "signature": entry.signature,
        "attached": [_plain(artifact) for artifact in entry.attached],
        "smoke": _plain(entry.smoke) if entry.smoke else None,
        "works": [_plain(work) for work in entry.works],
        "weight": _weight(entry.weight) if entry.weight else None,
        "advisory": {
            "level": advisory.level,
            "reason": advisory.reason,
            "date": advisory.date.isoformat(),
            "replacement": advisory.replacement,
            "aliases": list(advisory.aliases),
        }
        if advisory
        else None,
        "faults": list(entry.faults),
    }


def _weight(weight: Weight) -> dict[str, Any]:
    """Return what an image weighs, the heaviest alone: the whole is what hangs on the image."""
    return {
        "whole": weight.whole,
        "kinds": [_plain(kind) for kind in weight.kinds],
        "images": [_plain(image) for image in weight.images],
        "packages": [
            {
                "kind": package.kind,
                "name": package.name,
                "version": package.version,
                "bytes": package.bytes,
                "image": package.image,
                "why": str(package.reason),
            }
            for package in weight.packages[:_HEAVIEST]
        ],
        "asked": [
            {
                "kind": asked.kind,
                "name": asked.name,
                "who": list(asked.who),
                "bytes": asked.bytes,
                "alone": asked.alone,
                "with": list(asked.with_it),
            }
            for asked in weight.asked[:_HEAVIEST]
        ],
    }


def columns(document: dict[str, Any]) -> dict[str, Any]:
    """Return what the site's pages search, small: each package once, and its rows of each entry.

    An entry's rows are ``[removed, added]`` against the entry before, the first one's against nothing.
    """
    entries = []
    rows: set[int] = set()
    for image in document["images"]:
        for entry in image["entries"]:
            listed = set(entry["packages"]["rows"])
            entries.append(
                {
                    "id": entry_id(image["name"], entry["digest"], entry["named"]),
                    "image": image["name"],
                    "tags": entry["tags"],
                    "packages": [sorted(rows - listed), sorted(listed - rows)],
                }
            )
            rows = listed
    return {
        "packages": [[row["kind"], row["name"], row["version"], row["licenses"]] for row in document["packages"]],
        "entries": entries,
    }


def _plain(value: Any) -> dict[str, Any]:
    """Return a dataclass as JSON has it: with lists, not tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(value)))
    return plain


def _key(package: Package) -> tuple[str, str, str]:
    return (package.kind, package.name, package.version)

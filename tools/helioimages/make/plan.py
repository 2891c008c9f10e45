"""The layer plan: which package goes into which layer. Pure, and stable.

A package's layer depends on that package alone: one whose artefact is large has a layer of its own, a smaller one
shares a bucket chosen by a hash of its name. So adding, removing or upgrading one package touches one layer and moves
no other package, which is what makes rebuilds, pushes and pulls small. (Popularity, as some tools use, would reshuffle
layers when the world changes, and neighbours would when the environment does.)

Order, lowest first: Debian, conda packages, large wheels by name, buckets by number, the image's own files.
An engine must extract again whatever lies above a changed layer, and small packages change most often.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.digest import key_of
from ..core.entries import LINKER_VERSION
from ..core.errors import HelioError, Stage
from ..locks.package import Package

#: What an engine with overlay2 can stack, less a reserve for those who extend the image.
MAX_LAYERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """One layer: its name for people (``python``, ``wheels-07``), and the packages in it."""

    name: str
    packages: tuple[Package, ...]

    @property
    def size(self) -> int:
        """Bytes of the artefacts, a measure of the work."""
        return sum(package.size for package in self.packages)

    def key(self, *, prefix: str, interpreter: str, compressor: str) -> str:
        """Return the layer's key: equal keys mean equal bytes.

        Args:
            prefix: absolute, where the environment is.
            interpreter: names the interpreter that compiles (its artefact's sha256), since .pyc depend on it.
            compressor: name, version and level.
        """
        return key_of(
            {
                "linker": LINKER_VERSION,
                "prefix": prefix,
                "interpreter": interpreter,
                "compressor": compressor,
                "packages": sorted([p.kind, p.sha256, p.file_name, sorted(p.dropped)] for p in self.packages),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelves:
    alone: list[Package] = field(default_factory=list)
    buckets: dict[int, list[Package]] = field(default_factory=dict)


def bucket_of(name: str, buckets: int) -> int:
    """Return the bucket of a package: a hash of its name, so that it never moves.

    >>> bucket_of("numpy", 16) == bucket_of("numpy", 16)
    True
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % buckets


def plan_layers(packages: Iterable[Package], *, alone_bytes: int, buckets: int) -> tuple[LayerPlan, ...]:
    """Return the package layers of one image, lowest first.

    Args:
        packages: those that the parent image does not have; order does not matter.
        alone_bytes: artefacts of at least this many bytes have a layer of their own.
        buckets: layers that the smaller wheels share.

    Worked example, ``alone_bytes=10`` and ``buckets=2``::

        conda python 90, conda zlib 1, wheel torch 80, wheel six 1
        -> python | conda | torch | wheels-01
    """
    shelves = {"conda": _Shelves(), "wheel": _Shelves()}
    for package in packages:
        shelf = shelves[package.kind]
        if package.size >= alone_bytes:
            shelf.alone.append(package)
        else:
            # The conda part is a handful of libraries below the interpreter: one bucket.
            number = bucket_of(package.name, buckets) if package.kind == "wheel" else 0
            shelf.buckets.setdefault(number, []).append(package)
    layers = []
    for kind, shelf in shelves.items():
        layers += [LayerPlan(name=p.name, packages=(p,)) for p in sorted(shelf.alone, key=_by_name)]
        for number, members in sorted(shelf.buckets.items()):
            name = f"wheels-{number:02}" if kind == "wheel" else "conda"
            layers.append(LayerPlan(name=name, packages=tuple(sorted(members, key=_by_name))))
    return tuple(layers)


def check_count(image: str, count: int) -> None:
    """Refuse an image with more layers than engines take.

    Raises:
        HelioError: names the image and the key to change.
    """
    if count > MAX_LAYERS:
        raise HelioError(
            Stage.BUILD,
            f"image `{image}` has too many layers",
            where=f"images/{image}/image.toml at layers",
            detail=f"expected at most {MAX_LAYERS} not {count}",
            hint="raise layers.alone-mib or lower layers.buckets",
        )


def own_packages(mine: Iterable[Package], parents: Iterable[Package]) -> tuple[Package, ...]:
    """Return what the parent image does not have.

    Raises:
        HelioError: the parent has another artefact of the same package; a child is a superset at the same versions.
    """
    have: Mapping[tuple[str, str], Package] = {(p.kind, p.name): p for p in parents}
    own = []
    for package in mine:
        other = have.get((package.kind, package.name))
        if other is None:
            own.append(package)
        elif other.sha256 != package.sha256:
            raise HelioError(
                Stage.BUILD,
                f"`{package.name}` differs from the parent image's",
                detail=f"expected {other.file_name} not {package.file_name}",
                hint="run `buildimages lock`",
            )
    return tuple(own)


def _by_name(package: Package) -> tuple[str, str]:
    return (package.name, package.file_name)

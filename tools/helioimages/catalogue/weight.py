"""What an image weighs: bytes by kind, by image of its line, by package, and by what people ask for. Pure.

Bytes are those of the packages' files as they are fetched (wheel, .conda, .deb), which every lock tells; a layer has
about as many, for both are compressed. `buildimages report` weighs a checkout's image so, and the catalogue a published
one, of what hangs on it (`publish.weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.words import count, human_size
from ..locks import ecosystems
from ..locks.reasons import Key, Needs, WhyThere

#: Rows of each list that people are shown.
SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """Bytes and packages of something; ``name`` is an ecosystem's or an image's."""

    name: str
    packages: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One package; ``image`` is the one of the line that brings it."""

    kind: str
    name: str
    version: str
    bytes: int
    image: str
    reason: WhyThere


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A package that is asked for.

    Attributes:
        who: asks for it.
        bytes: its own.
        alone: its own and those of packages that nothing else in the image draws in: what leaving it out saves.
        with_it: names of those packages, the heaviest first.
    """

    kind: str
    name: str
    who: tuple[str, ...]
    bytes: int
    alone: int
    with_it: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """An image's weight.

    Attributes:
        size: bytes of its layers, compressed.
        exact: each layer was made here, or ``size`` counts the files of some packages instead.
        unpacked: bytes of its layers' tar streams: what they take on a node's disk; 0 if it is not known.
        whole: it is known of every package what it needs; else ``asked`` may say too little.
        kinds, images: in the order of the table and of the line.
        packages: the heaviest first.
        asked: the one first that saves most.
    """

    image: str
    size: int
    exact: bool
    unpacked: int
    whole: bool
    kinds: tuple[Sum, ...]
    images: tuple[Sum, ...]
    packages: tuple[Weighed, ...]
    asked: tuple[Asked, ...]

    def lines(self) -> tuple[str, ...]:
        """Return the weight for people; the whole is in the JSON."""
        total = sum(kind.bytes for kind in self.kinds)
        sign = "" if self.exact else "about "
        unpacked = f", {human_size(self.unpacked)} unpacked" if self.unpacked else ""
        rows = [
            f"{self.image}: layers of {sign}{human_size(self.size)}{unpacked},"
            f" made of {count(len(self.packages), 'package')} of {human_size(total)}"
        ]
        for heading, sums in (("by kind", self.kinds), ("by image", self.images)):
            rows += ["", heading]
            rows += [f"  {human_size(row.bytes):>9}  {row.name}, {count(row.packages, 'package')}" for row in sums]
        rows += ["", "the heaviest packages"]
        rows += [
            f"  {human_size(package.bytes):>9}  {package.name} {package.version} ({package.image}), {package.reason}"
            for package in self.packages[:SHOWN]
        ]
        rows += ["", "what leaving out one package that is asked for would save"]
        for asked in self.asked[:SHOWN]:
            more = f", with {few(asked.with_it)}" if asked.with_it else ""
            rows.append(f"  {human_size(asked.alone):>9}  {asked.name}{more}")
        if not self.whole:
            rows += ["", "note: not of every wheel is it known what it needs, so that some save more"]
        return tuple(rows)

    def reasons(self) -> dict[Key, str]:
        """Return why each package is there, for people."""
        return {(package.kind, package.name): str(package.reason) for package in self.packages}

    def asked_of(self, image: str) -> tuple[Asked, ...]:
        """Return what one image of the line asks for and brings itself, the one first that saves most."""
        brought = {(package.kind, package.name) for package in self.packages if package.image == image}
        return tuple(asked for asked in self.asked if (asked.kind, asked.name) in brought)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layers of an image that is weighed: their bytes; see `Weight`."""

    size: int
    exact: bool = True
    unpacked: int = 0


def weight(layers: Layers, line: Sequence[str], owners: Mapping[Key, str], needs: Needs) -> Weight:
    """Weigh an image.

    Args:
        line: the names of its ancestors, the oldest first, and its own.
        owners: which of them brings a package.
    """
    reasons = needs.reasons()
    packages = [
        Weighed(
            kind=package.kind,
            name=package.name,
            version=package.version,
            bytes=package.size,
            image=owners[key],
            reason=reasons[key],
        )
        for key, package in needs.packages.items()
    ]
    packages.sort(key=lambda package: (-package.bytes, package.kind, package.name))
    asked = []
    for key, names in needs.alone().items():
        sizes = {needed: needs.packages[needed].size for needed in names}
        others = sorted((other for other in names if other != key), key=lambda other: (-sizes[other], other))
        asked.append(
            Asked(
                kind=key[0],
                name=key[1],
                who=needs.asked[key],
                bytes=needs.packages[key].size,
                alone=sum(sizes.values()),
                with_it=tuple(name for _, name in others),
            )
        )
    asked.sort(key=lambda root: (-root.alone, root.kind, root.name))
    return Weight(
        image=line[-1],
        size=layers.size,
        exact=layers.exact,
        unpacked=layers.unpacked,
        whole=needs.whole,
        kinds=tuple(
            _sum(ecosystems.of(kind.kind).title, [package for package in packages if package.kind == kind.kind])
            for kind in ecosystems.ECOSYSTEMS
        ),
        images=tuple(_sum(name, [package for package in packages if package.image == name]) for name in line),
        packages=tuple(packages),
        asked=tuple(asked),
    )


def _sum(name: str, packages: Sequence[Weighed]) -> Sum:
    return Sum(name=name, packages=len(packages), bytes=sum(package.bytes for package in packages))


def few(names: Sequence[str]) -> str:
    """Return names, the first of them if they are many.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c, d and 1 more'
    """
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"

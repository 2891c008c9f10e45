"""Ways to put an environment's packages into layers, and what each makes a node pull over a year; pure, see year.py."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helioimages.core.package import Package
from helioimages.make.plan import plan_layers


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A package of one month: base has it, or helio adds it."""

    name: str
    version: str
    size: int
    base: bool


Month = tuple[Wheel, ...]
Layer = tuple[Wheel, ...]
Strategy = Callable[[Month], tuple[Layer, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """What was recorded.

    Attributes:
        days: of each month, the day as of which it was resolved.
        months: the packages of each.
        dependents: name -> how many packages need it, directly or not, in the last month.
    """

    days: tuple[str, ...]
    months: tuple[Month, ...]
    dependents: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelves:
    """How an image's wheels are put into layers, as image.toml says it."""

    alone_bytes: int
    buckets: int
    small_buckets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one way of layering costs over the year.

    Attributes:
        layers: at most.
        pulled: bytes of each release.
        changes: packages that changed, over all releases.
        alone: bytes that these would have cost if each had changed by itself, one after another.
    """

    name: str
    layers: int
    pulled: tuple[int, ...]
    changes: int
    alone: int

    @property
    def total(self) -> int:
        """Bytes of the whole year."""
        return sum(self.pulled)


def read(path: Path) -> Year:
    """Return the year that a file holds."""
    data = json.loads(path.read_text("utf-8"))
    months: list[list[Wheel]] = [[] for _ in data["days"]]
    for name, rows in data["wheels"].items():
        for version, size, base, first, last in rows:
            wheel = Wheel(name=name, version=version, size=size, base=bool(base))
            for month in months[first : last + 1]:
                month.append(wheel)
    return Year(days=tuple(data["days"]), months=tuple(map(tuple, months)), dependents=data["dependents"])


def write(path: Path, days: Sequence[str], months: Sequence[Month], dependents: Mapping[str, int]) -> None:
    """Write a year: of each wheel the first and the last month of each stretch in which it was the same."""
    wheels: dict[str, list[list[object]]] = {}
    for number, month in enumerate(months):
        for wheel in month:
            rows = wheels.setdefault(wheel.name, [])
            row: list[object] = [wheel.version, wheel.size, int(wheel.base), number, number]
            if rows and rows[-1][:3] == row[:3] and rows[-1][4] == number - 1:
                rows[-1][4] = number
            else:
                rows.append(row)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rows)}" for name, rows in sorted(wheels.items()))
    told = json.dumps(dict(sorted(dependents.items())))
    path.write_text(
        f'{{"days": {json.dumps(list(days))},\n"dependents": {told},\n"wheels": {{\n{lines}\n}}}}\n', "utf-8"
    )


def one_layer(month: Month) -> tuple[Layer, ...]:
    """Return base's packages, and what helio adds."""
    return tuple(tuple(wheel for wheel in month if wheel.base is base) for base in (True, False))


def first_alone(key: Callable[[Wheel], Any], layers: int) -> Strategy:
    """Return a strategy: the first by ``key`` have a layer of their own, the rest shares the last one."""

    def split(month: Month) -> tuple[Layer, ...]:
        ordered = sorted(month, key=lambda wheel: (key(wheel), wheel.name))
        alone = tuple((wheel,) for wheel in ordered[: layers - 1])
        return (*alone, tuple(ordered[layers - 1 :]))

    return split


def by_stability(stability: Mapping[str, float], layers: int) -> Strategy:
    """Return a strategy: of all pairs of layers, those are merged first that lose least of (size x stability)."""

    def split(month: Month) -> tuple[Layer, ...]:
        groups: dict[int, tuple[int, float, Layer]] = {
            number: (wheel.size, stability[wheel.name], (wheel,)) for number, wheel in enumerate(month)
        }

        def loss(a: int, b: int) -> float:
            (size, stable, _), (other, as_stable, _) = groups[a], groups[b]
            return size * stable + other * as_stable - (size + other) * stable * as_stable

        heap = [(loss(a, b), a, b) for a, b in itertools.combinations(groups, 2)]
        heapq.heapify(heap)
        fresh = itertools.count(len(month))
        while len(groups) > layers:
            _, a, b = heapq.heappop(heap)
            if a not in groups or b not in groups:
                continue
            (size, stable, some), (other, as_stable, more) = groups.pop(a), groups.pop(b)
            number = next(fresh)
            groups[number] = (size + other, stable * as_stable, some + more)
            for group in groups:
                if group != number:
                    heapq.heappush(heap, (loss(number, group), number, group))
        return tuple(wheels for _, _, wheels in groups.values())

    return split


def ours(base: Shelves, helio: Shelves) -> Strategy:
    """Return our strategy, by the plan that images are made of."""

    def split(month: Month) -> tuple[Layer, ...]:
        layers: list[Layer] = []
        for is_base, shelves in ((True, base), (False, helio)):
            known = {wheel.name: wheel for wheel in month if wheel.base is is_base}
            packages = [
                Package(
                    kind="wheel",
                    name=wheel.name,
                    version=wheel.version,
                    file_name=wheel.name,
                    sha256=wheel.name,
                    size=wheel.size,
                )
                for wheel in known.values()
            ]
            groups = plan_layers(
                packages,
                alone_bytes=shelves.alone_bytes,
                buckets=shelves.buckets,
                small_buckets=shelves.small_buckets,
            )
            layers += [tuple(known[package.name] for package in group.packages) for group in groups]
        return tuple(layers)

    return split


def bound(month: Month) -> tuple[Layer, ...]:
    """Return a layer a package."""
    return tuple((wheel,) for wheel in month)


def replayed(name: str, months: Iterable[Month], split: Strategy) -> Result:
    """Return what a node pulls that had the month before."""
    pulled: list[int] = []
    have: frozenset[frozenset[tuple[str, str]]] | None = None
    most = changes = alone = 0
    before: frozenset[tuple[str, str]] = frozenset()
    for month in months:
        layers = {frozenset((w.name, w.version) for w in layer): layer for layer in split(month) if layer}
        if have is not None:
            pulled.append(sum(wheel.size for key in layers.keys() - have for wheel in layers[key]))
            for key, layer in layers.items():
                changed = len(key - before)
                changes, alone = changes + changed, alone + changed * sum(wheel.size for wheel in layer)
        most, have = max(most, len(layers)), frozenset(layers)
        before = frozenset().union(*layers)
    return Result(name=name, layers=most, pulled=tuple(pulled), changes=changes, alone=alone)


def stability(months: Sequence[Month]) -> dict[str, float]:
    """Return name -> the share of releases in which a package stayed as it was; never quite all or none."""
    stayed: dict[str, int] = {}
    seen: dict[str, int] = {}
    for before, after in itertools.pairwise(months):
        old = {wheel.name: wheel.version for wheel in before}
        for wheel in after:
            seen[wheel.name] = seen.get(wheel.name, 0) + 1
            stayed[wheel.name] = stayed.get(wheel.name, 0) + (old.get(wheel.name) == wheel.version)
    share = {name: (stayed[name] + 0.5) / (count + 1) for name, count in seen.items()}
    return {wheel.name: 0.5 for month in months for wheel in month} | share

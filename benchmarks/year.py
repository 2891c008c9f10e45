#!/usr/bin/env python3
"""A year of releases: what a node that has last month's helio pulls for this month's, by how packages share layers.

``year.json`` holds what helio's environment was on the first day of each of 13 months: names, versions and sizes of
wheels, as uv resolved today's environment.yml with ``--exclude-newer``. So these figures need no index and never
change; ``--record`` makes the file anew from one.

What is compared, each with as many layers as ours has (but for the first and the last):

* one layer: all packages of base in one, and what helio adds in another, as one ``RUN`` each makes them.
* size: the largest packages have a layer of their own, the rest shares the last one (apko's "origin" strategy; a wheel
  is its own origin).
* popularity: those on which most others depend have a layer of their own, the rest shares the last one (nixpkgs).
* stability: layers are merged, two at a time, where that costs least by size and by how often packages change
  (chunkah). It is told beforehand how often each changes in this very year, which nobody knows.
* ours: large packages alone, the others in buckets by a hash of their names, small ones in buckets of their own, in
  base and in helio.
* bound: what changed, and nothing else; more layers than engines take.

"One change" is what a release costs in which one package changes and no other: the mean over all changes of the year.

A wheel's size stands for that of its part in a layer; both are compressed. Debian's and conda's layers are left out:
they are the same on every side.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from helioimages.machine import bootstrap  # noqa: E402

bootstrap.ensure()

import layerings  # noqa: E402
from layerings import Result, Shelves, Strategy, Year, replayed  # noqa: E402

from helioimages.locks.checkout import Checkout  # noqa: E402

DATA = Path(__file__).with_name("year.json")
#: Layers of base and helio that hold no wheels: two of Debian, two of conda, two of files.
OTHERS = 6
#: Layers of both images at most; engines take some more, which those need who extend them.
LAYERS = 110


def shelves_of(image: str) -> Shelves:
    """Return what an image of this checkout says."""
    spec = Checkout.of(ROOT).images[image]
    return Shelves(alone_bytes=spec.alone_bytes, buckets=spec.buckets, small_buckets=spec.small_buckets)


def compared(year: Year) -> tuple[Result, ...]:
    """Return all ways of layering, those with a number of layers at ours."""
    mine = replayed("ours", year.months, layerings.ours(shelves_of("base"), shelves_of("helio")))
    stable = layerings.stability(year.months)
    ways: tuple[tuple[str, Strategy], ...] = (
        ("one layer an image", layerings.one_layer),
        ("size (apko)", layerings.first_alone(lambda wheel: -wheel.size, mine.layers)),
        ("popularity (nixpkgs)", layerings.first_alone(lambda wheel: -year.dependents.get(wheel.name, 0), mine.layers)),
        ("stability (chunkah), told the future", layerings.by_stability(stable, mine.layers)),
    )
    others = tuple(replayed(name, year.months, split) for name, split in ways)
    return (*others, mine, replayed("bound", year.months, layerings.bound))


def swept(year: Year, layers: int) -> tuple[tuple[Result, Shelves, Shelves], ...]:
    """Return our own settings that stay within so many layers of both images, the best first."""
    sides: list[list[tuple[Result, Shelves]]] = []
    for is_base in (True, False):
        months = tuple(tuple(wheel for wheel in month if wheel.base is is_base) for month in year.months)
        every = (
            Shelves(alone_bytes=mib << 20, buckets=count, small_buckets=small)
            for mib, count, small in itertools.product((2, 3, 4, 6, 8), (1, 2, 4, 6, 8, 12, 24), (0, 2, 3, 4, 5, 6, 8))
        )
        sides.append([(replayed("", months, layerings.ours(shelves, shelves)), shelves) for shelves in every])
    fitting = []
    for (low, base), (high, helio) in itertools.product(*sides):
        pulled = tuple(a + b for a, b in zip(low.pulled, high.pulled, strict=True))
        result = Result(
            name="ours",
            layers=low.layers + high.layers,
            pulled=pulled,
            changes=low.changes + high.changes,
            alone=low.alone + high.alone,
        )
        if result.layers + OTHERS <= layers:
            fitting.append((result, base, helio))
    return tuple(sorted(fitting, key=lambda row: (row[0].total, row[0].layers)))


def table(results: Sequence[Result]) -> str:
    """Return the figures for people."""
    least = results[-1].total
    rows = [f"{'':<38}{'layers':>7}{'median':>9}{'worst':>9}{'a year':>11}{'x bound':>9}{'one change':>12}"]
    for result in results:
        rows.append(
            f"{result.name:<38}{result.layers:>7}{statistics.median(result.pulled) / 1e6:>6.0f} MB"
            f"{max(result.pulled) / 1e6:>6.0f} MB{result.total / 1e6:>8,.0f} MB{result.total / least:>9.2f}"
            f"{result.alone / result.changes / 1e6:>9.1f} MB"
        )
    return "\n".join(rows)


def main() -> None:
    """Replay and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sweep", action="store_true", help="try other values of image.toml's section layers")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of both images at most, for --sweep (%(default)s)")
    parser.add_argument("--record", metavar="DAY", nargs="+", help="resolve as of these days, and write year.json")
    asked = parser.parse_args()
    if asked.record:
        import record_year

        layerings.write(DATA, asked.record, *record_year.record(ROOT, asked.record))
    year = layerings.read(DATA)
    results = compared(year)
    if asked.json:
        rows = [
            {
                "name": r.name,
                "layers": r.layers,
                "pulled": r.pulled,
                "total": r.total,
                "one_change": r.alone // r.changes,
            }
            for r in results
        ]
        print(json.dumps({"days": year.days, "ways": rows}, indent=2))
        return
    print(f"{len(year.months) - 1} releases from {year.days[0]} to {year.days[-1]}, layers of wheels alone\n")
    print(table(results))
    if asked.sweep:
        words = "alone-mib, buckets, small-buckets"
        print(f"\nours with other values ({words}) of base and of helio, at most {asked.layers} layers\n")
        for result, base, helio in swept(year, asked.layers)[:10]:
            sides = [f"{side.alone_bytes >> 20} MiB, {side.buckets}, {side.small_buckets}" for side in (base, helio)]
            print(f"  {sides[0]:<17}{sides[1]:<17}{table((result, results[-1])).splitlines()[1][38:]}")


if __name__ == "__main__":
    main()

"""benchmarks/year.py: what each way of layering makes a node pull, on small months and on the recorded year."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import layerings  # noqa: E402
from layerings import Shelves, Wheel, replayed  # noqa: E402

from helioimages.locks.checkout import Checkout  # noqa: E402


def month(*rows: tuple[str, str, int], base: tuple[str, ...] = ()) -> tuple[Wheel, ...]:
    return tuple(Wheel(name=n, version=v, size=s, base=n in base) for n, v, s in rows)


BEFORE = month(("big", "1", 100), ("mid", "1", 50), ("a", "1", 3), ("b", "1", 2), base=("big", "a"))
AFTER = month(("big", "1", 100), ("mid", "1", 50), ("a", "2", 4), ("b", "1", 2), base=("big", "a"))


def pulled(split, *months) -> tuple[int, ...]:
    return replayed("x", months or (BEFORE, AFTER), split).pulled


def test_what_one_changed_package_costs():
    assert pulled(layerings.one_layer) == (104,)
    assert pulled(layerings.first_alone(lambda wheel: -wheel.size, 3)) == (4 + 2,)
    assert pulled(layerings.first_alone(lambda wheel: -wheel.size, 2)) == (50 + 4 + 2,)
    assert pulled(layerings.bound) == (4,)
    # Base's bucket has `a` alone, since `big` has a layer of its own.
    shelves = Shelves(alone_bytes=10, buckets=1)
    assert pulled(layerings.ours(shelves, shelves)) == (4,)
    assert pulled(layerings.ours(Shelves(alone_bytes=1000, buckets=1), shelves)) == (104,)


def test_what_each_change_would_cost_by_itself():
    both = month(("big", "1", 100), ("mid", "2", 51), ("a", "2", 4), ("b", "1", 2), base=("big", "a"))
    year = replayed("x", (BEFORE, both), layerings.one_layer)
    assert (year.changes, year.alone, year.pulled) == (2, 104 + 53, (157,))
    least = replayed("x", (BEFORE, both), layerings.bound)
    assert (least.changes, least.alone, least.total) == (2, 55, 55)


def test_what_does_not_change_costs_nothing_and_what_goes_neither():
    for split in (layerings.one_layer, layerings.bound):
        assert pulled(split, BEFORE, BEFORE) == (0,)
    assert pulled(layerings.bound, BEFORE, BEFORE[1:]) == (0,)
    assert pulled(layerings.one_layer, BEFORE, BEFORE[1:]) == (3,)


def test_a_package_that_moves_between_base_and_child_is_pulled_by_layers_of_ours_too():
    moved = month(("big", "1", 100), ("mid", "1", 50), ("a", "1", 3), ("b", "1", 2), base=("big", "a", "mid"))
    shelves = Shelves(alone_bytes=1, buckets=1)
    assert pulled(layerings.ours(shelves, shelves), BEFORE, moved) == (0,)


def test_stability_merges_what_never_changes_first():
    stable = {"big": 0.9, "mid": 0.9, "a": 0.1, "b": 0.9}
    layers = layerings.by_stability(stable, 2)(BEFORE)
    assert sorted(sorted(wheel.name for wheel in layer) for layer in layers) == [["a", "b"], ["big", "mid"]]
    assert {wheel.name for layer in layers for wheel in layer} == {"big", "mid", "a", "b"}
    assert len(layerings.by_stability(stable, 9)(BEFORE)) == 4


def test_stability_is_of_the_releases_that_were():
    stability = layerings.stability((BEFORE, AFTER, AFTER))
    assert stability == {"big": 2.5 / 3, "mid": 2.5 / 3, "a": 1.5 / 3, "b": 2.5 / 3}


def test_a_year_is_written_and_read(tmp_path):
    path = tmp_path / "year.json"
    months = (BEFORE, AFTER, AFTER[:2], AFTER)
    layerings.write(path, ["d0", "d1", "d2", "d3"], months, {"a": 3})
    year = layerings.read(path)
    assert year.days == ("d0", "d1", "d2", "d3")
    assert year.dependents == {"a": 3}
    assert [set(month) for month in year.months] == [set(month) for month in months]


@pytest.fixture(scope="module")
def year() -> layerings.Year:
    return layerings.read(BENCHMARKS / "year.json")


def test_the_recorded_year_is_whole(year):
    assert len(year.days) == len(year.months) == 13
    assert list(year.days) == sorted(year.days)
    for month in year.months:
        names = [wheel.name for wheel in month]
        assert len(names) == len(set(names)) > 400
        assert all(wheel.size > 0 for wheel in month)
        assert 100 < sum(wheel.base for wheel in month) < len(month)
    assert all(set(a) != set(b) for a, b in pairwise(year.months))


def test_what_a_year_of_releases_costs_with_this_checkouts_layers(year):
    images = Checkout.of(BENCHMARKS.parent).images
    base, helio = (
        Shelves(alone_bytes=spec.alone_bytes, buckets=spec.buckets, small_buckets=spec.small_buckets)
        for spec in (images["base"], images["helio"])
    )
    mine = replayed("ours", year.months, layerings.ours(base, helio))
    least = replayed("bound", year.months, layerings.bound)
    # Six layers hold no wheels: Debian's, conda's, and the images' own files.
    assert mine.layers + 6 <= 110
    assert mine.total <= 1.15 * least.total
    assert mine.alone / mine.changes <= 12_000_000


def test_nothing_is_below_the_bound_and_one_layer_costs_most(year):
    least = replayed("bound", year.months, layerings.bound).pulled
    most = replayed("one", year.months, layerings.one_layer).pulled
    shelves = Shelves(alone_bytes=4 << 20, buckets=16)
    mine = replayed("ours", year.months, layerings.ours(shelves, shelves)).pulled
    assert all(low <= middle <= high for low, middle, high in zip(least, mine, most, strict=True))

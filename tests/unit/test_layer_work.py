"""benchmarks/layer_work.py: what is compared is the same work, and what costs too much is refused. Nothing is timed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import layer_work  # noqa: E402
from layer_work import Cost  # noqa: E402


def test_a_change_may_cost_a_tenth_more_and_no_more():
    before = Cost(ours=1.2, reference=1.0)
    assert layer_work.fault(Cost(ours=1.31, reference=1.0), most=None, before=before) == ""
    said = layer_work.fault(Cost(ours=1.33, reference=1.0), most=None, before=before)
    assert said == (
        "layers cost 1.11 times what they cost before (1.33 not 1.20 times the reference), expected at most 1.10"
    )
    # A machine that is half as fast changes nothing.
    assert layer_work.fault(Cost(ours=2.6, reference=2.0), most=None, before=before) == ""


def test_many_small_changes_have_an_end_too():
    assert layer_work.fault(Cost(ours=1.4, reference=1.0), most=1.4, before=None) == ""
    said = layer_work.fault(Cost(ours=1.5, reference=1.0), most=1.4, before=None)
    assert said == "layers cost 1.50 times the reference, expected at most 1.40"
    assert layer_work.fault(Cost(ours=9, reference=1), most=None, before=None) == ""


def test_the_least_counts_and_the_reference_is_one_for_all():
    rows = {
        "ours": [Cost(ours=3, reference=2), Cost(ours=4, reference=1)],
        "before": [Cost(ours=5, reference=3), Cost(ours=2, reference=4)],
    }
    assert layer_work.least_of(rows) == {"ours": Cost(ours=3, reference=1), "before": Cost(ours=2, reference=1)}


def test_both_sides_make_a_layer_of_the_same_files(tmp_path):
    """The reference leaves nothing out: were it less work, a slower layer would hide in the ratio."""
    files = {f"some/part{number}.py": b"def f():\n    return %d\n" % number * 300 for number in range(40)}
    files |= {f"some/data{number}.bin": random.Random(number).randbytes(200_000) for number in range(8)}
    wheels = (layer_work.write_wheel(tmp_path, "some", files),)
    reference, ours = layer_work.reference(wheels), layer_work.ours(wheels, tmp_path / "store")
    assert ours == pytest.approx(reference, rel=0.1)


def test_the_same_wheels_are_made_each_time():
    assert list(layer_work.files()) == list(layer_work.files())
    names = [path for path, _ in layer_work.files()]
    assert len(names) == len(set(names)) > 200

"""The promise of docs/architecture.md: the same lock gives the same image in later releases.

Each folder of ``locks/`` is a checkout as it was committed on that day, with the lock digests and the layers' names and
keys that were made of it. Equal keys mean equal bytes, and `test_layout` compares the bytes of layers.

A failure here means that every image gets another digest: see "A promise" in docs/architecture.md for what has to be
done then. A further day is added by copying ``environments`` and ``images`` of a checkout; the expected document is in
the failure's text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from helioimages.locks.checkout import Checkout
from helioimages.make.inputs import plans
from helioimages.make.plan import ImagePlan

DAYS = sorted(path for path in (Path(__file__).parent / "locks").iterdir() if path.is_dir())


def document(plan: ImagePlan) -> dict[str, object]:
    """Return what a plan promises."""
    return {
        "lock": plan.locks.digest,
        "epoch": plan.locks.epoch,
        "compressor": plan.compressor,
        "layers": {layer.name: layer.key for layer in plan.layers},
        "comments": {layer.name: layer.comment[:60] for layer in plan.layers},
        "labels": {key: value for key, value in plan.labels.items() if key.startswith("io.helioimages.")},
    }


@pytest.mark.parametrize("folder", DAYS, ids=lambda path: path.name)
def test_old_locks_give_the_layers_that_they_gave(folder):
    checkout = Checkout.of(folder)
    plans_by_image = {
        name: document(plan) for name, plan in plans(checkout, checkout.locks_of(tuple(checkout.images))).items()
    }
    expected = folder / "expected.json"
    known = json.loads(expected.read_text("utf-8")) if expected.exists() else None
    assert plans_by_image == known, json.dumps(plans_by_image, indent=1)
    assert list(plans_by_image) == list(known) == ["base", "child"]
    for name in plans_by_image:
        assert list(plans_by_image[name]["layers"]) == list(known[name]["layers"]), "the order of the layers"


def test_a_day_is_kept():
    assert DAYS and all(re.fullmatch(r"\d{4}-\d\d-\d\d(-\d)?", path.name) for path in DAYS)

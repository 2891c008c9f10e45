"""What an image may weigh, and which of its packages are named when it weighs more."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.core.words import human_size
from helioimages.locks import read as locks
from helioimages.machine.checkout import load_images
from helioimages.make import budget

ROOT = Path(__file__).parents[3]


@pytest.fixture
def base():
    images = load_images(ROOT)
    return images["base"], locks.load(ROOT, images, "base")


def weighing(*sizes: int):
    layers = [SimpleNamespace(size=size, digest=f"sha256:{index:064}") for index, size in enumerate(sizes)]
    return SimpleNamespace(size=sum(sizes), layers=layers)


def test_too_heavy_names_the_ten_largest_packages(base):
    image, lock = base
    with pytest.raises(HelioError) as caught:
        budget.check(SimpleNamespace(spec=image, locks=lock), weighing(image.budget_bytes + (2 << 20)))
    error, limit = caught.value, image.budget_bytes >> 20
    assert (error.stage, error.message) == (Stage.BUILD, "image `base` is over its budget")
    assert error.where == "images/base/image.toml at budget.compressed-mib"
    first, *rows = error.detail.splitlines()
    allowed, has = human_size(image.budget_bytes), human_size(image.budget_bytes + (2 << 20))
    assert first == f"expected at most {allowed} ({limit} MiB) not {has} ({limit + 2} MiB); the largest:"
    everything = [
        (package.size, f"{package.name} {package.version} ({kind})")
        for kind, part in (("conda", lock.conda.packages), ("PyPI", lock.pypi.wheels), ("Debian", lock.apt.packages))
        for package in part
    ]
    expected = sorted(everything, key=lambda row: (-row[0], row[1]))[:10]
    assert rows == [f"{human_size(size):>9}  {name}" for size, name in expected]


def test_as_heavy_as_allowed_passes_and_no_budget_allows_all(base):
    image, lock = base
    budget.check(SimpleNamespace(spec=image, locks=lock), weighing(image.budget_bytes))
    free = dataclasses.replace(image, budget_bytes=0)
    budget.check(SimpleNamespace(spec=free, locks=lock), weighing(1 << 40))


def test_a_layer_that_registries_refuse_is_said(base, capsys):
    image, lock = base
    image = dataclasses.replace(image, budget_bytes=0)
    plan = SimpleNamespace(spec=image, locks=lock)
    budget.check(plan, weighing(10 << 30))
    assert capsys.readouterr().err == ""
    budget.check(plan, weighing(1, 15 << 30))
    said = " ".join(capsys.readouterr().err.split())
    assert said == f"warning: base: layer sha256:{1:064} has 16.1 GB, some registries take 10.7 GB at most"

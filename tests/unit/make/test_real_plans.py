"""The plans of this checkout's own images: what nodes pull in parallel, and stream, must be even."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from helioimages.extend import layers
from helioimages.locks.checkout import Checkout
from helioimages.make import inputs
from helioimages.make.plan import MAX_LAYERS, ImagePlan, LayerKind, LayerPlan

ROOT = Path(__file__).parents[3]
IMAGES = ("base", "helio", "idl-fortran", "ml-gpu", "ml-tf")
#: Of an image, what one layer may be at most: the largest is what parallel pulls wait for, and what a change costs.
SHARE = 0.05


@pytest.fixture(scope="module")
def plans() -> dict[str, ImagePlan]:
    checkout = Checkout.of(ROOT)
    return inputs.plans(checkout, checkout.locks_of(checkout.selected(IMAGES)))


def too_large(stack: tuple[LayerPlan, ...]) -> list[str]:
    """Return the layers of several packages that are more than SHARE of an image.

    Debian's have none that can be parted: dpkg's database, the caches of ldconfig and others are about all of them.
    """
    whole = sum(layer.size for layer in stack)
    return [layer.name for layer in stack if layer.size > SHARE * whole and len(layer.packages) > 1]


def test_an_ancestor_is_planned_once(plans):
    assert plans["idl-fortran"].parent is plans["helio"]
    assert plans["helio"] is plans["ml-gpu"].parent
    assert plans["base"] is plans["helio"].parent


@pytest.mark.parametrize("name", IMAGES)
def test_no_layer_is_above_a_twentieth_unless_one_package_is(plans, name):
    plan = plans[name]
    assert too_large(plan.stack) == []
    assert all(len(layer.packages) == 0 for layer in plan.stack if layer.kind is LayerKind.DEBIAN)


def test_a_layer_of_two_packages_that_is_larger_is_found(plans):
    stack = plans["base"].stack
    two = [layer for layer in stack if len(layer.packages) == 1][:2]
    whole = sum(layer.size for layer in stack)
    both = LayerPlan(
        image="base",
        kind=LayerKind.PACKAGES,
        name="both",
        key="k",
        comment="",
        size=whole,
        packages=two[0].packages + two[1].packages,
    )
    assert too_large((*stack, both)) == ["both"]


@pytest.mark.parametrize("name", IMAGES)
def test_every_image_can_be_extended(plans, name):
    """`extend` adds packages, files and what postBuild changed, and leaves some for a Dockerfile on top."""
    assert len(plans[name].stack) + layers._BUCKETS + layers._RESERVE <= MAX_LAYERS


@pytest.mark.parametrize("name", IMAGES)
def test_no_layer_twice_and_no_package_in_two_layers(plans, name):
    stack = plans[name].stack
    assert [key for key, times in Counter(layer.key for layer in stack).items() if times > 1] == []
    packages = Counter((package.kind, package.name) for layer in stack for package in layer.packages)
    assert [package for package, times in packages.items() if times > 1] == []


@pytest.mark.parametrize("name", IMAGES)
def test_no_layer_is_empty(plans, name):
    for layer in plans[name].stack:
        assert layer.size > 0, layer.name
        assert layer.kind is not LayerKind.PACKAGES or layer.packages, layer.name


@pytest.mark.parametrize("name", IMAGES)
def test_every_package_of_the_locks_is_in_a_layer(plans, name):
    plan = plans[name]
    held = {package.sha256 for layer in plan.stack for package in layer.packages}
    locked = {p.sha256 for p in (*plan.locks.conda.packages, *plan.locks.pypi.wheels)}
    assert held == locked

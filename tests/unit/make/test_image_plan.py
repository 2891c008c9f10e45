"""Plans of images: which layers, whose they are, and what is read of them, without engine, store or network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from building_support import APT, USER, workshops

from helioimages.catalogue.delta import delta
from helioimages.catalogue.lookup import planned
from helioimages.locks.checkout import Checkout
from helioimages.machine.store import Store
from helioimages.make.inputs import plan_of
from helioimages.make.plan import COMPRESSOR, LayerKind
from helioimages.make.prune import prune

GOLDEN = Path(__file__).parents[2] / "golden" / "locks" / "2026-11-19"


@pytest.fixture
def world(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)


def files(store: Store) -> set[str]:
    return {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}


def test_the_stack_says_whose_each_layer_is(world):
    plan = world().plan("child")
    assert [(layer.image, layer.kind, layer.name) for layer in plan.stack] == [
        ("base", LayerKind.DEBIAN, "debian"),
        ("base", LayerKind.PACKAGES, "conda"),
        ("base", LayerKind.PACKAGES, "big"),
        ("base", LayerKind.PACKAGES, "wheels-00"),
        ("base", LayerKind.FILES, "files"),
        ("child", LayerKind.DEBIAN, "debian"),
        ("child", LayerKind.PACKAGES, "wheels-00"),
    ]
    assert [image.name for image in plan.line] == ["base", "child"]
    assert plan.layers == plan.stack[5:]
    assert [package.name for package in plan.layers[-1].packages] == ["new"]
    assert (plan.compressor, str(plan.platform)) == (COMPRESSOR.name, "linux/amd64")


@pytest.mark.parametrize(
    ("debs", "layers"),
    [((APT,), ["wheels-00"]), ((APT, dataclasses.replace(APT, name="curl", size=7)), ["debian", "wheels-00"])],
)
def test_a_debian_layer_is_there_where_packages_are_added(world, debs, layers):
    plan = world(debs=debs).plan("child")
    assert [layer.name for layer in plan.layers] == layers


def test_the_config_says_what_a_build_will_say(world):
    site = world()
    built, plan = site.build("child"), site.plan("child")
    config = built.image.config
    base = built.parent.image.digest
    settings = plan.settings(base)
    assert dict(settings.labels).items() <= dict(config.labels).items()
    assert settings.labels["org.opencontainers.image.base.digest"] == base
    assert "org.opencontainers.image.base.digest" not in plan.settings(None).labels
    assert (plan.new_labels["other"], "own" in plan.new_labels) == ("child", False)


def test_an_account_that_a_child_names_is_not_its_parents(world):
    """`delta` and `prune` once asked for the parent's layer under a key that no build ever made."""
    site = world()
    bare = dataclasses.replace(site.images["base"], user=None)
    site = site.with_image(bare).with_image(dataclasses.replace(site.images["child"], user=USER))
    child = site.plan("child")
    assert child.account == USER
    assert child.parent.layers == site.plan("base").layers


def test_a_plan_is_made_without_a_store_and_writes_nothing(tmp_path):
    checkout, store = Checkout.of(GOLDEN), Store(tmp_path / "store")
    before = files(store)
    plans = [plan_of(checkout, name) for name in checkout.images]
    prune(checkout, store, plans, age_s=0.0, dry_run=True)
    assert files(store) == before, "prune --dry-run wrote the layer of an image's own files"
    base, child = planned(checkout, store, "base"), planned(checkout, store, "child")
    assert delta(base, child).shared == base.layers
    assert [layer.name for layer in child.layers if layer.exact] == ["files of base", "files of child"]
    assert files(store) == before
    assert list(plans[0].stack) == list(plans[1].stack[: len(plans[0].layers)])

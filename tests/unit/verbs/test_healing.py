"""What `up` does with a healed builder: what it makes is locked again, for the channel that it makes it of."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import FIRST
from helioimages.locks import healing
from helioimages.locks.checkout import Checkout
from helioimages.locks.file_names import builder_lock
from helioimages.locks.locking import Wish
from helioimages.machine.store import Store
from helioimages.make import relocking
from helioimages.make.machine import Machine

ROOT = Path(__file__).parents[3]
BUILDER = builder_lock(FIRST)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a checkout for conda-forge whose builder is healed as soon as it is needed."""
    for room in ("images", "environments", "channel"):
        shutil.copytree(ROOT / room, tmp_path / room)

    def heal(root, store, images, *, builder, strict, platform):
        assert builder and not strict
        for file in (BUILDER, "images/base/apt-lock.json"):
            (root / file).write_text("healed")
        return (BUILDER, "images/base/apt-lock.json")

    monkeypatch.setattr(healing, "heal", heal)
    return Checkout.of(tmp_path, channel="conda-forge")


@pytest.fixture
def machine(tmp_path):
    """Return a machine whose store is empty."""
    return Machine(store=Store(tmp_path / "store"), jobs=1)


def test_what_a_healed_builder_makes_is_locked_again_whichever_channel_is_built(checkout, machine, monkeypatch):
    asked = []

    def lock(made, _, *rest):
        asked.append((made.channel, *rest))
        return SimpleNamespace(changes={})

    monkeypatch.setattr(relocking, "lock", lock)
    relocking.heal(checkout, machine, ("helio",), strict=False)
    assert asked == [("local", (), Wish(rebuild=True))]
    assert (checkout.root / BUILDER).read_text() == "healed"


def test_if_that_fails_no_lock_is_half_healed(checkout, machine, monkeypatch):
    def lock(*_arguments):
        raise HelioError(Stage.LOCK, "no solution")

    monkeypatch.setattr(relocking, "lock", lock)
    with pytest.raises(HelioError):
        relocking.heal(checkout, machine, ("helio",), strict=False)
    for file in (BUILDER, "images/base/apt-lock.json"):
        assert (checkout.root / file).read_bytes() == (ROOT / file).read_bytes()


def test_a_lock_for_another_channel_that_heals_the_builder_locks_what_it_makes_too(checkout, machine, monkeypatch):
    """The builder does not make conda-forge's packages; but locks for the local channel would be old."""
    asked, healed = [], iter([(BUILDER,), ()])
    monkeypatch.setattr(healing, "heal", lambda *_arguments, **_options: next(healed))
    monkeypatch.setattr(relocking, "_asks_for_local", lambda *_arguments: True)
    monkeypatch.setattr(relocking, "channel_dir", lambda made, _machine: checkout.root / made.channel)

    def lock(made, _machine, names, wish, folders):
        asked.append((made.channel, names, wish.rebuild, folders))

    monkeypatch.setattr(relocking, "_lock", lock)
    relocking.lock(checkout, machine, ("base",), Wish())
    assert asked == [
        ("local", (), True, (checkout.root / "local",)),
        ("conda-forge", (), True, (checkout.root / "conda-forge",)),
    ]

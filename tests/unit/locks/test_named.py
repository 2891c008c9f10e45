"""`lock --update` of a package that no lock has is told: it would change nothing."""

from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.locks import named
from helioimages.locks.checkout import Checkout


@pytest.fixture
def checkout(world) -> Checkout:
    world.wheel("numpy", "1.0")
    world.wheel("sunpy", "1.0")
    world.environment("base", "numpy", "sunpy")
    world.lock()
    return Checkout.of(world.root)


def test_names_that_a_lock_has_in_any_spelling(checkout):
    named.check(checkout, ("NumPy", "python", "all", "debian", "yanked"))


def test_a_misspelt_one(checkout):
    with pytest.raises(HelioError) as caught:
        named.check(checkout, ("numpy", "nunpy"))
    assert caught.value.stage is Stage.USAGE
    assert str(caught.value) == (
        "no lock has a package `nunpy`\n  expected the name of a package, or one of all, debian, yanked\n\n"
        "hint: did you mean `numpy`?"
    )
    with pytest.raises(HelioError) as caught:
        named.check(checkout, ("qqqqqq",))
    assert caught.value.hint == "environments/*/packages.txt list them"


def test_a_lock_that_cannot_be_read_says_nothing(checkout):
    (checkout.root / "environments/base/pylock.toml").write_text("<<<<<<< HEAD\n")
    named.check(checkout, ("libz",))
    with pytest.raises(HelioError):
        named.check(checkout, ("numpy",))

"""Which images have a Debian layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages import debian_layers
from helioimages.lock_debian import apt_of

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "parent", "needed"),
    [("base", None, True), ("helio", "base", True), ("idl-fortran", "helio", True), ("ml-gpu", "helio", False)],
)
def test_a_child_that_adds_no_package_has_none(name, parent, needed):
    below = apt_of(ROOT, parent) if parent else None
    assert debian_layers.needed(apt_of(ROOT, name), below) is needed

"""Every parser, fed broken input for a stated time: only a HelioError comes out, and packages stay in their place."""

from __future__ import annotations

import pytest
from fuzzkit.drive import drive
from fuzzkit.targets import targets

TARGETS = {target.name: target for target in targets()}


@pytest.mark.parametrize("name", TARGETS)
def test_valid_input_is_accepted(name):
    TARGETS[name].feed(TARGETS[name].good)


@pytest.mark.parametrize("name", TARGETS)
def test_broken_input_is_refused_by_name(name, request):
    seconds, seed = request.config.getoption("--fuzz-seconds"), request.config.getoption("--fuzz-seed")
    figures = drive(TARGETS[name], seconds=seconds, seed=seed)
    print(figures)
    assert figures.refused > 0

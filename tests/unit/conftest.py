"""What every unit test would pay again: the start of the conda solver, and the disk's answer to each small file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pypi_support import PLACES
from solver import Solver

from helioimages.conda import solve


@pytest.fixture(scope="session", autouse=True)
def solver() -> Iterator[Solver]:
    """Solve in processes that are forked, not started anew."""
    made = Solver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "subprocess", made)
        yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def no_index() -> Iterator[None]:
    """Leave out where this machine's index is said to be: a test that needs one names its own, by a variable or two."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def unhurried_disk() -> Iterator[None]:
    """Wait for no disk: no test loses power, and those of what is synced when put their own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        # A handle that is none is an error as ever.
        patch.setattr(os, "fsync", os.fstat)
        yield

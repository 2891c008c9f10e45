"""What every unit test would pay again: the start of the conda solver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
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

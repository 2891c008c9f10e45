"""Time limits in tests: what has one must have begun before it ends, and a busy machine is slow to begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Outcome = TypeVar("Outcome")
#: Seconds; an idle machine starts a container in half of one.
LIMITS = (3.0, 15.0, 90.0)


def until_begun(attempt: Callable[[float], Outcome], begun: Callable[[Outcome], bool]) -> tuple[float, Outcome]:
    """Return the first limit within which a program that never ends said its first words, and what came of that.

    Args:
        attempt: runs it with a limit, in seconds, until it is ended.
        begun: says whether it had begun by then.
    """
    for limit in LIMITS:
        outcome = attempt(limit)
        if begun(outcome):
            return limit, outcome
    raise AssertionError(f"it did not begin within {LIMITS[-1]:g} s: {outcome}")

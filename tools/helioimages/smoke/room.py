"""How many notebooks may run at once, so that each has what it would have alone: durations and limits stay honest."""

from __future__ import annotations

import math

from ..spec.image import SmokeSpec

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: What notebooks leave to the engine, and to layers that are made meanwhile.
_RESERVE = 2 << 30


def at_once(limits: SmokeSpec, room: tuple[int, int]) -> int:
    """Return how many containers fit beside each other, at least one.

    Args:
        limits: what each may use.
        room: the engine's processors and bytes of memory.

    >>> at_once(SmokeSpec(memory="4g", cpus=2), (8, 32 << 30)), at_once(SmokeSpec(memory="4g", cpus=2), (2, 32 << 30))
    (4, 1)
    """
    cores, memory = room
    needed = int(limits.memory[:-1]) * _UNITS[limits.memory[-1].lower()]
    return max(1, min(math.floor(cores / limits.cpus), (memory - _RESERVE) // needed))

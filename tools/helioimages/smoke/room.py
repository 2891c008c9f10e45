"""How many notebooks may run at once: as many as there are processors, and memory for the limit of each.

Most of a notebook is imports and plots, which take one processor: two processors that run one notebook after another
idle for a third of the time. What a notebook takes of the processors is reported beside its time on the clock, and does
not depend on its neighbours.
"""

from __future__ import annotations

import math

from ..spec.image import SmokeSpec

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: What notebooks leave to the engine, and to layers that are made meanwhile.
_RESERVE = 2 << 30


def at_once(limits: SmokeSpec, room: tuple[int, int]) -> int:
    """Return how many containers fit beside each other, at least one.

    Args:
        limits: what each may use; of processors it may find less.
        room: the engine's processors and bytes of memory.

    >>> at_once(SmokeSpec(memory="4g", cpus=2), (8, 64 << 30)), at_once(SmokeSpec(memory="4g", cpus=2), (2, 32 << 30))
    (8, 2)
    """
    cores, memory = room
    needed = int(limits.memory[:-1]) * _UNITS[limits.memory[-1].lower()]
    return max(1, min(math.floor(cores / min(limits.cpus, 1)), (memory - _RESERVE) // needed))

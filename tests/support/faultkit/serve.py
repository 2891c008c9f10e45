"""The small world's index in a process of its own: prints its address, serves until its stdin ends."""

from __future__ import annotations

import sys
from pathlib import Path

from pypi_support import serving

from .world import World


def main() -> None:
    with serving() as index:
        World(Path(sys.argv[1]), index)
        print(index.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

"""The README's own commands: what is run on a bare machine is what people read."""

from __future__ import annotations

import re
import shlex

#: Above the blocks that a clean machine runs.
MARK = "<!-- run: by .ci/run -->"
_BLOCK = re.compile(re.escape(MARK) + r"\n+```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(text: str) -> tuple[str, str]:
    """Return the README's two commands: build everything, and test it.

    Raises:
        ValueError: there are not two, or the first is not `up`, or the second is not `tests/run`.
    """
    blocks = tuple(block.strip() for block in _BLOCK.findall(text))
    if len(blocks) != 2 or not blocks[0].endswith(" up") or blocks[1] != "tests/run":
        raise ValueError(f"expected `… up` and `tests/run` below `{MARK}` in README.md not {list(blocks)}")
    return blocks[0], blocks[1]


def of_images(command: str, images: tuple[str, ...]) -> str:
    """Return the command with the images that it is limited to; without any, as it is."""
    return " ".join((command, *map(shlex.quote, images)))

"""``# [linux64]``: lines of environment.yml that hold for some platforms only, as conda-lock reads them. Pure.

Spec: conda-lock, "Platform specification: selectors"; conda itself takes them for comments.
"""

from __future__ import annotations

import re

from ..core.errors import HelioError, Stage
from ..core.platform import Subdir

#: conda's platform -> the selectors that are true for it. Those of other systems are known too, so that their lines go.
_TRUE = {
    "linux-64": frozenset({"linux", "linux64", "unix"}),
    "linux-aarch64": frozenset({"linux", "aarch64", "unix"}),
    "linux-ppc64le": frozenset({"linux", "ppc64le", "unix"}),
    "osx-64": frozenset({"osx", "osx64", "unix"}),
    "osx-arm64": frozenset({"osx", "arm64", "unix"}),
    "win-64": frozenset({"win", "win64"}),
    "win-arm64": frozenset({"win"}),
}
_KNOWN = frozenset().union(*_TRUE.values())
_SELECTED = re.compile(r"(?P<line>\s*-\s.*?\S)\s+#(?P<comment>[^\[\]#]*)\[(?P<selector>[^\[\]]+)\]\s*")


def select(text: str, subdir: Subdir, file: str) -> str:
    """Return environment.yml without the list items that are for other platforms; lines keep their numbers.

    Args:
        text: the file's content.
        subdir: e.g. ``linux-64``.
        file: how errors call it.

    Raises:
        HelioError: a comment that is nothing but a selector, and none that is known.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        match = _SELECTED.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        selector = match["selector"].strip()
        if selector in _KNOWN:
            if selector not in _TRUE.get(subdir, frozenset()):
                lines[number] = ""
        elif not match["comment"].strip() and re.fullmatch(r"[\w ]+", selector):
            raise HelioError(
                Stage.SPEC,
                f"`[{selector}]` is not a selector of platforms",
                where=f"{file}, line {number + 1}",
                detail=f"expected one of {', '.join(sorted(_KNOWN))}",
                hint="images are made for Linux: remove the comment, or the line",
            )
    return "\n".join(lines)

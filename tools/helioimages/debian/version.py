"""The order of Debian versions.

Spec: Debian policy 5.6.12, "Version". dpkg's own order; the test's oracle is python-debian (GPL, hence not imported).
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from itertools import zip_longest

_VERSION = re.compile(r"(?:(?P<epoch>[0-9]+):)?(?P<rest>[A-Za-z0-9.+:~-]+)")
_BINARY_REBUILD = re.compile(r"\+b[0-9]+$")
_DIGITS = 4300


def is_version(text: str) -> bool:
    """Say whether ``text`` is a Debian version; at most 4,300 characters, as Python reads numbers."""
    return len(text) <= _DIGITS and _VERSION.fullmatch(text) is not None


def compare(first: str, second: str) -> int:
    """Return a number below, equal to or above 0 as ``one`` is before, equal to or after ``other``.

    >>> compare("1.0~rc1-1", "1.0-1") < 0 < compare("1:0.1", "9.9")
    True
    """
    left, right = _split(first), _split(second)
    if left[0] != right[0]:
        return -1 if left[0] < right[0] else 1
    return _compare_part(left[1], right[1]) or _compare_part(left[2], right[2])


key = cmp_to_key(compare)


def of_source(version: str) -> str:
    """Return the source's version of a binary that was only rebuilt: ``1.2-3+b1`` is of ``1.2-3``."""
    return _BINARY_REBUILD.sub("", version)


def _split(version: str) -> tuple[int, str, str]:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a Debian version")
    upstream, _, revision = match["rest"].rpartition("-") if "-" in match["rest"] else (match["rest"], "", "")
    return int(match["epoch"] or 0), upstream, revision or "0"


def _order(letter: str) -> int:
    if letter == "~":
        return -1
    return ord(letter) if letter.isalpha() else ord(letter) + 256


def _compare_part(first: str, second: str) -> int:
    # "" against "~" compares -1 < 0: a tilde sorts before the end.
    for left, right in zip_longest(_runs(first), _runs(second), fillvalue=("", 0)):
        letters = ([_order(char) for char in run[0]] for run in (left, right))
        for a, b in zip_longest(*letters, fillvalue=0):
            if a != b:
                return a - b
        if left[1] != right[1]:
            return left[1] - right[1]
    return 0


def _runs(text: str) -> list[tuple[str, int]]:
    """Return pairs of a run without digits (may be empty) and the number after it (0 at the end)."""
    pairs = re.findall(r"([^0-9]*)([0-9]*)", text)
    return [(letters, int(digits or 0)) for letters, digits in pairs if letters or digits]

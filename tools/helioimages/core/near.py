"""Which word was meant: the hint of an error about a name that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known word; empty if none is near.

    >>> meant("hellio", ["base", "helio"]), meant("SunPy", ["sunpy"]), meant("x", ["base"])
    ('did you mean `helio`?', 'did you mean `sunpy`?', '')
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=5)
    # The best first; people seldom miss the first letter.
    near.sort(key=lambda name: name[:1] != word[:1].lower())
    return f"did you mean `{by_lower[near[0]]}`?" if near else ""

"""What people say of an image's builds: ``images/<image>/CHANGES.md``, one heading a tag. Pure."""

from __future__ import annotations

import re

from ..core.errors import HelioError, Stage

FILE = "CHANGES.md"


def parse(text: str, where: str) -> dict[str, str]:
    r"""Return tag -> its note, as it is written; what stands before the first ``## TAG`` is for readers of the file.

    Raises:
        HelioError: a heading names no tag, or one that another names.

    >>> parse("# helio\n\n## 2026.11.27\n\nFaster.\n", "CHANGES.md")
    {'2026.11.27': 'Faster.'}
    """
    notes: dict[str, str] = {}
    _, *parts = re.split(r"^##(?!#)", text, flags=re.MULTILINE)
    for part in parts:
        heading, _, note = part.partition("\n")
        tag = heading.strip()
        if not re.fullmatch(r"\w[\w.-]{0,127}", tag, re.ASCII):
            raise HelioError(
                Stage.SPEC, "a note needs a tag", where=where, detail=f"expected `## TAG` not `##{heading}`"
            )
        if tag in notes:
            raise HelioError(Stage.SPEC, f"two notes on the tag `{tag}`", where=where)
        notes[tag] = note.strip()
    return notes

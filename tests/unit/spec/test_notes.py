from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError
from helioimages.spec import notes


def test_notes_are_by_tag_and_as_they_are_written():
    text = "# helio\n\nFor readers.\n\n## 2026.11.27\n\nFaster.\n\n### Maps\n\n`a` <b>\n## 2026.11.20-2\nOlder."
    assert notes.parse(text, "x") == {"2026.11.27": "Faster.\n\n### Maps\n\n`a` <b>", "2026.11.20-2": "Older."}
    assert notes.parse("", "x") == notes.parse("# helio\n", "x") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("## of today\n", "a note needs a tag\n  in CHANGES.md\n  expected `## TAG` not `## of today`"),
        ("##\nx\n", "a note needs a tag\n  in CHANGES.md\n  expected `## TAG` not `##`"),
        ("## a\n\n## a\n", "two notes on the tag `a`\n  in CHANGES.md"),
    ],
)
def test_headings_that_are_no_tags(text: str, message: str):
    with pytest.raises(HelioError) as caught:
        notes.parse(text, "CHANGES.md")
    assert str(caught.value) == message

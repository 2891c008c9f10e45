"""The README's pictures are there, and light."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 150_000


def test_the_readme_shows_every_picture_and_each_is_light():
    shown = re.findall(r"!\[([^\]]+)\]\((docs/img/[^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    files = {f"docs/img/{path.name}" for path in (ROOT / "docs" / "img").iterdir()}
    assert {path for _, path in shown} == files and len(files) == 3
    assert all(0 < (ROOT / path).stat().st_size <= MOST for path in files)
    assert all(len(told.split()) > 4 for told, _ in shown), "people who do not see them read what they show"

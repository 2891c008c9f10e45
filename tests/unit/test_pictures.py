"""The README's pictures are there, and light; the recording is of commands that there are, and of no machine."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from buildimages import VERBS

ROOT = Path(__file__).parents[2]
MOST = 150_000


def test_the_readme_shows_every_picture_and_each_is_light():
    shown = re.findall(r"!\[([^\]]+)\]\((docs/img/[^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    files = {f"docs/img/{path.name}" for path in (ROOT / "docs" / "img").iterdir()}
    assert {path for _, path in shown} == files and len(files) == 4
    assert all(0 < (ROOT / path).stat().st_size <= MOST for path in files)
    assert all(len(told.split()) > 4 for told, _ in shown), "people who do not see them read what they show"


def test_the_recording_is_a_picture_of_a_run():
    text = (ROOT / "docs" / "img" / "terminal.svg").read_text("utf-8")
    assert len(text) < 100_000
    svg = "{http://www.w3.org/2000/svg}"
    document = ElementTree.fromstring(text)
    assert {element.tag.removeprefix(svg) for element in document.iter()} <= {
        "svg",
        "title",
        "style",
        "rect",
        "g",
        "text",
    }
    # It fetches nothing, and names no place of the machine that it was made on.
    assert not re.search(r"url\(|href|@import", text) and not re.search(r"/(root|home|work|tmp)\b", text)
    lines = [element.text or "" for element in document.iter(f"{svg}text")]
    commands = [line.removeprefix("$ buildimages ").split() for line in lines if line.startswith("$ ")]
    assert len(commands) == 3 and {words[0] for words in commands} <= {
        name for verbs in VERBS.values() for name in verbs
    }
    # Each says something before the next is typed.
    places = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert all(after - before > 5 for before, after in zip(places, [*places[1:], len(lines)], strict=True))

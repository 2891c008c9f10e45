"""The smoke report: what machines read is what docs/reference.md says, what people see cannot run."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helioimages.smoke import report
from helioimages.smoke.report import Figure, Result
from helioimages.spec.image import ImageSpec

ROOT = Path(__file__).parents[2]
IMAGE = ImageSpec(name="helio", path=Path("images/helio"), title="Helio & co", description="", environment="helio")
REFERENCE = "127.0.0.1:5000/helio@sha256:" + "0" * 64
PNG = b"\x89PNG\r\n\x1a\n"
GOOD = Result(
    name="base/10-y",
    title="It works",
    status="passed",
    seconds=12.34,
    cpu_seconds=10.06,
    peak_memory_bytes=512 << 20,
    summary="",
    error="",
    numbers={"rows": 1234567, "ratio": 0.123456789, "exact": True, "name": "ace"},
    figures=(Figure(cell=1, png=PNG, alt='a "map" <b>'), Figure(cell=2, png=PNG + b"2", alt="second")),
    notebook="10-y.ipynb",
)
EVIL = "<script>alert('x')</script>"
BAD = Result(
    name="helio/20-b",
    title=f"Title {EVIL}",
    status="failed",
    seconds=1.0,
    peak_memory_bytes=None,
    summary=f"ValueError: {EVIL}",
    error=f"cell 3\nin <module>\nValueError: {EVIL}",
    numbers={f"key {EVIL}": f"value {EVIL}"},
    figures=(),
    notebook='20-b".ipynb',
    note=f"asks for the kernel `{EVIL}`, ran with `python3`",
)


class Page(HTMLParser):
    """What a browser would make of the page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, key: str) -> list[str | None]:
        return [attrs.get(key) for name, attrs in self.tags if name == tag]


def light(colour: str) -> float:
    """Return the relative luminance of ``#rgb`` or ``#rrggbb`` (WCAG 2.2)."""
    digits = colour if len(colour) == 6 else "".join(digit * 2 for digit in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_of_text_can_be_read():
    text = (ROOT / "tools" / "helioimages" / "smoke" / "report.html.j2").read_text()
    schemes = [dict(re.findall(r"--(\w+): #(\w+)", block)) for block in re.findall(r":root \{[^}]*\}", text)]
    assert len(schemes) == 2
    for scheme in schemes:
        for ink in ("ink", "soft", "good", "bad", "accent"):
            for ground in ("bg", "card"):
                low, high = sorted((light(scheme[ink]), light(scheme[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def page(*results: Result) -> Page:
    return Page(report.as_html(IMAGE, REFERENCE, results))


def documented() -> tuple[set[str], set[str], set[str]]:
    """Return the keys of the document, those of a notebook, and the statuses, as docs/reference.md has them."""
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    section = text.partition("`report.json`, version 1:")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    top: set[str] = set()
    inner: set[str] = set()
    for row in rows:
        for name in re.findall(r"`([^`]+)`", row[1]):
            if name.startswith(("notebooks[].", ".")):
                inner.add(name.rpartition(".")[2])
            else:
                top.add(name)
    status = next(row[2] for row in rows if "`notebooks[].status`" in row[1])
    return top | {"notebooks"}, inner, set(re.findall(r"`([^`]+)`", status))


def test_json_has_the_documented_keys_and_no_others():
    document = json.loads(report.as_json(IMAGE, REFERENCE, (GOOD, BAD)))
    top, inner, _ = documented()
    assert document.keys() == top
    assert [row.keys() for row in document["notebooks"]] == [inner, inner]


def enums(node: object) -> list[set[str]]:
    """Return every enumeration of strings below a node of a JSON schema."""
    if isinstance(node, list):
        return [values for item in node for values in enums(item)]
    if not isinstance(node, dict):
        return []
    here = [set(node["enum"])] if isinstance(node.get("enum"), list) else []
    return here + enums(list(node.values()))


def test_the_catalogue_takes_the_documented_statuses():
    schema = json.loads((ROOT / "tools" / "helioimages" / "catalogue" / "catalogue.schema.json").read_text("utf-8"))
    statuses = documented()[2]
    assert statuses == {"passed", "failed", "timeout", "oom"}
    assert [values for values in enums(schema) if "oom" in values] == [statuses]


def test_json_values():
    document = json.loads(report.as_json(IMAGE, REFERENCE, (GOOD,)))
    assert document == {
        "version": 1,
        "image": "helio",
        "reference": REFERENCE,
        "passed": True,
        "at_once": 1,
        "notebooks": [
            {
                "name": "base/10-y",
                "title": "It works",
                "status": "passed",
                "seconds": 12.34,
                "cpu_seconds": 10.06,
                "peak_memory_bytes": 512 << 20,
                "summary": "",
                "error": "",
                "numbers": {"rows": 1234567, "ratio": 0.123456789, "exact": True, "name": "ace"},
                "figures": 2,
                "notebook": "10-y.ipynb",
                "note": "",
                "page": "",
            }
        ],
    }


@pytest.mark.parametrize("status", ["failed", "timeout", "oom"])
def test_one_that_did_not_pass_is_enough(status: str):
    assert not json.loads(report.as_json(IMAGE, REFERENCE, (GOOD, replace(BAD, status=status))))["passed"]


def test_nothing_ran_is_no_pass():
    assert not json.loads(report.as_json(IMAGE, REFERENCE, ()))["passed"]


def test_markup_of_notebooks_is_text_on_the_page():
    html = page(GOOD, BAD)
    assert html.all("script", "src") == []
    assert {tag for tag, _ in html.tags} == {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "code", "strong", "div", "span"),
        *("article", "header", "a", "details", "summary", "pre", "table", "tr", "td", "img"),
        *("nav", "ol", "li"),
    }
    for text in (BAD.title, BAD.summary, BAD.error, f"key {EVIL}", f"value {EVIL}", IMAGE.title):
        assert text in html.text
    assert html.all("a", "href") == ["#base-10-y", "#helio-20-b", "10-y.ipynb", '20-b".ipynb']
    assert html.all("img", "alt") == ['a "map" <b>', "second"]


def test_failures_are_shown():
    html = page(GOOD, BAD, replace(BAD, name="helio/30-c", status="oom", summary="Killed", error="Killed"))
    assert "1 of 3 notebooks passed in 14 s" in html.text
    assert html.all("div", "aria-label") == ["1 of 3 passed"]
    assert html.all("details", "open") == [None, None]
    words = html.all("span", "class")
    assert words == [
        *("passed", "failed", "oom"),
        *("soft", "status failed", "soft", "status oom", "soft"),
        *("status passed", "soft facts", "status failed", "soft facts", "status oom", "soft facts"),
    ]
    assert html.all("article", "id") == ["base-10-y", "helio-20-b", "helio-30-c"]
    assert "1.0 s · not measured" in html.text


def test_a_pass_shows_figures_and_numbers_and_no_error():
    html = page(GOOD)
    assert html.all("details", "open") == []
    # One notebook needs no list of contents.
    assert "nav" not in {tag for tag, _ in html.tags}
    assert html.all("img", "src") == [
        f"data:image/png;base64,{base64.b64encode(figure.png).decode()}" for figure in GOOD.figures
    ]
    assert "12.3 s · 10.1 CPU-s · 537 MB" in html.text
    for key, shown in (("rows", "1,234,567"), ("ratio", "0.123457"), ("exact", "True"), ("name", "ace")):
        assert f"{key}{shown}" in html.text


def test_the_page_fetches_nothing():
    text = report.as_html(IMAGE, REFERENCE, (GOOD, BAD))
    assert re.findall(r"(?:https?:)?//[a-z]", html.unescape(text)) == []
    assert "@import" not in text
    assert "url(" not in text
    assert Page(text).all("link", "href") == []


def test_both_are_written(tmp_path: Path):
    report.write(tmp_path, IMAGE, REFERENCE, (GOOD, BAD))
    assert (tmp_path / "report.json").read_text("utf-8") == report.as_json(IMAGE, REFERENCE, (GOOD, BAD))
    assert (tmp_path / "report.html").read_text("utf-8") == report.as_html(IMAGE, REFERENCE, (GOOD, BAD))


def test_the_page_says_whether_there_was_network():
    # Words may be on several lines of the page.
    without, there = (" ".join(report.as_html(IMAGE, REFERENCE, (GOOD,), network=on).split()) for on in (False, True))
    assert "as uid 1000, without network, with" in without
    assert "as uid 1000, with network, with" in there

"""The documentation as a site: made without a warning, its links lead somewhere, and it needs no other host."""

from __future__ import annotations

import html.parser
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.network


class Page(html.parser.HTMLParser):
    """What a page has: anchors, links to others, and files that it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        self.loads |= {values.get("src") or "" if tag in ("img", "script", "iframe") else ""} - {""}
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Page]:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [ROOT / "docs" / "build", folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == str(folder / "index.html")
    return {path: Page(path.read_text("utf-8")) for path in folder.glob("*.html")}


def test_every_page_is_there(site):
    made = {path.stem for path in site} - {"genindex", "search"}
    assert made == {path.stem for path in (ROOT / "docs").glob("*.md")}


def test_links_and_anchors_lead_somewhere(site):
    lost = []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)) if parts.path else path
            if parts.scheme:
                continue
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in site[target].anchors):
                lost.append(f"{path.name}: {link}")
    assert lost == []


def test_pages_load_nothing_from_another_host(site):
    loads = {address for page in site.values() for address in page.loads}
    assert any("pages.css" in address for address in loads)
    assert [address for address in loads if urlsplit(address).netloc] == []


ACCESSIBILITY = (ROOT / "tests" / "support" / "accessibility.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_are_read_from_a_folder_in_a_browser(site, browser, scheme: str, width: int):
    """No error, nothing asked of another host, nothing wider than the screen, text that can be read."""
    faults = []
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("requestfailed", lambda request: faults.append(request.url))
    page.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else faults.append(request.url)
    )
    for path in site:
        if path.stem in ("index", "hub-admins", "reference"):
            page.goto(path.as_uri())
            page.wait_for_function("document.documentElement.dataset.theme")
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
            faults += [f"{path.name}: {line}" for line in page.evaluate(ACCESSIBILITY)]
    context.close()
    assert faults == []

"""The catalogue's pages as a browser opens them, in tabs that tests share."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

#: A page is loaded before its script has read the data and filled it.
FILLED = """() => {
  const page = document.body.dataset.page, rows = document.getElementById("package-rows");
  if (page === "compare") return document.getElementById("result").children.length > 0;
  if (page === "packages") return document.getElementById("package-count").textContent !== "";
  return rows === null || rows.children.length > 0;
}"""


class Tabs:
    """Tabs that no test has now, by colour scheme and width: a new one takes longer than a page."""

    def __init__(self, browser) -> None:
        self._browser = browser
        self._free: defaultdict[tuple[str, int], list] = defaultdict(list)

    def take(self, key: tuple[str, int]):
        if self._free[key]:
            return self._free[key].pop()
        scheme, width = key
        return self._browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844}).new_page()

    def give_back(self, key: tuple[str, int], page) -> None:
        """Keep a tab. The pages keep nothing in a browser, so it has nothing of the test that had it."""
        # From one place to another of the same page, a browser loads nothing.
        page.goto("about:blank")
        page.context.clear_permissions()
        self._free[key].append(page)

    def close(self) -> None:
        for pages in self._free.values():
            for page in pages:
                page.context.close()


class Pages:
    """Called with a path, it opens a page of a site from its folder.

    Attributes:
        faults: errors that pages logged, and addresses of other hosts that they asked for.
    """

    def __init__(self, tabs: Tabs, folder: Path) -> None:
        self._tabs, self._folder, self._taken = tabs, folder, []
        self.faults: list[str] = []
        self._listeners = {
            "pageerror": lambda error: self.faults.append(str(error)),
            "console": lambda line: self.faults.append(line.text) if line.type == "error" else None,
            "request": self._asked,
        }

    def __call__(self, path: str, *, scheme: str = "light", width: int = 1280, name: str = ""):
        page = self._tabs.take((scheme, width))
        self._taken.append(((scheme, width), page))
        for event, listener in self._listeners.items():
            page.on(event, listener)
        start = time.monotonic()
        page.goto(self._folder.as_uri() + "/" + path)
        page.loaded = time.monotonic() - start
        page.wait_for_function(FILLED)
        folder = os.environ.get("CATALOGUE_SHOTS")
        if folder and name:
            page.wait_for_timeout(300)
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=f"{folder}/{name}.png", full_page=True)
        return page

    def give_back(self) -> None:
        """Give back the tabs of all pages that are open."""
        while self._taken:
            key, page = self._taken.pop()
            for event, listener in self._listeners.items():
                page.remove_listener(event, listener)
            self._tabs.give_back(key, page)

    def _asked(self, request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(request.url)

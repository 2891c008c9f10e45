#!/usr/bin/env python3
"""Take the README's pictures of a catalogue's pages with the system's Chromium: `docs/pictures.py SITE`.

SITE is what `buildimages catalogue base helio --output SITE` makes of a registry that has a smoke report of `helio` and
two builds of it: the newest is compared with the one before. The tests' environment runs it: it has playwright.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "img"
#: What a page of a repository may weigh, in bytes.
MOST = 150_000
IMAGE = "helio"
WIDTH, HEIGHT = 1120, 700


def pages(site: Path) -> dict[str, str]:
    """Return picture -> the page's address within the site."""
    images = json.loads((site / "catalogue.json").read_text("utf-8"))["images"]
    entries = next(image["entries"] for image in images if image["name"] == IMAGE)
    ids = [f"{IMAGE}-{entry['digest'][7:19]}" for entry in entries]
    report = next(entry["smoke"]["report"] for entry in entries if entry["smoke"] and entry["smoke"]["report"])
    return {"catalogue": "index.html", "compare": f"compare.html#{ids[1]}..{ids[0]}", "report": report}


def main(site: Path) -> None:
    """Take them all; a picture that is too heavy is an error."""
    program = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if program is None:
        sys.exit("Chromium is not installed (apt-get install chromium)")
    OUT.mkdir(exist_ok=True)
    plain: dict[str, str | float | bool] = {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"], env=plain)
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        for name, path in pages(site).items():
            tab.goto(f"{site.resolve().as_uri()}/{path}", wait_until="load")
            if name == "compare":
                tab.locator(".totals").wait_for()
            target = OUT / f"{name}.png"
            tab.screenshot(path=target)
            size = target.stat().st_size
            print(f"{target.name}: {size:,} bytes")
            if size > MOST:
                sys.exit(f"expected at most {MOST:,} bytes not {size:,}: {target}")
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected the folder of a catalogue: docs/pictures.py SITE")
    main(Path(sys.argv[1]))

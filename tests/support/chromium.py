"""The system's Chromium, driven by Playwright, for tests of pages."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: What starts it, so that it does not end its requests whenever a container starts or ends on this machine.
DEAF = Path(__file__).with_name("deaf_browser.py")
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
#: What it would ask the network for by itself, it does not.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Yield a browser with a profile of its own; skips the test where there is none."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), "")
    if not program:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
    with playwright.sync_playwright() as started:
        # Its own clock: it does not run under one that `tests/run --next-year` preloads.
        plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        env = {**plain, "DEAF_BROWSER": program}
        browser = started.chromium.launch(executable_path=DEAF, args=list(FLAGS), env=env)
        yield browser
        browser.close()

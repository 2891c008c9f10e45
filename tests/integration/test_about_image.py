"""JupyterLab's launcher says which image this is: a real browser clicks on it in the real base image."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import engine_lists
import pytest
from ports import free

COMMAND = [sys.executable, str(Path(__file__).parents[2] / "tools" / "buildimages.py"), "run", "--from"]
TITLE = "About this image"
pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture
def lab(image, engine, tmp_path) -> Iterator[tuple[str, object]]:
    """Start a server, and return its address and its container."""
    port = free()
    done = subprocess.run(
        [*COMMAND, image, "--port", str(port)], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert f"stop it: buildimages run --stop --port {port}\n" in done.stderr
    (container,) = engine_lists.containers(engine.client, publish=str(port))
    try:
        yield done.stdout.strip(), container
    finally:
        container.remove(force=True)


@pytest.fixture
def tab(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def test_the_launcher_tells_which_image_it_is(lab, tab, built):
    address, container = lab
    tab.goto(address, wait_until="domcontentloaded")
    card = tab.locator(f'.jp-LauncherCard[title="{TITLE}"]')
    card.wait_for(timeout=60_000)
    # Only these cards of the launcher show a picture of their own.
    icon = card.locator("img").evaluate_handle("one => one")
    tab.wait_for_function("one => one.complete && one.naturalWidth > 0", arg=icon)
    card.click()
    told = tab.frame_locator(".jp-ServerProxy iframe")
    told.locator("dd").first.wait_for(timeout=60_000)
    said = container.exec_run(["helioimages-info"]).output.decode()
    words = [line[10:] for line in said.splitlines()]
    assert told.locator("dd").all_inner_texts() == words
    assert built.plan.locks.digest in words[1]
    assert told.locator("h1").inner_text() == "base"
    assert told.locator("h2").count() == 0

    # An older image of this home: the page is made anew, and lists what changed.
    path = "/home/jovyan/.local/share/helioimages/seen.json"
    seen = json.loads(container.exec_run(["cat", path]).output)
    seen["base"]["now"] |= {"lock": "sha256:old", "version": "2020.01.01"}
    seen["base"]["now"]["packages"]["pypi <gone>"] = "2"
    write = f"import sys; open({path!r}, 'w').write(sys.argv[1])"
    assert container.exec_run(["python", "-c", write, json.dumps(seen)]).exit_code == 0
    # A lab that is only loaded again has the tabs that it had time to note.
    tab.goto(f"{address}&reset", wait_until="domcontentloaded")
    card.click(timeout=60_000)
    told.locator("li").first.wait_for(timeout=60_000)
    assert told.locator("li").all_inner_texts() == ["pypi <gone> 2 -> -"]
    assert "1 package changed since 2020.01.01, the last one in this home" in told.locator("dd").all_inner_texts()

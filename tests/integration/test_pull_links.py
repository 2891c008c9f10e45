"""The links to a repository that a catalogue's page makes, followed by a real browser to the real nbgitpuller."""

from __future__ import annotations

import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import engine_lists
import pytest
from catalogue_support import catalogue, entry, page
from ports import free

from helioimages.catalogue import site
from helioimages.engines import desk

pytestmark = [pytest.mark.engine, pytest.mark.network]

#: A name that is cut off, spaces, and a letter that ends an address.
BOOK = "a b/wind #1.ipynb"
NOTEBOOK = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'


@pytest.fixture
def server(image, engine) -> Iterator[str]:
    """Return the address of the image's own server, in which ~/work has a git repository, `course.git`."""
    with tempfile.TemporaryDirectory(prefix="course-") as name:
        folder = Path(name)
        book = folder / "course.git" / BOOK
        book.parent.mkdir(parents=True)
        book.write_text(NOTEBOOK)
        git = ["git", "-C", str(folder / "course.git"), "-c", "user.name=x", "-c", "user.email=x@example.org"]
        for words in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "-m", "x"]):
            subprocess.run([*git, *words], check=True)
        work = desk.desk(engine, image, folder)
        port = free()
        try:
            yield engine.serve(image, port=port, desk=work.server())
        finally:
            for container in engine_lists.containers(engine.client, label="io.helioimages.run"):
                if f"'{port}'" in str(container.attrs["HostConfig"]["PortBindings"]):
                    container.remove(force=True)


def test_the_link_pulls_the_repository_and_opens_the_notebook(browser, server, tmp_path):
    with site.writing(tmp_path / "site") as made:
        made.write(catalogue(page("base", entry("base"))))
    tab = browser.new_page()
    (path,) = (tmp_path / "site" / "tags").glob("*.html")
    tab.goto(path.as_uri())
    address, _, token = server.partition("/lab?")
    tab.get_by_role("textbox", name="Hub").fill(address)
    tab.get_by_role("textbox", name="Repository").fill("file:///home/jovyan/work/course.git")
    tab.get_by_role("textbox", name="Open").fill(BOOK)
    # As JupyterHub sends people to their own server.
    link = tab.locator("#gitpuller-link").inner_text().replace("/hub/user-redirect", "")
    tab.goto(f"{link}&{token}")
    tab.wait_for_url(f"{address}/lab/tree/course/**", timeout=120_000)
    assert urllib.parse.unquote(urllib.parse.urlsplit(tab.url).path) == f"/lab/tree/course/{BOOK}"
    tab.get_by_role("tab", name="wind #1.ipynb").wait_for(timeout=120_000)

"""Permalinks in the real form of jupyterhub-fancy-profiles, in a real browser; a hub on loopback serves it.

The hub is as much of JupyterHub as a link meets: `/hub/login` sends who is logged in on to `next`.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jinja2
import pytest
from catalogue_support import catalogue, entry, page
from engine_api import serving
from works_support import validators

from helioimages.catalogue import permalinks, profiles
from helioimages.catalogue.model import document

pytestmark = pytest.mark.network
MADE = profiles.profile_list(
    profiles.offers(document(catalogue(page("base", entry("base")), page("helio", entry("helio", 1)))), {}), {}
)


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub would."""

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        where, _, static = asked.path.partition("/hub/fancy-profiles/")
        self.server.asked.append(self.path)
        if asked.path == "/hub/login":
            self.send_response(302)
            self.send_header("Location", parse_qs(asked.query)["next"][0])
            self.end_headers()
            return
        if asked.path == "/hub/spawn":
            form = jinja2.Environment().from_string((self.server.package / "templates" / "form.html").read_text())
            text = f'<form action="/started" method="get">{form.render(profile_list=MADE)}<input type="submit"></form>'
            self.answer("text/html", text.encode())
        elif static and where == "":
            self.answer("text/javascript", (self.server.package / static).read_bytes())
        else:
            self.answer("text/html", b"started")

    def answer(self, kind: str, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    (package,) = validators().parents[1].glob("lib/python3*/site-packages/jupyterhub_fancy_profiles")
    with serving(Hub, package=package, asked=[]) as server:
        yield server


@pytest.fixture
def tab(browser) -> Iterator:
    page = browser.new_page()
    yield page
    page.close()


def test_every_link_starts_what_it_says_and_goes_on_to_the_notebook(hub, tab):
    address = f"http://127.0.0.1:{hub.server_address[1]}"
    lines = permalinks.as_text(MADE, address, "wind/a b.ipynb").splitlines()
    options = MADE[0]["profile_options"]
    images, sizes = list(options["image"]["choices"]), list(options["resources"]["choices"])
    links = [line.strip() for line in lines[1::2]]
    assert len(links) == len(images) * len(sizes) > 3
    # The last choice of each: nothing that a form would choose by itself.
    tab.goto(links[-1])
    tab.wait_for_url("**/started?**", timeout=60_000)
    sent = {name: values[-1] for name, values in parse_qs(urlsplit(tab.url).query).items()}
    assert sent["profile"] == MADE[0]["slug"]
    assert sent[f"profile-option-{MADE[0]['slug']}--image"] == images[-1]
    assert sent[f"profile-option-{MADE[0]['slug']}--resources"] == sizes[-1]
    spawned = next(path for path in hub.asked if path.startswith("/hub/spawn"))
    assert parse_qs(urlsplit(spawned).query)["next"] == ["/hub/user-redirect/lab/tree/wind/a%20b.ipynb"]

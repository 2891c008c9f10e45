"""KubeSpawner's own form in a real browser: what users may type is checked there as the hub checks it.

Browsers compile a form's ``pattern`` with the flag ``v``, and ignore, with a line on the console, what they cannot.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from catalogue_support import catalogue, digest, entry, page

from helioimages.catalogue import profiles
from helioimages.catalogue.model import document

REPOSITORY = "registry.example/helio"
pytestmark = pytest.mark.network
PLACES = (
    REPOSITORY,
    "localhost:5000/base",
    "[::1]:5000/a",
    "registry.example:5000/org-1/my_own.images/gpu--x__y",
)
GONE = ("2026.05.06_x-1", "v1-2.3-")


def profile_list(unlisted: str) -> list[dict]:
    offers = profiles.offers(document(catalogue(page("helio", entry()))), {})
    gone = [f"{place}:{tag}" for place in PLACES for tag in GONE] + [digest("gone")]
    return profiles.profile_list(offers, {}, unlisted=unlisted, gone=gone)


async def _form(made: list[dict]) -> str:
    kubespawner = pytest.importorskip("kubespawner", reason="jupyterhub-kubespawner is not installed (extra `test`)")
    return kubespawner.KubeSpawner(_mock=True, profile_list=made)._render_options_form(made)


@pytest.fixture
def form(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("kubespawner", reason="jupyterhub-kubespawner is not installed (extra `test`)")
    for name in ("load_config", "shared_client"):
        monkeypatch.setattr(f"kubespawner.spawner.{name}", lambda *_names, **_options: None)
    # The browser's driver has a loop of its own in this thread.
    with ThreadPoolExecutor(1) as thread:
        yield lambda made: thread.submit(asyncio.run, _form(made)).result()


TYPED = [
    *((f"{place}:2026.05.05", True, True) for place in PLACES),
    *((f"{place}:{'a' * 128}", True, True) for place in PLACES),
    *((f"{place}:a_.-b@{digest('x')}", True, True) for place in PLACES),
    *((f"{place}@{digest('x')}", True, True) for place in PLACES),
    *((f"{place}:{tag}", False, False) for place in PLACES for tag in GONE),
    *((f"{place}:{tag}@{digest('x')}", False, False) for place in PLACES for tag in GONE),
    *((f"{place}:{tag}2", True, True) for place in PLACES for tag in GONE),
    *((f"{place}@{digest('gone')}", False, False) for place in PLACES),
    *((place, False, ":" in place) for place in PLACES),
    *((f"{place}:{'a' * 129}", False, True) for place in PLACES),
    ("docker.io/miner:1", False, True),
    (f"{REPOSITORY}:1 --privileged", False, False),
    (f"{REPOSITORY.replace('.', 'x')}:1", False, True),
    (f"evil.example/{REPOSITORY}:1", False, True),
    ("localhost:5000/base:-x", False, True),
]


@pytest.mark.parametrize("kind", ["own", "any"])
def test_the_form_refuses_what_the_hub_refuses(browser, form, kind):
    made = profile_list({"own": profiles.unlisted_images(PLACES), "any": profiles.ANY}[kind])
    pattern = made[0]["profile_options"]["image"]["unlisted_choice"]["validation_regex"]
    faults: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda line: faults.append(line.text) if "pattern" in line.text.lower() else None)
    tab.set_content(form(made))
    field = tab.locator("input[pattern]").first
    assert field.get_attribute("pattern") == pattern
    for text, own, any_ in TYPED:
        allowed = own if kind == "own" else any_
        assert bool(re.match(pattern, text)) is allowed, text
        valid = field.evaluate("(field, text) => { field.value = text; return field.checkValidity() }", text)
        assert valid is allowed, text
        for flag in ("", "u", "v"):
            match = "([pattern, flag, text]) => new RegExp(pattern, flag).test(text)"
            assert tab.evaluate(match, [pattern, flag, text]) is allowed, (flag, text)
    assert not re.match(pattern, f"{PLACES[0]}:1\n")
    tab.close()
    assert faults == []

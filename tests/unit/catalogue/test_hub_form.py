"""The form of the local hub: what it offers is what DockerSpawner takes."""

from __future__ import annotations

import dataclasses
import re
import types
from html.parser import HTMLParser

import pytest

from helioimages.catalogue import hub_form, model, profiles
from helioimages.catalogue.profiles import Offer
from helioimages.spec.hub import RESOURCES

DOCUMENT = {
    "images": [
        {"name": "base", "description": "What every <hub> needs"},
        {"name": "helio", "description": ""},
    ]
}


def offer(image: str, tag: str, *, default: bool = False) -> Offer:
    return Offer(
        image=image,
        key=f"{image}-{tag}",
        title=f"The {image} (PyHC) {tag} (Python 3.13, 1 GB)",
        facts="Python 3.13, 1 GB",
        reference=f"h/{image}:{tag}@sha256:0",
        plain=f"h/{image}:{tag}",
        gpu=False,
        sizes=tuple(name for name, size in RESOURCES.items() if not size.gpus),
        default=default,
    )


OFFERED = (offer("base", "2"), offer("base", "1"), offer("helio", "3", default=True))


class Fields(HTMLParser):
    """The radio buttons, the ones that are chosen, and which lie in a list that is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: dict[str, list[str]] = {}
        self.chosen: dict[str, str] = {}
        self.folded: list[str] = []
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.depth += tag == "details"
        if tag == "input":
            self.values.setdefault(given["name"], []).append(given["value"])
            if "checked" in given:
                assert given["name"] not in self.chosen
                self.chosen[given["name"]] = given["value"]
            if self.depth:
                self.folded.append(given["value"])

    def handle_endtag(self, tag):
        self.depth -= tag == "details"


def test_every_offer_is_a_choice_and_the_default_is_chosen():
    sizes = hub_form.sizes(OFFERED, {})
    text = hub_form.form(OFFERED, DOCUMENT, sizes.values())
    fields = Fields(text)
    assert fields.values == {"image": [offer.title for offer in OFFERED], "size": list(sizes)}
    assert fields.chosen == {"image": OFFERED[2].title, "size": next(iter(sizes))}
    assert fields.folded == [OFFERED[1].title] and fields.depth == 0
    assert "<strong>The base (PyHC) 2</strong><small>What every &lt;hub&gt; needs. Python 3.13, 1 GB</small>" in text
    assert "<strong>The helio (PyHC) 3</strong><small>Python 3.13, 1 GB</small>" in text
    assert all(profiles.size_title(size) in text for size in sizes.values())


def test_each_choice_leads_to_what_is_in_it():
    digest = "sha256:" + "b" * 64
    offered = tuple(dataclasses.replace(offer, reference=f"h/{offer.image}:1@{digest}") for offer in OFFERED[1:])
    entries = [{"digest": "sha256:" + "a" * 64, "named": digest}]
    whole = {"images": [{"name": name, "description": "", "entries": entries} for name in ("base", "helio")]}
    text = hub_form.form(offered, whole, (), catalogue="/hub/catalogue/word")
    shown = re.findall(r'<a href="([^"]*)" target="_blank" rel="noopener">What is in it</a>', text)
    assert shown == [f"/hub/catalogue/word/{model.page_of(name, entries[0])}" for name in ("base", "helio")]
    assert shown[0] == "/hub/catalogue/word/tags/base-aaaaaaaaaaaa-in-bbbbbbbbbbbb.html"
    # Of a registry that nobody made pages of, nothing is promised.
    assert "<a " not in hub_form.form(offered, whole, ())


def test_no_size_has_a_gpu():
    assert sizes_of(tuple(RESOURCES)) == [name for name, size in RESOURCES.items() if not size.gpus]


def sizes_of(names: tuple[str, ...]) -> list[str]:
    offer = Offer(image="x", key="x", title="X (1 GB)", reference="r", plain="r", gpu=True, sizes=names)
    return list(hub_form.sizes((offer,), {}))


def test_dockerspawner_takes_what_the_form_sends():
    dockerspawner = pytest.importorskip("dockerspawner", reason="dockerspawner is not installed (extra `test`)")
    traitlets_config = pytest.importorskip("traitlets.config")
    config = traitlets_config.Config()
    text = hub_form.form(OFFERED, DOCUMENT, ())
    exec(profiles.as_dockerspawner(OFFERED) + f"c.DockerSpawner.options_form = {text!r}\n", {"c": config})
    spawner = dockerspawner.DockerSpawner(config=config, user=types.SimpleNamespace(name="ada"))
    assert spawner.options_form == text
    assert set(Fields(text).values["image"]) == set(spawner.allowed_images)

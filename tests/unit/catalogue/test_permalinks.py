"""Permalinks as text; that a hub's form takes them is tested in tests/integration/test_permalinks.py."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from catalogue_support import catalogue, entry, page

from helioimages.catalogue import permalinks, profiles
from helioimages.catalogue.model import document


@pytest.mark.parametrize("notebook", ["", "a b.ipynb", "ü/x+y&z#1.ipynb"])
def test_what_a_link_says_is_read_again(notebook):
    chosen = {"profile": "cpu", "image": 'a "b" + c', "resources": "small", "autoStart": "true"}
    address = permalinks.link("https://hub.example.org/", chosen, notebook)
    assert address.startswith("https://hub.example.org/hub/login?next=/hub/spawn")
    then = urlsplit(parse_qs(urlsplit(address).query)["next"][0])
    assert json.loads(parse_qs(then.fragment)["fancy-forms-config"][0]) == chosen
    if notebook:
        target = urlsplit(parse_qs(then.query)["next"][0])
        assert target.path.startswith("/hub/user-redirect/lab/tree/") and not (target.query or target.fragment)


def test_there_is_one_for_each_image_and_size():
    offers = profiles.offers(document(catalogue(page("base", entry("base")))), {})
    made = profiles.profile_list(offers, {})
    lines = permalinks.as_text(made, "https://hub.example.org").splitlines()
    sizes = made[0]["profile_options"]["resources"]["choices"]
    assert len(lines) == 2 * len(sizes)
    assert lines[0].startswith("The base image 2026.05.05 (Python 3.13, ")

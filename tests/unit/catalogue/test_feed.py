"""New builds as an Atom feed, with what changed."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

from catalogue_support import catalogue, entry, page

from helioimages.catalogue import feed
from helioimages.core.platform import Platform

ATOM = "{http://www.w3.org/2005/Atom}"


def read(made) -> ElementTree.Element:
    return ElementTree.fromstring(feed.feed(made))


def test_each_build_is_an_entry_the_newest_first():
    old, new = entry("helio", 0), entry("helio", 1)
    root = read(catalogue(page("helio", new, old)))
    assert root.tag == f"{ATOM}feed"
    for name in ("title", "id", "updated", "author"):
        assert root.find(f"{ATOM}{name}") is not None
    items = root.findall(f"{ATOM}entry")
    assert [item.findtext(f"{ATOM}updated") for item in items] == sorted((new.created, old.created), reverse=True)
    assert root.findtext(f"{ATOM}updated") == new.created
    assert [item.find(f"{ATOM}link").attrib["href"] for item in items] == [f"tags/{new.id}.html", f"tags/{old.id}.html"]
    first, second = (item.findtext(f"{ATOM}content") for item in items)
    assert first.startswith(f"Since {old.tag}: ")
    assert second.startswith("The first one; a node pulls ")
    ids = [item.findtext(f"{ATOM}id") for item in items]
    assert len(set(ids)) == 2 and all(new_id.startswith("oci://") for new_id in ids)


def test_another_platforms_build_is_not_what_one_replaces():
    other = dataclasses.replace(entry("helio", 0), platform=Platform.of("linux/arm64"))
    root = read(catalogue(page("helio", entry("helio", 1), other)))
    assert all(item.findtext(f"{ATOM}content").startswith("The first one") for item in root.findall(f"{ATOM}entry"))


def test_a_feed_has_a_bound_and_may_be_empty(monkeypatch):
    monkeypatch.setattr(feed, "_MOST", 1)
    root = read(catalogue(page("helio", entry("helio", 1), entry("helio", 0))))
    assert len(root.findall(f"{ATOM}entry")) == 1
    empty = read(catalogue())
    assert empty.findtext(f"{ATOM}updated") == "1970-01-01T00:00:00Z"


def test_names_of_people_are_text():
    made = catalogue(dataclasses.replace(page("helio", entry("helio", 0)), title="<b>&"))
    assert read(made).find(f"{ATOM}entry").findtext(f"{ATOM}title").startswith("<b>&: ")

"""The catalogue as an Atom feed: a new build is an entry, with what changed in it and what a node pulls for it. Pure.

Spec: RFC 4287; sections 4.1.1 and 4.1.2 for what a feed and an entry must have.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from ..core.words import human_size
from .delta import delta, summary
from .model import Catalogue, CatalogueEntry, ImagePage

FILE = "feed.xml"
_ATOM = "http://www.w3.org/2005/Atom"
#: Entries that a feed has at most, the newest; readers keep what they saw.
_MOST = 50
_NEVER = "1970-01-01T00:00:00Z"


def feed(catalogue: Catalogue) -> str:
    """Return the feed's text. Links are relative to where it lies, the root of the site."""
    rows = [(image, entry, older) for image in catalogue.images for entry, older in _pairs(image)]
    rows.sort(key=lambda row: (row[1].created, row[1].id), reverse=True)
    root = ElementTree.Element("feed", xmlns=_ATOM)
    _add(root, "title", f"Images of {catalogue.registry}")
    # An address that is unique and stays; nobody has to be there.
    _add(root, "id", f"oci://{catalogue.registry}/")
    _add(root, "updated", max((entry.created for _, entry, _ in rows), default="") or _NEVER)
    _add(root, "link", rel="self", href=FILE)
    _add(root, "link", rel="alternate", type="text/html", href="index.html")
    _add(_add(root, "author"), "name", catalogue.registry)
    for image, entry, older in rows[:_MOST]:
        item = _add(root, "entry")
        _add(item, "title", f"{image.title}: {entry.tag}{' (yanked)' if entry.yanked else ''}")
        _add(item, "id", f"oci://{catalogue.registry}/{image.repository}@{entry.digest}")
        _add(item, "updated", entry.created or _NEVER)
        _add(item, "link", rel="alternate", type="text/html", href=f"tags/{entry.id}.html")
        _add(item, "category", term=image.name)
        _add(item, "content", "\n".join(_told(entry, older)), type="text")
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _pairs(image: ImagePage) -> Iterable[tuple[CatalogueEntry, CatalogueEntry | None]]:
    """Yield each build with the one of its platform that it replaces."""
    for at, entry in enumerate(image.entries):
        yield entry, next((old for old in image.entries[at + 1 :] if old.platform == entry.platform), None)


def _told(entry: CatalogueEntry, older: CatalogueEntry | None) -> Iterable[str]:
    if entry.advisory is not None:
        yield f"{entry.advisory.level}: {entry.advisory.reason}"
    if older is None:
        yield f"The first one; a node pulls {human_size(entry.size)}."
        return
    step = delta(older.side(), entry.side())
    yield f"Since {older.tag}: {summary(step.changes)}; a node that has it pulls {human_size(step.pull_bytes)}."
    yield from map(str, step.changes)


def _add(parent: ElementTree.Element, name: str, text: str = "", **attributes: str) -> ElementTree.Element:
    made = ElementTree.SubElement(parent, name, attributes)
    made.text = text or None
    return made

"""The form of the hub on this machine: each image with what it is for, its newest build first, and a size. Pure.

As KubeSpawner's form of a `profile_list` shows it; DockerSpawner's own is a bare list. It has the looks of JupyterHub's
pages (Bootstrap), so both of its themes, and needs no script. What is in an image is one click away, in the catalogue
that the hub serves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import templates
from ..spec.hub import Resources
from ..spec.image import ImageSpec
from .model import page_of
from .profiles import Offer, resources, size_title

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).with_name("templates")


def form(
    offered: Sequence[Offer], document: Mapping[str, Any], sizes: Iterable[Resources], *, catalogue: str = ""
) -> str:
    """Return the form's HTML: fields ``image``, a title as DockerSpawner's choices have it, and ``size``, a name.

    Args:
        offered: in the catalogue's order; see `profiles.offers`.
        document: the catalogue, as `model.document` gives it.
        catalogue: where its pages are, e.g. ``/hub/catalogue``; empty for nowhere.
    """
    pages = {
        (page["name"], entry["named"]): f"{catalogue}/{page_of(page['name'], entry)}"
        for page in document["images"]
        for entry in page.get("entries", ())
        if catalogue
    }
    said = {page["name"]: page["description"] for page in document["images"]}
    images: dict[str, list[Offer]] = {}
    for offer in offered:
        images.setdefault(offer.image, []).append(offer)
    first = next((offer for offer in offered if offer.default), offered[0])
    return _template().render(
        images=[(name, said.get(name, ""), builds) for name, builds in images.items()],
        first=first,
        sizes=tuple(sizes),
        pages={offer.key: pages.get((offer.image, offer.reference.partition("@")[2]), "") for offer in offered},
    )


@cache
def _template() -> Template:
    environment = templates.pages(_TEMPLATES)
    environment.filters["size_title"] = size_title
    return environment.get_template("hub_form.html.j2")


def sizes(offered: Iterable[Offer], images: Mapping[str, ImageSpec]) -> dict[str, Resources]:
    """Return what a server of this machine may get, by name: without GPUs, which its containers are not given."""
    known = {
        name: resource
        for offer in offered
        for name, resource in resources(images, offer.image).items()
        if name in offer.sizes and not resource.gpus
    }
    return known

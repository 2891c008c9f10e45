"""What images weigh, in the catalogue: its document, the page that says which to take, and that of a build."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
from catalogue_support import catalogue, entry, page

from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.comparison import comparisons
from helioimages.catalogue.model import document
from helioimages.catalogue.weight import Layers, Weight, weight
from helioimages.core.package import Package
from helioimages.locks.reasons import Key, Needs

MB = 10**6


def weighed(*, many: int = 0, whole: bool = True) -> Weight:
    """Return the weight of an image on base: it asks for `package-002`, which draws in a heavy one."""
    names = ["package-001", "package-002", "package-003", *(f"extra-{number:02}" for number in range(many))]
    packages: dict[Key, Package] = {
        ("wheel", name): Package(kind="wheel", name=name, version="1.0.0", size=(100 - at) * MB)
        for at, name in enumerate(names)
    }
    needs = Needs(
        packages=packages,
        asked={("wheel", "package-002"): ("environments/helio",), ("wheel", "package-001"): ("environments/base",)}
        | {key: ("environments/helio",) for key in packages if key[1].startswith("extra")},
        needs={("wheel", "package-002"): (("wheel", "package-003"),)},
        whole=whole,
    )
    owners = {key: "base" if key[1] == "package-001" else "helio" for key in packages}
    return weight(Layers(size=300 * MB, unpacked=900 * MB), ("base", "helio"), owners, needs)


def unpacked(build):
    """Return an entry whose layers take three times their bytes."""
    return replace(build, layers=tuple(replace(layer, unpacked=3 * layer.size) for layer in build.layers))


def made(**changes):
    base = unpacked(entry("base", 1))
    helio = unpacked(entry("helio", 1, **changes))
    return catalogue(page("base", base), page("helio", replace(helio, layers=(*base.layers, *helio.layers[-2:]))))


def written(folder: Path, offered) -> Path:
    with catalogue_site.writing(folder / "site") as site:
        site.write(offered)
    return folder / "site"


def text_of(path: Path) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", path.read_text("utf-8")).split())


def test_the_document_has_the_heaviest_and_follows_its_schema():
    told = document(made(weight=weighed(many=40)))
    jsonschema.validate(told, json.loads(catalogue_site.SCHEMA.read_text()))
    base, helio = (image["entries"][0] for image in told["images"])
    assert base["weight"] is None and base["unpacked"] == 3 * sum(row["size"] for row in told["layers"][:12])
    assert len(helio["weight"]["packages"]) == len(helio["weight"]["asked"]) == 10
    first = helio["weight"]["asked"][0]
    assert (first["name"], first["alone"], first["with"]) == ("package-002", 197 * MB, ["package-003"])
    assert helio["weight"]["packages"][0] == {
        "kind": "wheel",
        "name": "package-001",
        "version": "1.0.0",
        "bytes": 100 * MB,
        "image": "base",
        "why": "asked for",
    }


def test_the_first_page_says_which_to_take(tmp_path):
    offered = made(weight=weighed())
    text = text_of(written(tmp_path, offered) / "index.html")
    more = catalogue_site._added(offered)["helio"]
    assert more.parent == "base" and more.unpacked == 3 * more.bytes
    size = catalogue_site.human_size
    assert f"+{size(more.bytes)} over base, {size(more.unpacked)} unpacked" in text
    # What helio itself asks for, not base's.
    assert "linux/amd64 package-002 " in text


def test_where_nothing_says_it_nothing_is_claimed(tmp_path):
    offered = catalogue(page("base", entry("base", 1)))
    site = written(tmp_path, offered)
    whole = "".join(text_of(path) for path in (site / "index.html", *(site / "tags").iterdir()))
    assert "Weight" not in whole and "0 B" not in whole
    assert document(offered)["images"][0]["entries"][0]["unpacked"] == 0


def test_a_build_says_what_is_heavy_and_why(tmp_path):
    offered = made(weight=weighed(whole=False))
    path = written(tmp_path, offered) / "tags" / f"{offered.images[1].newest.id}.html"
    text = text_of(path)
    assert "Layers of 300 MB, 900 MB unpacked, made of 3 packages of 297 MB as they are fetched." in text
    assert "package-003 1.0.0 PyPI 98 MB helio drawn in by package-002" in text
    assert "package-002 197 MB 99 MB environments/helio package-003" in text
    assert "Not of every wheel was it known" in text


def test_reasons_are_those_of_the_build_not_of_a_checkout():
    # From day 38 on it is of another version.
    old, new = entry("helio", 30), entry("helio", 38, weight=weighed())
    reasons = {"helio": {("wheel", "package-002"): "gone since"}}
    told = {to.id: packed for to, packed in comparisons(catalogue(page("helio", old, new)), reasons)}
    (row,) = [row for row in told[new.id]["changes"] if row[1] == "package-002"]
    assert row[5] == "asked for"

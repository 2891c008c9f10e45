"""Where `delta` finds images: layouts, the store, and locks of a checkout without anything built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workspace import Workspace

from helioimages.catalogue import lookup
from helioimages.catalogue.delta import delta
from helioimages.core import entries
from helioimages.core.errors import HelioError
from helioimages.locks import read as locks
from helioimages.machine.store import Store
from helioimages.oci.image import Addition, Image, Settings, append
from helioimages.oci.layer import write_layer
from helioimages.oci.layout import write_layout
from helioimages.oci.types import Platform


def side(ws: Workspace, text: str, **options) -> lookup.Side:
    """Look a word up as the verb `delta` does."""
    return lookup.side(ws.checkout, ws.store, ws.registry, text, **options)


ROOT = Path(__file__).parents[3]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """This checkout with an empty store."""
    return Workspace.of(ROOT, Store(tmp_path / "store"), jobs=1)


def built(store: Store, *names: str) -> Image:
    rows = []
    for name in names:
        draft = store.root / "tmp" / name
        with open(draft, "wb") as out:
            layer = write_layer(entries.merge([entries.file(f"srv/{name}", name.encode() * 1000)]), out)
        os.replace(draft, store.blob(layer.digest))
        rows.append(Addition(layer=layer, created_by=f"ADD {name}", comment=f"{name}: {name} 1.0"))
    image = append(None, rows, Settings(), platform=Platform.of("linux/amd64"), created_epoch=0)
    store.put_blob(image.config_bytes)
    store.put_blob(image.manifest_bytes)
    return image


@pytest.fixture
def layout(ws: Workspace, tmp_path: Path) -> Path:
    """A layout with two images, `one` and `two`; the second has a layer more."""
    images = {"one": built(ws.store, "numpy"), "two": built(ws.store, "numpy", "sunpy")}
    write_layout(tmp_path / "layout", images, ws.store.blob)
    return tmp_path / "layout"


def test_a_layout_and_a_digest_of_the_store(ws, layout):
    first, second = side(ws, f"{layout}:one"), side(ws, f"{layout}:two")
    difference = delta(first, second)
    assert [layer.name for layer in difference.pull] == ["sunpy"]
    assert difference.pull_bytes == second.layers[1].size + second.config[1]
    assert [str(change) for change in difference.changes] == []
    assert first.contents.source == "history"
    again = side(ws, built(ws.store, "numpy", "sunpy").digest)
    assert (again.layers, again.config) == (second.layers, second.config)


def test_a_name_that_a_layout_lacks(ws, layout):
    with pytest.raises(HelioError) as caught:
        side(ws, f"{layout}:three")
    assert str(caught.value) == (
        f"the layout `{layout}` has no image `three`\n  expected one of: one, two\n\nhint: write {layout}:NAME"
    )
    with pytest.raises(HelioError, match="has several images"):
        side(ws, str(layout))


def test_what_the_store_lacks(ws):
    digest = "sha256:" + "0" * 64
    with pytest.raises(HelioError) as caught:
        side(ws, digest)
    assert str(caught.value) == (
        f"the store has no image {digest}\n  in {ws.store.root}\n\n"
        "hint: give the whole reference, host/name@digest, for an image in a registry"
    )


def test_what_is_nothing(ws):
    with pytest.raises(HelioError, match="`nobody` names no image"):
        side(ws, "nobody")


def test_an_image_that_is_only_locked(ws):
    """Nothing is built and nothing is fetched: sizes are those of the packages' files."""
    base, helio = side(ws, "base"), side(ws, "helio")
    difference = delta(base, helio)
    assert not difference.exact
    assert difference.shared == base.layers, "a child has its parent's layers"
    assert helio.layers[: len(base.layers)] == base.layers
    assert {change.kind for change in difference.changes} == {"added"}
    lock = locks.load(ROOT, ws.checkout.images, "helio")
    assert len(helio.contents.packages) == sum(map(len, (lock.conda.packages, lock.pypi.wheels, lock.apt.packages)))
    assert [layer.name for layer in base.layers if layer.exact] == ["files of base"]
    titles = [layer.name for layer in helio.layers]
    assert len(titles) == len(set(titles)) and {"debian of base", "debian of helio"} < set(titles)
    assert difference.lines()[3].endswith("layers not built yet: counted by the packages' files")

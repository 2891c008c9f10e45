"""The format of a cache's entries: what is written is read, and what is not ours is refused."""

from __future__ import annotations

import dataclasses

import pytest

from helioimages.cache import entry as entries
from helioimages.cache.entry import LayerEntry
from helioimages.core.digest import canonical_json, of_bytes
from helioimages.core.errors import HelioError
from helioimages.oci.layer import Layer
from helioimages.oci.types import LAYER_GZIP, Descriptor, Manifest

KEY, OTHER = "a" * 64, "b" * 64
ROWS = b"numpy-1\0" + b"c" * 64 + b"\0srv/x\0"
PACKED = entries.pack(ROWS)
ENTRY = LayerEntry(
    key=KEY,
    layer=Layer(digest="sha256:" + "d" * 64, size=10, diff_id="sha256:" + "e" * 64, uncompressed_size=99),
    files=of_bytes(ROWS).removeprefix("sha256:"),
    packed=Descriptor(media_type=entries.FILES, digest=of_bytes(PACKED), size=len(PACKED)),
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ghcr.io/heliocloud", "ghcr.io/heliocloud/cache"),
        ("ghcr.io/heliocloud/", "ghcr.io/heliocloud/cache"),
        ("localhost:5000", "localhost:5000/cache"),
        ("h.org/a/b", "h.org/a/b/cache"),
    ],
)
def test_a_place_is_beside_the_images(text, place):
    cache_place = entries.place(text)
    assert str(cache_place) == place
    prefix = place.partition("/")[2].removesuffix("cache")
    assert entries.place_of(cache_place.host, prefix) == cache_place


@pytest.mark.parametrize("text", ["", "https://ghcr.io/x", "ghcr.io/Upper", "ghcr.io/a b", "ghcr.io//x", "-/x"])
def test_what_is_no_place(text):
    with pytest.raises(HelioError, match="is not a cache") as caught:
        entries.place(text)
    assert caught.value.where == "--cache"


@pytest.mark.parametrize("signature", ["", "c2ln"])
def test_what_is_written_is_read_in_one_document(signature):
    data = entries.layer_manifest(ENTRY, signature).dump()
    assert entries.parse_layer(data, KEY, "here") == (ENTRY, ENTRY.config, signature)
    manifest = Manifest.parse(data)
    assert [layer.media_type for layer in manifest.layers] == [LAYER_GZIP, entries.FILES]
    assert (manifest.artifact_type, manifest.config.media_type) == (entries.LAYER, entries.LAYER_CONFIG)
    assert entries.unpack(PACKED, ENTRY, "here") == ROWS


def test_an_entry_may_have_notes():
    packed = entries.pack(b"{}")
    noted = dataclasses.replace(ENTRY, notes=entries.packed(packed, entries.NOTES))
    data = entries.layer_manifest(noted).dump()
    assert entries.parse_layer(data, KEY, "here") == (noted, noted.config, "")
    assert [layer.media_type for layer in Manifest.parse(data).layers] == [LAYER_GZIP, entries.FILES, entries.NOTES]
    assert entries.unpack_notes(packed, "here") == b"{}"
    # The manifest names what the config names, no more and no less.
    for layers in (noted.blobs[:2], (*noted.blobs, noted.notes)):
        with pytest.raises(HelioError, match="name different blobs"):
            entries.parse_layer(dataclasses.replace(entries.layer_manifest(noted), layers=layers).dump(), KEY, "here")


@pytest.mark.parametrize("data", [PACKED[:-9], PACKED + PACKED, b"plain"])
def test_notes_that_are_cut(data):
    with pytest.raises(HelioError, match="notes on the layer cannot be read"):
        entries.unpack_notes(data, "here")


def test_what_unpacks_to_more_than_is_ours_is_refused(monkeypatch):
    monkeypatch.setattr(entries, "MOST_LISTED", 100)
    with pytest.raises(HelioError, match="notes on the layer cannot be read"):
        entries.unpack_notes(entries.pack(bytes(101)), "here")
    assert entries.unpack_notes(entries.pack(bytes(100)), "here") == bytes(100)


def swapped(**changes) -> bytes:
    return dataclasses.replace(entries.layer_manifest(ENTRY), **changes).dump()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (entries.layer_manifest(dataclasses.replace(ENTRY, key=OTHER)).dump(), f"expected key {KEY} not {OTHER}"),
        (swapped(artifact_type="application/x"), f"expected {entries.LAYER} not application/x"),
        (swapped(artifact_type=""), "not an image"),
        (swapped(layers=(ENTRY.packed,)), "name different blobs"),
        (swapped(layers=()), "name different blobs"),
        (
            swapped(config=dataclasses.replace(entries.layer_manifest(ENTRY).config, data=b"{}")),
            "not what its digest says",
        ),
        (b"{}", "schemaVersion"),
        (b"\xff", ""),
    ],
)
def test_what_is_not_the_entry_is_refused(data, told):
    with pytest.raises(HelioError) as caught:
        entries.parse_layer(data, KEY, "here")
    assert told in str(caught.value) and "here" in str(caught.value)


def test_an_entry_whose_config_lacks_a_key_names_it():
    config = canonical_json({"key": KEY, "layer": {}, "files": {}})
    manifest = dataclasses.replace(
        entries.layer_manifest(ENTRY),
        config=Descriptor(media_type=entries.LAYER_CONFIG, digest=of_bytes(config), size=len(config), data=config),
    )
    with pytest.raises(HelioError, match="digest"):
        entries.parse_layer(manifest.dump(), KEY, "here")


@pytest.mark.parametrize("data", [PACKED[:-9], PACKED + PACKED, entries.pack(ROWS + b"x"), b"plain"])
def test_a_list_that_is_another(data):
    with pytest.raises(HelioError, match="list of files"):
        entries.unpack(data, ENTRY, "here")

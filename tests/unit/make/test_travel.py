"""Layers and packages that travel through a registry, and what a bad one is worth: nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from building_support import workshops
from faulty_registry import Fault, FaultyRegistry
from trust_support import write_key

from helioimages.cache import access
from helioimages.cache import entry as entries
from helioimages.cache.access import Cache
from helioimages.core.digest import canonical_json, of_bytes
from helioimages.machine.store import Store
from helioimages.make import linking, own_files, travel
from helioimages.make.building import Built, Workshop, build
from helioimages.make.plan import LayerKind
from helioimages.oci.registry import Registry
from helioimages.oci.types import Descriptor, Manifest
from helioimages.publish import sbom, signing

PLACE = "team/cache"


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_module_wheel) -> tuple[Store, Built]:
    shop = workshops(tmp_path_factory.mktemp("site"), make_module_wheel)()
    return shop.store, shop.build("child")


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    server = FaultyRegistry()
    yield server
    server.close()


@pytest.fixture
def cache(registry) -> Iterator[Cache]:
    with Registry(registry.host, pause=lambda _: None, tries=2) as client:
        yield Cache(client=client, place=entries.place(f"{registry.host}/team"))


def kept(cache: Cache, site, sign=None) -> None:
    store, child = site
    for built in child.line:
        travel.keep(cache, built, store, mount=f"team/{built.spec.name}", sign=sign)


def test_where_no_cache_is_asked_nothing_is_said_of_one(site, tmp_path, capsys):
    """Each build once said that it brought `0 B` of layers of the cache."""
    plans = [built.plan for built in site[1].line]
    store = Store(tmp_path / "other")
    assert travel.bring(store, travel.known(store, (), plans), plans, jobs=1) == 0
    assert capsys.readouterr().err == ""


def arrived(cache: Cache, site, folder: Path, *, jobs: int = 1) -> tuple[Store, int]:
    store = Store(folder / "other", travelled=True)
    plans = [built.plan for built in site[1].line]
    return store, travel.bring(store, travel.known(store, (cache,), plans), plans, jobs=jobs)


def keys_of(site) -> list[str]:
    return [key for _, layer in travel.missing(Store(site[0].root.parent / "none"), plans(site)) for key in [layer.key]]


def plans(site):
    return [built.plan for built in site[1].line]


def test_what_one_machine_made_another_has(cache, site, tmp_path):
    kept(cache, site)
    store, came = arrived(cache, site, tmp_path)
    assert came == len(keys_of(site)) > 3
    assert travel.missing(store, plans(site)) == ()
    for key in keys_of(site):
        assert linking.recall(store, key) == linking.recall(site[0], key)
        assert linking.files_of(store, key) == linking.files_of(site[0], key)
    # A second time nothing is asked for.
    assert travel.known(store, (cache,), plans(site)) == {}


def test_several_are_read_while_others_come(cache, site, tmp_path):
    kept(cache, site)
    store, came = arrived(cache, site, tmp_path, jobs=2)
    assert came == len(keys_of(site)) and travel.missing(store, plans(site)) == ()


def test_the_folders_and_links_of_a_layer_are_known_when_it_was_read(cache, site, tmp_path):
    """So an image's own files land where they belong, and Debian's layer is not read again for it."""
    kept(cache, site)
    store, _ = arrived(cache, site, tmp_path)
    debian = [layer.key for layer in site[1].plan.stack if layer.kind is LayerKind.DEBIAN]
    assert len(debian) == 2
    for key in debian:
        brought = store.recall(own_files.SHAPES, key)
        own_files._shape(site[0], key)
        assert brought == site[0].recall(own_files.SHAPES, key) and brought["rows"]


def test_without_a_cache_nothing_that_travelled_counts(cache, site, tmp_path):
    kept(cache, site)
    store, _ = arrived(cache, site, tmp_path)
    plain = Store(store.root)
    assert [linking.recall(plain, key) for key in keys_of(site)] == [None] * len(keys_of(site))
    # And it is not handed on as if it had been made here.
    assert [linking.list_of(store, key) for key in keys_of(site)] == [None] * len(keys_of(site))


def test_it_is_kept_once(cache, site, registry):
    kept(cache, site)
    registry.log.clear()
    kept(cache, site)
    assert {line.split()[0] for line in registry.log} <= {"HEAD", "GET"}


def entry_of(cache: Cache, key: str) -> Manifest:
    answer = cache.client.get_manifest(PLACE, entries.layer_tag(key))
    assert answer is not None
    return Manifest.parse(answer[1])


def forge(cache: Cache, key: str, change) -> None:
    """Replace an entry by one whose config was changed; its blobs are pushed as they are."""
    manifest = entry_of(cache, key)
    config = json.loads(manifest.config.data)
    blobs = change(config)
    data = canonical_json(config)
    described = Descriptor(media_type=entries.LAYER_CONFIG, digest=of_bytes(data), size=len(data), data=data)
    cache.client.push_bytes(PLACE, described, data)
    for descriptor, content in (blobs or {}).values():
        cache.client.push_bytes(PLACE, descriptor, content)
    layer, files = config["layer"], config["files"]
    layers = (
        Descriptor(media_type=layer["mediaType"], digest=layer["digest"], size=layer["size"]),
        Descriptor(media_type=entries.FILES, digest=files["digest"], size=files["size"]),
        *manifest.layers[2:],
    )
    forged = dataclasses.replace(manifest, config=described, layers=layers)
    cache.client.put_manifest(PLACE, entries.layer_tag(key), forged.dump())


def listed(config, rows: bytes):
    packed = entries.pack(rows)
    config["files"] = {
        "sha256": of_bytes(rows).removeprefix("sha256:"),
        "digest": of_bytes(packed),
        "size": len(packed),
    }
    return {"list": (Descriptor(media_type=entries.FILES, digest=of_bytes(packed), size=len(packed)), packed)}


def another_path(site, key, config):
    return listed(config, site[0].cached(linking.LISTS, key).read_bytes().replace(b"srv/", b"usr/"))


def another_owner(site, key, config):
    rows = linking.files_of(site[0], key)
    text = "".join(f"stranger-1\0{held}\0{path}\0" for path, (_, held) in rows.items())
    return listed(config, text.encode())


def another_hash(site, key, config):
    rows = linking.files_of(site[0], key)
    text = "".join(f"{origin}\0{'0' * 64}\0{path}\0" for path, (origin, _) in rows.items())
    return listed(config, text.encode())


def another_layer(site, key, config):
    other = next(other for other in keys_of(site) if other != key)
    layer = linking.recall(site[0], other)
    config["layer"] |= {"digest": layer.digest, "size": layer.size, "diffId": layer.diff_id}


def another_diff_id(site, key, config):
    config["layer"]["diffId"] = "sha256:" + "1" * 64


def another_size(site, key, config):
    config["layer"]["size"] += 1


def another_uncompressed_size(site, key, config):
    config["layer"]["uncompressedSize"] += 1


def another_key(site, key, config):
    config["key"] = "2" * 64


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (another_path, "list of files is not what the layer holds"),
        (another_hash, "list of files is not what the layer holds"),
        (another_owner, "names packages that the lock has not for this layer: stranger-1"),
        (another_layer, "it is made here"),
        (another_diff_id, "its layer holds other bytes"),
        (another_uncompressed_size, "its layer holds other bytes"),
        (another_size, "another size"),
        (another_key, "it is another layer's"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_lie_is_told_and_the_layer_is_made_here(cache, site, tmp_path, capsys, lie, told):
    kept(cache, site)
    key = next(layer.key for layer in site[1].parent.plan.layers if layer.name == "big")
    forge(cache, key, partial(lie, site, key))
    store, came = arrived(cache, site, tmp_path)
    assert came == len(keys_of(site)) - 1
    assert [layer.key for _, layer in travel.missing(store, plans(site))] == [key]
    said = capsys.readouterr().err
    assert told in said and entries.layer_tag(key) in said


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_layer_that_vanishes_after_it_was_looked_up(cache, site, tmp_path, registry, capsys, how, monkeypatch):
    kept(cache, site)
    key = next(layer.key for layer in site[1].parent.plan.layers if layer.name == "big")
    digest = entry_of(cache, key).layers[0].digest
    look_up = access.look_up

    def then_lost(caches, keys):
        looked_up = look_up(caches, keys)
        blobs = registry.blobs
        if how == "gone":
            del blobs[digest]
        else:
            blobs[digest] = blobs[digest][:-1]
        return looked_up

    monkeypatch.setattr(access, "look_up", then_lost)
    store, _ = arrived(cache, site, tmp_path)
    assert [layer.key for _, layer in travel.missing(store, plans(site))] == [key]
    assert "it is made here" in capsys.readouterr().err


def test_with_a_key_only_what_it_signed_counts(cache, site, tmp_path, capsys):
    mine, others = (write_key(tmp_path / f"key{number}", number) for number in (1, 2))
    strict = dataclasses.replace(cache, good=partial(signing.good, signing.load_public(mine.with_suffix(".pub"))))
    kept(cache, site)
    assert arrived(strict, site, tmp_path / "a")[1] == 0
    kept(cache, site, partial(signing.sign, signing.load_private(others)))
    assert arrived(strict, site, tmp_path / "b")[1] == 0
    assert "the key did not sign it" in capsys.readouterr().err
    kept(cache, site, partial(signing.sign, signing.load_private(mine)))
    assert arrived(strict, site, tmp_path / "c")[1] == len(keys_of(site))


def test_a_cache_that_does_not_answer_is_passed_over(cache, site, tmp_path, capsys):
    kept(cache, site)
    with Registry("127.0.0.1:1", pause=lambda _: None, tries=1) as client:
        dead = Cache(client=client, place=entries.place("127.0.0.1:1/team"))
        store = Store(tmp_path / "other", travelled=True)
        assert len(travel.known(store, (dead, cache), plans(site))) == len(keys_of(site))
        assert access.fetch_artefacts((dead, cache), {"9" * 64: None, "8" * 64: None}, store) == frozenset()
    assert capsys.readouterr().err.count("the cache 127.0.0.1:1/team/cache is passed over") == 2


def test_a_cache_that_may_not_be_read_is_told_once(cache, site, tmp_path, registry, capsys):
    kept(cache, site)
    registry.faults.append(Fault(pattern=r"(GET|HEAD) /v2/team/cache/", kind="status", times=1000, status=403))
    assert arrived(cache, site, tmp_path)[1] == 0
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "is passed over" in said


def test_packages_travel_by_their_sha256(cache, site, tmp_path, registry):
    store, child = site
    sent = travel.keep_artefacts(cache, child, store)
    assert sent > 0 and travel.keep_artefacts(cache, child, store) == 0
    wanted = {wheel.sha256: wheel.size for wheel in child.locks.pypi.wheels}
    fresh = Store(tmp_path / "fresh")
    assert access.fetch_artefacts((cache,), wanted | {"9" * 64: None}, fresh) == frozenset(wanted)
    for sha256 in wanted:
        assert fresh.artefact(sha256).read_bytes() == store.artefact(sha256).read_bytes()
    # One that was exchanged is not taken.
    bad = next(iter(wanted))
    registry.blobs[f"sha256:{bad}"] = b"x" * len(registry.blobs[f"sha256:{bad}"])
    assert access.fetch_artefacts((cache,), {bad: wanted[bad]}, Store(tmp_path / "third")) == frozenset()


def test_packages_of_layers_that_came_are_named_with_those_that_are_here(cache, site, tmp_path):
    """One manifest keeps all that a lock needs, whoever publishes it: a registry collects what none names."""
    store, child = site
    travel.keep_artefacts(cache, child, store)
    tag = next(tag for tag in cache.client.tags(PLACE) if tag.startswith("artefacts-"))
    whole = Manifest.parse(cache.client.get_manifest(PLACE, tag)[1])
    assert len(whole.layers) == len({*child.locks.pypi.wheels, *child.locks.conda.packages})
    cache.client.delete_manifest(PLACE, tag)
    fresh = Store(tmp_path / "fresh")
    wheel = child.locks.pypi.wheels[0]
    fresh.put_artefact(store.artefact(wheel.sha256))
    assert travel.keep_artefacts(cache, child, fresh) == 0
    assert Manifest.parse(cache.client.get_manifest(PLACE, tag)[1]) == whole


def test_what_packages_say_of_themselves_comes_with_their_layers(cache, site, tmp_path):
    """So an SBOM needs no package that nothing else needs."""
    kept(cache, site)
    store, _ = arrived(cache, site, tmp_path)
    store_there, child = site
    assert not any(store.artefact(wheel.sha256).exists() for wheel in child.locks.pypi.wheels)
    shop = Workshop(store=store, paths={}, interpreter=None, debian={}, jobs=1)
    again = build(shop, child.plan)
    assert again.image == child.image
    assert sbom.components(store, again) == sbom.components(store_there, child)
    for wheel in child.locks.packages:
        if wheel.kind == "wheel":
            assert "Name: " + wheel.name in travel.metadata_of(store, wheel)
            # What came from elsewhere does not count where nothing that travelled does.
            assert travel.metadata_of(Store(store.root), wheel) is None


def test_a_layer_that_lies_leaves_no_metadata(cache, site, tmp_path):
    kept(cache, site)
    layer = next(layer for layer in site[1].parent.plan.layers if layer.name == "big")
    forge(cache, layer.key, partial(another_hash, site, layer.key))
    store, _ = arrived(cache, site, tmp_path)
    assert travel.metadata_of(store, layer.packages[0]) is None

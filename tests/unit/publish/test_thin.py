"""One package changes, and what the registry has of the image stays there: no byte of it comes here, none is sent."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from building_support import USER, Site, debian_files, workshops
from faulty_registry import Fault, FaultyRegistry, Held
from trust_support import write_key

from helioimages.cache import entry as entries
from helioimages.cache.access import Cache
from helioimages.core.digest import canonical_json, of_bytes
from helioimages.core.entries import file, merge
from helioimages.core.platform import Platform
from helioimages.machine.store import Store
from helioimages.make import images, linking, notes, toolchain, travel
from helioimages.make.building import Built
from helioimages.make.machine import Machine
from helioimages.make.plan import LayerKind, debian_key
from helioimages.oci.registry import Registry
from helioimages.oci.types import Descriptor, Manifest
from helioimages.publish import attach, push, release, signing
from helioimages.smoke import stage as smoking
from helioimages.spec.lineage import lineage

TEMPLATE = Path(__file__).parents[3] / "images" / "Dockerfile.j2"
CACHE = "team/cache"
NAMES = ("base", "child")


@dataclasses.dataclass(frozen=True)
class Sites:
    """What was published, and the same with one more small package, made here as it should come out."""

    before: Site
    after: Site


@pytest.fixture(scope="module")
def sites(tmp_path_factory, make_module_wheel) -> Sites:
    root = tmp_path_factory.mktemp("thin")
    shop = workshops(root, make_module_wheel)
    more = {"small": make_module_wheel({"small/a.py": b"x = 4\n"}, name="small")}
    before, after = shop("before"), shop("after", more=more)
    after.build("child")
    (root / "smoke-notebooks" / "base").mkdir(parents=True)
    (root / "smoke-notebooks" / "base" / "one.ipynb").write_text("{}")
    shutil.copyfile(TEMPLATE, root / "images" / "Dockerfile.j2")
    (root / "images" / "child").mkdir()
    images.render(root, {built.spec.name: built for built in before.build("child").line}, check=False)
    return Sites(before=before, after=after)


@dataclasses.dataclass
class World:
    """A registry that has the images of before, and a fresh machine that publishes those of after."""

    sites: Sites
    registry: FaultyRegistry
    client: Registry
    cache: Cache
    root: Path
    checkout: SimpleNamespace
    machine: Machine

    @property
    def store(self) -> Store:
        return self.machine.store

    def publish(self, **changes: object) -> tuple[release.Published, ...]:
        asked = {"host": self.client.host, "prefix": "team/", "out": self.root / "out"} | changes
        return release.publish(self.checkout, self.machine, NAMES, release.PublishOrder(**asked))

    def right(self, done: tuple[release.Published, ...]) -> None:
        """Check that what was published is what a machine makes that knows no cache."""
        for image in done:
            built = self.sites.after.build(image.image)
            assert image.reference.endswith(f"@{built.image.digest}")
            assert built.tag in image.tags
            told = {digest for digest, *_ in self.documents(built)}
            assert {
                of_bytes(document.data)
                for document in attach._documents(built, self.root, self.sites.after.store).values()
                if "in-toto" not in document.media_type
            } <= told

    def documents(self, built: Built) -> Iterator[tuple[str, str]]:
        repository = f"team/{built.spec.name}"
        for referrer in self.client.referrers(repository, built.image.digest):
            answer = self.client.get_manifest(repository, referrer.digest)
            for layer in Manifest.parse(answer[1]).layers:
                yield layer.digest, referrer.artifact_type

    @property
    def fetched(self) -> set[str]:
        """The digests of layers of before of which bytes came here."""
        layers = {layer.digest for layer in self.sites.before.build("child").image.layers}
        return {digest for line in self.registry.log for digest in layers if line.startswith("GET") and digest in line}


@dataclasses.dataclass(frozen=True)
class Published:
    """A registry, and what it holds once the images of before are published there, with a cache."""

    registry: FaultyRegistry
    held: Held


@pytest.fixture(scope="module")
def published(sites) -> Iterator[Published]:
    server = FaultyRegistry()
    with Registry(server.host, pause=lambda _: None, tries=2) as client:
        for built in sites.before.build("child").line:
            push.push_untagged(client, built.image, f"team/{built.spec.name}", sites.before.store)
        keep(sites, cache_of(client))
        # All packages are there as well; the index and the mirror are not asked.
        for path in (sites.after.store.root / "artefacts" / "sha256").iterdir():
            data = path.read_bytes()
            client.push_bytes(
                CACHE, Descriptor(media_type=entries.ARTEFACT, digest=of_bytes(data), size=len(data)), data
            )
    yield Published(registry=server, held=server.held())
    server.close()


def cache_of(client: Registry) -> Cache:
    return Cache(client=client, place=entries.place(f"{client.host}/team"))


def keep(sites: Sites, cache: Cache, sign: Callable[[bytes], str] | None = None) -> None:
    for built in sites.before.build("child").line:
        travel.keep(cache, built, sites.before.store, mount=f"team/{built.spec.name}", sign=sign)


@pytest.fixture
def world(sites, published, tmp_path, monkeypatch) -> Iterator[World]:
    # What the site's locks are made of is made up, and hashed by nobody.
    monkeypatch.setattr("helioimages.locks.stale.check", lambda *_, **__: None)
    monkeypatch.setattr(toolchain, "unpack_toolchain", lambda *_: sites.after.shop.interpreter)
    monkeypatch.setattr(smoking, "smoke", smoked)
    # Of any machine: no engine is started.
    monkeypatch.setattr(Machine, "engine", SimpleNamespace(pull=lambda _: None))
    shutil.copytree(sites.before.root / "images", tmp_path / "images", symlinks=True)
    shutil.copytree(sites.before.root / "smoke-notebooks", tmp_path / "smoke-notebooks")
    files = {"apt": "apt-lock.json", "conda": "conda-lock.yml", "pypi": "pylock.toml"}
    locks = {name: dataclasses.replace(lock, files=files) for name, lock in sites.after.locks.items()}
    checkout = SimpleNamespace(
        root=tmp_path,
        images=sites.after.images,
        environments=sites.after.environments,
        platform=Platform.of("linux/amd64"),
        locks_of=lambda names: locks,
        selected=lambda names: names,
        lineage=lambda name: lineage(sites.after.images, name),
    )
    server = published.registry
    server.hold(published.held)
    with Registry(server.host, pause=lambda _: None, tries=2) as client:
        monkeypatch.setattr(release, "connect", lambda *_: nullcontext(client))
        cache = cache_of(client)
        machine = Machine(store=Store(tmp_path / "fresh", travelled=True), jobs=1, caches=(cache,))
        yield World(sites, server, client, cache, tmp_path, checkout, machine)


class nullcontext:
    """A registry's client that stays open."""

    def __init__(self, client: Registry) -> None:
        self.client = client

    def __enter__(self) -> Registry:
        return self.client

    def __exit__(self, *_: object) -> None:
        return None


def smoked(_checkout, _machine, _built, reference: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps({"reference": reference, "passed": True}))


def test_what_the_registry_has_stays_there(world):
    done = world.publish()
    world.right(done)
    assert world.fetched == set()
    before = {layer.digest for layer in world.sites.before.build("child").image.layers}
    child = world.sites.after.build("child").image
    new = [layer for layer in child.layers if layer.digest not in before]
    # What is new, and the image's own files are made anew everywhere; they are small.
    assert len(new) == 1
    assert done[1].bytes_sent == sum(layer.size for layer in new) + len(child.config_bytes)
    # Of the packages, those of the new layer came, and the interpreter.
    came = {path.name for path in (world.store.root / "artefacts" / "sha256").iterdir()}
    locks = world.sites.after.locks["child"]
    layer = next(layer for layer in world.sites.after.plan("child").layers if "small" in layer.comment)
    assert came == {package.sha256 for package in layer.packages} | {locks.python.sha256}


def test_what_is_lent_is_not_kept(world):
    """The next run asks again whether it may believe it."""
    world.publish()
    again = Store(world.store.root, travelled=True)
    lent = world.store.lent
    assert len(lent) > 3 and not any(linking.recall(again, key) for key in lent)
    assert not (world.store.root / "memo" / "trust").exists()
    # And what was lent is not handed on as if it had been made here.
    assert [linking.list_of(world.store, key) for key in lent] == [None] * len(lent)


def test_a_second_time_nothing_is_asked_of_layers_that_are_here(world):
    world.publish()
    store = Store(world.store.root, travelled=True)
    plans = [built.plan for built in world.sites.after.build("child").line]
    known = travel.known(store, (world.cache,), plans)
    assert travel.bring(store, known, plans, jobs=1) == len(known) > 3
    assert travel.known(store, (world.cache,), plans) == {}


def big(world: World) -> str:
    return next(layer.key for layer in world.sites.before.plan("base").layers if layer.name == "big")


def debian(world: World) -> str:
    return next(layer.key for layer in world.sites.before.plan("base").layers if layer.kind is LayerKind.DEBIAN)


def forge(world: World, key: str, change: Callable[[dict], tuple[bytes, ...] | None]) -> None:
    """Replace an entry by one whose config was changed, with the blobs that the change gives."""
    answer = world.client.get_manifest(CACHE, entries.layer_tag(key))
    manifest = Manifest.parse(answer[1])
    config = json.loads(manifest.config.data)
    for blob in change(config) or ():
        world.client.push_bytes(CACHE, Descriptor(media_type="x/y", digest=of_bytes(blob), size=len(blob)), blob)
    data = canonical_json(config)
    described = Descriptor(media_type=entries.LAYER_CONFIG, digest=of_bytes(data), size=len(data), data=data)
    world.client.push_bytes(CACHE, described, data)
    layer, files = config["layer"], config["files"]
    layers = [
        Descriptor(media_type=layer["mediaType"], digest=layer["digest"], size=layer["size"]),
        Descriptor(media_type=entries.FILES, digest=files["digest"], size=files["size"]),
    ]
    if "notes" in config:
        told = config["notes"]
        layers.append(Descriptor(media_type=entries.NOTES, digest=told["digest"], size=told["size"]))
    forged = dataclasses.replace(manifest, config=described, layers=tuple(layers))
    world.client.put_manifest(CACHE, entries.layer_tag(key), forged.dump())


def listing(config: dict, rows: bytes) -> tuple[bytes, ...]:
    packed = entries.pack(rows)
    sha256 = of_bytes(rows).removeprefix("sha256:")
    config["files"] = {"sha256": sha256, "digest": of_bytes(packed), "size": len(packed)}
    return (packed,)


def noting(config: dict, data: bytes) -> tuple[bytes, ...]:
    packed = entries.pack(data)
    config["notes"] = {"digest": of_bytes(packed), "size": len(packed)}
    return (packed,)


def rows_of(world: World, key: str) -> dict[str, tuple[str, str]]:
    return linking.files_of(world.sites.before.store, key)


def notes_of(world: World, key: str) -> dict:
    return json.loads(world.sites.before.store.cached(notes.NOTES, key).read_bytes())


def another_diff_id(world, key, config):
    config["layer"]["diffId"] = "sha256:" + "1" * 64


def another_layer(world, key, config):
    """The layer of another key, whole and well described: nothing but what was committed tells."""
    other = linking.recall(world.sites.before.store, debian(world))
    config["layer"] |= entries.layer_table(other)


def another_size(world, key, config):
    config["layer"]["size"] += 1


def strangers(world, key, config):
    text = "".join(f"stranger-1\0{held}\0{path}\0" for path, (_, held) in rows_of(world, key).items())
    return listing(config, text.encode())


def another_list(world, key, config):
    config["files"]["sha256"] = "0" * 64


def a_list_without_metadata(world, key, config):
    rows = {path: row for path, row in rows_of(world, key).items() if not path.endswith("METADATA")}
    return listing(config, "".join(f"{o}\0{held}\0{path}\0" for path, (o, held) in rows.items()).encode())


def other_notes(world, key, config):
    told = notes_of(world, key)
    path = next(path for path in told["files"] if path.endswith("METADATA"))
    told["files"][path] += "License: Proprietary\n"
    return noting(config, canonical_json(told))


def fewer_notes(world, key, config):
    return noting(config, canonical_json(notes_of(world, key) | {"files": {}}))


def no_notes(world, key, config):
    return noting(config, b"[]")


def notes_of_an_earlier_version(world, key, config):
    del config["notes"]


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (another_diff_id, "its layer holds other bytes"),
        (another_layer, ""),
        (another_size, "another size"),
        (strangers, "names packages that the lock has not for this layer: stranger-1"),
        (another_list, "the list of files is another"),
        (a_list_without_metadata, "its notes are not of the files that it lists"),
        (other_notes, "its notes are not of the files that it lists"),
        (fewer_notes, "its notes are not of the files that it lists"),
        (no_notes, "its notes cannot be read"),
        (notes_of_an_earlier_version, ""),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_lie_is_told_and_what_is_published_is_right(world, capsys, lie, told):
    key = big(world)
    forge(world, key, partial(lie, world, key))
    world.right(world.publish())
    assert told in capsys.readouterr().err
    assert key not in world.store.lent and debian(world) in world.store.lent


def a_folder_that_is_a_link(world, key, config):
    told = notes_of(world, key)
    return noting(config, canonical_json(told | {"shape": [*told["shape"], ["home", "usr"]]}))


def test_folders_and_links_that_are_not_there_move_no_file(world, capsys):
    """What the image itself brings would land elsewhere; the committed Dockerfile has it where it belongs."""
    key = debian(world)
    forge(world, key, partial(a_folder_that_is_a_link, world, key))
    world.right(world.publish())
    assert "the files of `base` itself are not as images/base/Dockerfile has them" in capsys.readouterr().err
    assert world.fetched


def test_without_what_was_committed_nothing_is_believed(world):
    for name in NAMES:
        (world.root / "images" / name / "Dockerfile").unlink()
    world.right(world.publish())
    assert world.store.lent == {} and world.fetched


def test_what_two_layers_say_of_one_name_is_believed_of_neither(world):
    path = world.root / "images" / "base" / "Dockerfile"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if line.startswith("# big"))
    twice = [lines[at], lines[at + 1].replace("layers/", f"layers/{'0' * 64}.tar.gz /\n#")]
    path.write_text("".join([*lines[:at], *twice, *lines[at:]]))
    world.right(world.publish())
    assert big(world) not in world.store.lent


@pytest.mark.parametrize("what", ["vanished", "refused"])
def test_a_layer_that_vanishes_after_it_was_asked_for(world, monkeypatch, capsys, what):
    """Between the question and the push a registry may lose what it had."""
    digest = linking.recall(world.sites.before.store, big(world)).digest
    real = release.push_built

    def lose(client, machine, built, prefix):
        if machine.store.lent and what == "vanished":
            for held in world.registry.repositories.values():
                held.discard(digest)
        elif machine.store.lent:
            fault = Fault(
                pattern="PUT /v2/team/child/manifests", kind="status", status=400, code="MANIFEST_BLOB_UNKNOWN"
            )
            world.registry.faults.append(dataclasses.replace(fault, times=9))
        else:
            world.registry.faults.clear()
        return real(client, machine, built, prefix)

    monkeypatch.setattr(release, "push_built", lose)
    world.right(world.publish())
    assert "the registry lost a layer that it had" in capsys.readouterr().err
    assert digest in world.registry.repositories["team/child"]


def test_layers_of_the_cache_are_mounted_where_an_image_is_new(world):
    """Images under another name in the registry of the cache: no byte of their layers moves."""
    elsewhere = dataclasses.replace(world.machine, caches=(world.cache,))
    done = release.publish(
        world.checkout,
        elsewhere,
        NAMES,
        release.PublishOrder(host=world.client.host, prefix="other/", out=world.root / "out"),
    )
    assert world.fetched == set()
    assert [image.reference.rpartition("@")[2] for image in done] == [
        world.sites.after.build(name).image.digest for name in NAMES
    ]


def made_before(world: World) -> None:
    """Have the layers of Debian here, whose packages are made up."""
    below = None
    for name in NAMES:
        apt = world.sites.after.locks[name].apt
        mine = [file(path, text, origin="debian") for path, text in debian_files(apt.packages).items()]
        linking.write(world.store, debian_key(apt, below, USER), merge(mine))
        below = apt


def signed(world: World, path: Path, number: int) -> Path:
    key = write_key(path, number)
    keep(world.sites, world.cache, sign=partial(signing.sign, signing.load_private(key)))
    return key


def test_who_signs_believes_only_what_the_key_signed(world, tmp_path):
    made_before(world)
    world.right(world.publish(key=write_key(tmp_path / "key", 1)))
    assert world.fetched == set() and linking.recall(Store(world.store.root), big(world)) is not None


def test_with_a_key_nothing_need_be_committed(world, tmp_path):
    key = signed(world, tmp_path / "key", 1)
    for name in NAMES:
        (world.root / "images" / name / "Dockerfile").unlink()
    world.right(world.publish(key=key))
    assert world.fetched == set()


def test_what_another_key_signed_is_not_believed(world, tmp_path, capsys):
    signed(world, tmp_path / "other", 2)
    made_before(world)
    world.right(world.publish(key=write_key(tmp_path / "key", 1)))
    assert "the key did not sign it" in capsys.readouterr().err
    assert world.fetched == set()


def test_who_signs_by_a_command_reads_what_no_key_signed(world):
    world.right(world.publish(before_tag="true"))
    assert world.fetched


def test_who_signs_by_a_command_and_with_a_key_leaves_what_the_key_signed_in_the_registry(world, tmp_path, capfd):
    """As `publish.yml` does it: a CI's identity signs the image, a key what the cache has."""
    key = signed(world, tmp_path / "key", 1)
    done = world.publish(key=key, before_tag="true")
    world.right(done)
    assert world.fetched == set()
    # What it made is there for the next one, signed.
    again = dataclasses.replace(world.machine, store=Store(tmp_path / "next", travelled=True))
    world.machine = again
    shutil.rmtree(tmp_path / "out")
    world.right(world.publish(key=key, before_tag="true"))
    plans = [world.sites.after.plan(name) for name in NAMES]
    packages = [layer.key for plan in plans for layer in plan.layers if layer.kind is not LayerKind.FILES]
    assert f"{len(packages)} layers stay in the registry" in capfd.readouterr().err
    here = Store(again.store.root, travelled=True)
    assert not any(linking.recall(here, key) for key in packages)

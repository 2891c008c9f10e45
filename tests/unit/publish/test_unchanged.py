"""An image that is published already is known without a byte of its layers; whatever disagrees, and it is made."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from building_support import Site, workshops
from faulty_registry import FaultyRegistry, Held
from trust_support import write_key

from helioimages.cache import access, image_entry
from helioimages.cache import entry as entries
from helioimages.cache.access import Cache
from helioimages.core.digest import of_bytes
from helioimages.machine.store import Store
from helioimages.make import images, travel
from helioimages.make.machine import Machine
from helioimages.oci.registry import Registry
from helioimages.oci.types import Manifest
from helioimages.publish import attach, documents, push, release, signing, unchanged
from helioimages.smoke import run
from helioimages.spec.lineage import lineage

TEMPLATE = Path(__file__).parents[3] / "images" / "Dockerfile.j2"
NOTEBOOK = "smoke-notebooks/base/one.ipynb"


@pytest.fixture(scope="module")
def site(tmp_path_factory, make_module_wheel) -> Site:
    root = tmp_path_factory.mktemp("unchanged")
    shop = workshops(root, make_module_wheel)()
    (root / NOTEBOOK).parent.mkdir(parents=True)
    (root / NOTEBOOK).write_text("{}")
    shutil.copyfile(TEMPLATE, root / "images" / "Dockerfile.j2")
    (root / "images" / "child").mkdir()
    images.render(root, {built.spec.name: built for built in shop.build("child").line}, check=False)
    return shop


@dataclasses.dataclass
class World:
    """A registry that has the images of a site, as `publish` leaves it."""

    site: Site
    registry: FaultyRegistry
    client: Registry
    checkout: SimpleNamespace
    cache: Cache

    def look(self, key: Path | None = None, **cache: object) -> dict[str, unchanged.Known]:
        machine = SimpleNamespace(caches=(dataclasses.replace(self.cache, **cache),))
        place = unchanged.PublishPlace(client=self.client, prefix="team/", key=key)
        return unchanged.look(self.checkout, machine, place, ("base", "child"))


class Published:
    """A registry, and what it holds once a site is published there: by nobody, or with a key."""

    def __init__(self, site: Site, folder: Path) -> None:
        self.site, self.folder = site, folder
        self.registry = FaultyRegistry()
        self._held: dict[int, Held] = {}

    def world(self, client: Registry, root: Path) -> World:
        checkout = SimpleNamespace(
            root=root,
            images=self.site.images,
            environments=self.site.environments,
            locks_of=lambda names: self.site.locks,
            selected=lambda names: names,
            lineage=lambda name: lineage(self.site.images, name),
        )
        cache = Cache(client=client, place=entries.place(f"{client.host}/team"))
        return World(site=self.site, registry=self.registry, client=client, checkout=checkout, cache=cache)

    def hold(self, number: int = 0) -> None:
        """Have the registry hold what was published; with the key of that number, if any, as `publish --key` does."""
        if number not in self._held:
            root = fresh_checkout(self.site, self.folder / f"published{number}")
            self.registry.hold(self._held.get(0, Held(blobs={}, repositories={}, manifests={})))
            with Registry(self.registry.host, pause=lambda _: None, tries=2) as client:
                world = self.world(client, root)
                key = write_key(root / "key", number) if number else None
                sign = partial(signing.sign, signing.load_private(key)) if key else None
                for built in self.site.build("child").line:
                    publish(world, built, root / built.spec.name, sign, key)
            self._held[number] = self.registry.held()
        self.registry.hold(self._held[number])


def fresh_checkout(site: Site, root: Path) -> Path:
    for name in ("images", "smoke-notebooks"):
        shutil.copytree(site.root / name, root / name, symlinks=True)
    return root


def write_report(client: Registry, built, report: Path) -> None:
    report.mkdir(exist_ok=True)
    told = {"reference": f"{client.host}/team/{built.spec.name}@{built.image.digest}", "passed": True}
    (report / "report.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def published(site, tmp_path_factory) -> Iterator[Published]:
    made = Published(site, tmp_path_factory.mktemp("published"))
    yield made
    made.registry.close()


@pytest.fixture
def world(site, published, tmp_path, monkeypatch) -> Iterator[World]:
    # What the site's locks are made of is made up, and hashed by nobody.
    monkeypatch.setattr("helioimages.locks.stale.check", lambda *_, **__: None)
    published.hold()
    root = fresh_checkout(site, tmp_path)
    with Registry(published.registry.host, pause=lambda _: None, tries=2) as client:
        for built in site.build("child").line:
            write_report(client, built, root / built.spec.name)
        yield published.world(client, root)


def publish(world: World, built, report: Path, sign=None, key: Path | None = None) -> None:
    client, store, repository = world.client, world.site.store, f"team/{built.spec.name}"
    push.push_untagged(client, built.image, repository, store)
    write_report(client, built, report)
    run_key = run.key(built.image.digest, world.checkout.lineage(built.spec.name), world.checkout.root)
    documents.attach(client, repository, built, report, store, run=documents.ReportSubject(key=run_key, sign=sign))
    subject = attach.Subject(
        client=client,
        repository=repository,
        built=built,
        root=world.site.root,
        store=store,
        others=documents.unsigned(built, report) if key else (),
    )
    attach.attach(subject, key=key)
    travel.keep_image(world.cache, built, sign=sign)


@pytest.mark.parametrize("api", [True, False])
def test_what_is_published_is_known_without_a_layer(world, tmp_path, api):
    built = world.site.build("child")
    if not api:
        world.registry.referrers_api = False
        for image in built.line:
            publish(world, image, tmp_path / image.spec.name)
        world.registry.log.clear()
    known = world.look()
    assert [known[image.spec.name].built.image for image in built.line] == [image.image for image in built.line]
    assert f"{world.client.host}/team/child@sha256:" in known["child"].report
    assert {line.split()[0] for line in world.registry.log} <= {"HEAD", "GET"}
    # Of blobs, the two reports are read, and nothing of an image.
    blobs = [line for line in world.registry.log if line.startswith("GET") and "/blobs/" in line]
    assert len(blobs) == 2
    assert not any(layer.digest in line for line in blobs for layer in built.image.layers)


def notebook_changes(world: World) -> None:
    (world.checkout.root / NOTEBOOK).write_text('{"cells": []}')


def dockerfile_is_another(world: World) -> None:
    path = world.checkout.root / "images" / "base" / "Dockerfile"
    path.write_text(path.read_text().replace("sha256:", "sha256:0", 1))


def dockerfile_is_missing(world: World) -> None:
    (world.checkout.root / "images" / "base" / "Dockerfile").unlink()


def layer_is_gone(world: World) -> None:
    for held in world.registry.repositories.values():
        held.discard(world.site.build("base").image.layers[0].digest)


def layer_is_cut(world: World) -> None:
    digest = world.site.build("base").image.layers[0].digest
    world.registry.blobs[digest] = world.registry.blobs[digest][:-1]


def image_is_gone(world: World) -> None:
    for name in ("base", "child"):
        del world.registry.manifests[f"team/{name}", world.site.build(name).image.digest]


def documents_are_gone(world: World) -> None:
    for (repository, reference), (_, data) in [*world.registry.manifests.items()]:
        if (json.loads(data).get("artifactType") or "").startswith("application/vnd.cyclonedx"):
            del world.registry.manifests[repository, reference]


def report_is_of_a_failure(world: World) -> None:
    for name in ("base", "child"):
        digest = world.site.build(name).image.digest
        for referrer in world.client.referrers(f"team/{name}", digest, documents.SMOKE):
            del world.registry.manifests[f"team/{name}", referrer.digest]
        report = world.checkout.root / name
        told = json.loads((report / "report.json").read_text())
        (report / "report.json").write_text(json.dumps(told | {"passed": False}))
        key = run.key(digest, world.checkout.lineage(name), world.checkout.root)
        built = world.site.build(name)
        documents.attach(
            world.client, f"team/{name}", built, report, world.site.store, run=documents.ReportSubject(key=key)
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (notebook_changes, "no report says that these notebooks passed"),
        (dockerfile_is_another, "is not what this machine builds"),
        (dockerfile_is_missing, "is missing"),
        (layer_is_gone, "does not have 1 of its layers"),
        (layer_is_cut, "does not have 1 of its layers"),
        (image_is_gone, "does not have it"),
        (documents_are_gone, "not all documents"),
        (report_is_of_a_failure, "no report says that these notebooks passed"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_disagrees_is_made(world, capsys, change, told):
    assert set(world.look()) == {"base", "child"}
    change(world)
    assert world.look() == {}
    said = capsys.readouterr().err
    assert told in said and "made nevertheless" in said


def forged(world: World, **changes: object) -> None:
    """Replace the entry of `base` by one that says something else."""
    key = travel.image_key(world.site.plan("base"))
    entry, _ = access.look_up_image((world.cache,), key)
    manifest = image_entry.image_manifest(dataclasses.replace(entry, **changes))
    world.client.push_bytes(world.cache.place.repository, manifest.config, manifest.config.data)
    world.client.put_manifest(world.cache.place.repository, image_entry.image_tag(key), manifest.dump())


def lie_of_a_layer(world: World, **changes: object) -> tuple:
    entry, _ = access.look_up_image((world.cache,), travel.image_key(world.site.plan("base")))
    (key, first), *rest = entry.layers
    return ((key, dataclasses.replace(first, **changes)), *rest)


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (lambda world: {"key": "2" * 64}, "another image's"),
        (lambda world: {"digest": "sha256:" + "3" * 64}, "another image comes of its layers"),
        (lambda world: {"layers": lie_of_a_layer(world)[1:]}, "other layers than the locks say"),
        (lambda world: {"layers": lie_of_a_layer(world)[::-1]}, "other layers than the locks say"),
        (lambda world: {"layers": lie_of_a_layer(world, diff_id="sha256:" + "4" * 64)}, "another image comes"),
        (lambda world: {"layers": lie_of_a_layer(world, digest="sha256:" + "5" * 64)}, "another image comes"),
        (lambda world: {"layers": lie_of_a_layer(world, size=1)}, "another image comes"),
    ],
)
def test_an_entry_that_lies_is_passed_over(world, capsys, lie, told):
    forged(world, **lie(world))
    # The child stands on it, so neither is known.
    assert world.look() == {}
    said = capsys.readouterr().err
    assert told in said and "image-" in said


def test_a_lie_that_is_whole_is_found_by_the_dockerfile(world, capsys):
    """An entry whose digest is right for the layers that it names, and whose image somebody pushed."""
    layers = lie_of_a_layer(world, diff_id="sha256:" + "4" * 64)
    plan = world.site.plan("base")
    rows = zip(plan.layers, layers, strict=True)
    built = [
        travel.BuiltLayer(name=planned.name, comment=planned.comment, key=key, layer=layer)
        for planned, (key, layer) in rows
    ]
    false = travel.assembled(plan, None, tuple(built), 0)
    forged(world, layers=layers, digest=false.image.digest)
    push.push_untagged(world.client, false.image, "team/base", world.site.store)
    assert world.look() == {}
    assert "`images/base/Dockerfile` is not what this machine builds" in capsys.readouterr().err


def test_with_a_key_only_what_it_signed_counts(world, tmp_path, capsys):
    key = write_key(tmp_path / "key", 1)
    good = partial(signing.good, signing.load_public(key.with_suffix(".pub")))
    assert world.look(good=good) == {}
    assert "the key did not sign it" in capsys.readouterr().err
    for built in world.site.build("child").line:
        publish(world, built, tmp_path / built.spec.name, sign=partial(signing.sign, signing.load_private(key)))
    assert set(world.look(good=good)) == {"base", "child"}


@pytest.fixture
def signed(world, published, tmp_path) -> Path:
    """Have all of it published as `publish --key` does; return the key."""
    published.hold(1)
    return write_key(tmp_path / "key", 1)


def asking(key: Path) -> dict[str, object]:
    return {"key": key, "good": partial(signing.good, signing.load_private(key).public_key())}


def test_what_the_key_signed_is_known_without_a_document(world, signed):
    assert set(world.look(**asking(signed))) == {"base", "child"}
    assert {line.split()[0] for line in world.registry.log} <= {"HEAD", "GET"}
    # Of blobs: the two reports, and of each image its signature and what names its documents.
    assert len([line for line in world.registry.log if line.startswith("GET") and "/blobs/" in line]) == 6


def taken_away(world: World, gone) -> None:
    for (repository, reference), (_, data) in [*world.registry.manifests.items()]:
        if repository != "team/cache" and gone(reference, json.loads(data)):
            del world.registry.manifests[repository, reference]


def another_document(world: World) -> None:
    """A document that somebody hung on the images, beside those that are signed."""
    for name in ("base", "child"):
        image = world.site.build(name).image
        file = documents.Document(name="packages.json", media_type=documents.PACKAGES, data=b"{}")
        hung = documents.Attachment(artifact_type=documents.PACKAGES, files=(file,))
        documents.attach_files(world.client, f"team/{name}", image, hung, world.site.store)


def signed_for_another(world: World) -> None:
    """The signatures of another repository, copied with all that is there."""
    for name in ("base", "child"):
        tag = f"{world.site.build(name).image.digest.replace(':', '-')}.sig"
        _, data = world.registry.manifests[f"team/{name}", tag]
        (layer,) = json.loads(data)["layers"]
        payload = json.loads(world.registry.blobs[layer["digest"]])
        payload["critical"]["identity"]["docker-reference"] = "elsewhere/x"
        forged = json.dumps(payload).encode()
        digest = world.registry.put(f"team/{name}", forged)
        text = data.replace(layer["digest"].encode(), digest.encode())
        text = text.replace(b'"size":%d' % layer["size"], b'"size":%d' % len(forged))
        world.registry.manifests[f"team/{name}", tag] = ("application/vnd.oci.image.manifest.v1+json", text)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda world: taken_away(world, lambda name, _: name.endswith(".sig")), "the key did not sign it for"),
        (signed_for_another, "the key did not sign it for"),
        (
            lambda world: taken_away(world, lambda _, data: "reference" in str(data.get("annotations"))),
            "no bundle states https://in-toto.io/attestation/reference",
        ),
        (
            lambda world: taken_away(world, lambda _, data: "spdx.dev" in str(data.get("annotations"))),
            "no bundle states https://spdx.dev/Document",
        ),
        (another_document, "the key did not sign its application/vnd.helioimages.packages.v1+json"),
    ],
    ids=["no signature", "of another repository", "no statement", "no bundle", "another document"],
)
def test_what_the_key_did_not_sign_is_made(world, signed, capsys, change, told):
    assert set(world.look(**asking(signed))) == {"base", "child"}
    change(world)
    assert world.look(**asking(signed)) == {}
    assert told in capsys.readouterr().err


def test_what_another_key_signed_is_made(world, published, tmp_path, capsys):
    """Though it signed everything, and the cache is believed."""
    published.hold(2)
    mine = write_key(tmp_path / "mine", 1)
    assert world.look(key=mine) == {}
    assert "no report says that these notebooks passed in it" in capsys.readouterr().err
    # The report alone is the key's.
    for built in world.site.build("child").line:
        report = tmp_path / built.spec.name
        key = run.key(built.image.digest, world.checkout.lineage(built.spec.name), world.checkout.root)
        sign = partial(signing.sign, signing.load_private(mine))
        store, repository = world.site.store, f"team/{built.spec.name}"
        documents.attach(
            world.client, repository, built, report, store, run=documents.ReportSubject(key=key, sign=sign)
        )
    assert world.look(key=mine) == {}
    assert "the key did not sign it for" in capsys.readouterr().err


def test_an_entry_is_kept_once_and_read_back(world):
    for built in world.site.build("child").line:
        travel.keep_image(world.cache, built, sign=None)
    assert {line.split()[0] for line in world.registry.log if line != "GET /v2/"} == {"HEAD"}
    key = travel.image_key(world.site.plan("child"))
    answer = world.client.get_manifest("team/cache", image_entry.image_tag(key))
    manifest = Manifest.parse(answer[1])
    assert (manifest.artifact_type, manifest.config.digest) == (image_entry.IMAGE, of_bytes(manifest.config.data))
    assert image_entry.parse_image(answer[1], key, "here")[0].digest == world.site.build("child").image.digest


def order(world: World, **changes: object) -> release.PublishOrder:
    asked = {"host": world.client.host, "prefix": "team/", "out": world.checkout.root / "out"} | changes
    return release.PublishOrder(**asked)


@pytest.mark.parametrize("signs", [False, True])
def test_publish_only_sets_tags(world, request, tmp_path, monkeypatch, signs):
    key = request.getfixturevalue("signed") if signs else None
    monkeypatch.setattr(images, "build", lambda *_, **__: pytest.fail("built"))
    machine = Machine(store=Store(tmp_path / "fresh"), jobs=1, caches=(world.cache,))
    done = release.publish(world.checkout, machine, ("base", "child"), order(world, key=key))
    for image in done:
        built = world.site.build(image.image)
        assert image.reference == f"{world.client.host}/team/{image.image}@{built.image.digest}"
        assert (image.bytes_sent, built.tag in image.tags) == (0, True)
        for tag in image.tags:
            assert world.client.head_manifest(f"team/{image.image}", tag).digest == built.image.digest
    assert {line.split()[0] for line in world.registry.log} == {"HEAD", "GET", "PUT"}
    assert not list((tmp_path / "fresh" / "blobs").rglob("*.*"))


def test_who_signs_or_runs_again_makes_it(world, tmp_path, monkeypatch):
    asked: list[tuple[str, ...]] = []

    def build(checkout, machine, names, *, strict, ready, lenders):
        asked.append(tuple(names))
        raise StopIteration

    monkeypatch.setattr(images, "build", build)
    machine = Machine(store=Store(tmp_path / "fresh"), jobs=1, caches=(world.cache,))
    key = write_key(tmp_path / "key", 1)
    for change in ({"reuse": False}, {"before_tag": "true"}, {"key": key}, {"prefix": "other/"}):
        with pytest.raises(StopIteration):
            release.publish(world.checkout, machine, ("base", "child"), order(world, **change))
    assert asked == [("base", "child")] * 4

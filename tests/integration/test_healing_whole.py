"""Healing, whole: `up` on an empty store, years later: a mirror without any locked package, an index that lacks some.

What is made here is real but small: two images with a root file system, a local channel and a source-only package of
the real builder, pushed to a registry. Only notebooks do not run: the images have none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import engine_lists
import pytest
from debian_support import Archive, configured, needs
from faultkit.kills import registry
from moved import BUILDER, NEWER, World
from pypi_support import PLACES, environment_of, serving

from helioimages.core.errors import HelioError, Stage
from helioimages.core.files import of_file
from helioimages.debian.lock import AptLock
from helioimages.engines.engine import Engine
from helioimages.locks.checkout import Checkout
from helioimages.make import builder, relocking
from helioimages.make.machine import Machine
from helioimages.oci.registry import Registry
from helioimages.oci.types import Platform
from helioimages.publish import release

pytestmark = pytest.mark.engine

APT = (BUILDER, "images/base/apt-lock.json", "images/child/apt-lock.json")
#: Of the child, the parent's and its own, a source, and a tool that it is built with.
DELETED = ("lib-1.0-py3-none-any.whl", "kept-1.0-py3-none-any.whl", "old-1.0.tar.gz", "maker-1.0-py3-none-any.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """What was committed before the world moved on, the index's files, and where the archive of then still is."""

    world: World
    files: Mapping[str, bytes]
    offered: Mapping[str, bytes]
    snapshot: str


def smoke(checkout: Checkout, machine: Machine, built: object, reference: str, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps({"reference": reference}))


@pytest.fixture(scope="module")
def then(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Then]:
    needs("gpg", "dpkg-deb", "apt-get", "mmdebstrap", "docker-registry")
    folder = tmp_path_factory.mktemp("moved")
    archive = Archive(folder / "debian")
    if archive.architecture != "amd64":
        pytest.skip("the locks here are for amd64")
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        index = stack.enter_context(serving())
        stack.enter_context(configured(archive, patch))
        for name in PLACES:
            patch.delenv(name, raising=False)
        for name, value in environment_of(index, str(folder / "uv-cache")).items():
            patch.setenv(name, value)
        # Pages are kept for an hour in real life; here years go by in a moment.
        patch.setattr("helioimages.pypi.index._FRESH", -1)
        patch.setattr(release.smoking, "smoke", smoke)
        # The engine is everybody's: the builders of these tests leave it with them.
        patch.setattr(builder, "REPOSITORY", repository := f"helioimages-moved-{os.getpid()}")
        stack.callback(remove, engine, repository)
        world = World(folder, archive, index, engine)
        world.lock(world.machine("then"))
        snapshot = world.keep_snapshot()
        world.move_debian()
        yield Then(world=world, files=world.files(), offered=dict(index.files), snapshot=snapshot)


def remove(engine: Engine, repository: str) -> None:
    for image in engine_lists.image_ids(engine.client, repository):
        engine.client.images.remove(image, force=True)


@pytest.fixture
def world(then: Then) -> World:
    """The checkout as it was committed, and the index as it was then; of the archive nothing is left."""
    shutil.rmtree(then.world.root)
    for name, data in then.files.items():
        path = then.world.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    index = then.world.index
    index.files.clear()
    index.files.update(then.offered)
    index.yanked.clear()
    return then.world


@pytest.fixture
def machine(world: World, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine with an empty store, but for root file systems: the first test makes those that others have from it."""
    machine = world.machine(request.node.name)
    made, here = world.folder / "rootfs", machine.store.root / "cache" / "rootfs"
    link(made, here)
    yield machine
    link(here, made)


def link(source: Path, target: Path) -> None:
    """Give a folder the files of another that it lacks."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*"):
        if not (target / path.name).exists():
            os.link(path, target / path.name)


@pytest.fixture
def snapshot(then: Then, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_SNAPSHOT", then.snapshot)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path / "registry") as host:
        yield host


def changed(then: Then) -> set[str]:
    now = then.world.files()
    return {name for name in then.files.keys() | now.keys() if then.files.get(name) != now.get(name)}


def versions(lock: AptLock) -> dict[str, str]:
    return {deb.name: deb.version for deb in lock.packages}


def published(world: World, machine: Machine, host: str) -> dict[str, str]:
    return {release.image: release.reference for release in world.up(machine, host)}


def test_up_follows_a_mirror_that_has_nothing_of_what_is_locked_and_an_index_that_lacks_some(then, world, host, capsys):
    for name in DELETED:
        world.delete(name)
        world.renew(name)
    machine = world.machine("empty")
    before = {name: versions(world.apt_lock(name)) for name in ("base", "child", "builder")}
    made = world.up(machine, host)
    assert [release.image for release in made] == ["base", "child"]
    said = capsys.readouterr().err
    for name, old in before.items():
        lock = world.apt_lock(name)
        assert versions(lock) == {package: f"{version}{NEWER}" for package, version in old.items()}
        assert set(lock.healed) == {f"{package} {version} -> {version}{NEWER}" for package, version in old.items()}
    for file in APT:
        assert f"warning: `{file}` is locked again: the mirror dropped" in said
    # The builder had to be healed, so everything is locked again, and what the index deleted is renewed on the way.
    assert "warning: the builder was healed: what it makes is locked again" in said
    for name in DELETED:
        assert re.search(f"warning: the package index no longer has (the build tool )?{re.escape(name)}", said)
        assert name not in world.locked_names()
    for text in (
        "base: upgraded   lib 1.0 -> 1.1",
        "base: rebuilt    libzlib 1.3.1",
        "child: upgraded   kept 1.0 -> 1.1",
        "environments/child/build-lock.toml: upgraded   maker 1.0 -> 1.1",
    ):
        assert f"  healed: {text}\n" in said
    world.lock(machine, check=True)
    with Registry(host) as client:
        for release in made:
            assert set(release.tags) <= set(client.tags(release.image))
            image = client.get_image(release.image, release.tags[0], Platform.of("linux/amd64"))
            label = json.loads(image.config_bytes)["config"]["Labels"]["io.helioimages.debian.healed"]
            assert f"less {before['base']['less']} -> {before['base']['less']}{NEWER}" in label.split("; ")
    # All is there now: nothing is healed, made or written again.
    healed = world.files()
    assert published(world, machine, host) == {release.image: release.reference for release in made}
    assert "healed" not in capsys.readouterr().err
    assert world.files() == healed


@pytest.mark.parametrize("name", DELETED)
def test_what_the_index_deleted_is_named_before_any_work(then, world, machine, snapshot, host, name):
    """Whatever it is of, and in whichever lock: else an hour may go by before a source is missed."""
    world.delete(name)
    with pytest.raises(HelioError) as caught:
        world.up(machine, host)
    assert caught.value.stage is Stage.FETCH
    assert caught.value.message == "the package index no longer has 1 locked file"
    assert caught.value.detail == name
    for file in caught.value.where.split(", "):
        assert name in (world.root / file).read_text()
    assert caught.value.hint == "run `buildimages lock`, which takes other versions of them; then test and commit"
    assert changed(then) == set()
    assert [path.name for path in (machine.store.root / "artefacts/sha256").iterdir()] == [
        of_file(world.source).removeprefix("sha256:")
    ]


def test_with_a_snapshot_only_what_the_index_deleted_moves(then, world, machine, snapshot, host):
    """And a yanked version stays."""
    world.index.yanked.add("app-1.0-py3-none-any.whl")
    for name in DELETED:
        world.delete(name)
        world.renew(name)
    with pytest.raises(HelioError) as caught:
        world.up(machine, host)
    assert set(caught.value.detail.splitlines()) == set(DELETED)
    # The hint's command.
    world.lock(machine)
    environments = {
        f"environments/{file}" for file in ("base/pylock.toml", "child/pylock.toml", "child/build-lock.toml")
    }
    assert {file for file in changed(then) if "/packages" not in file} == environments
    assert "app-1.0-py3-none-any.whl" in world.locked_names()
    world.lock(machine, check=True)
    renewed = world.files()
    assert published(world, machine, host).keys() == {"base", "child"}
    assert world.files() == renewed


def test_what_the_index_has_no_other_version_of_undoes_the_healing(then, world, machine, host):
    world.delete("kept-1.0-py3-none-any.whl")
    with pytest.raises(HelioError) as caught:
        world.up(machine, host)
    assert caught.value.stage is Stage.LOCK
    assert "kept" in caught.value.detail
    assert changed(then) == set()


def test_a_shared_registry_gets_nothing_that_was_healed_and_the_hint_leads_out(then, world, machine, host):
    """`lock` heals the builder that it needs: else it would fail with its own name as the hint."""
    with pytest.raises(HelioError) as caught:
        world.up(machine, "registry.example.org")
    assert caught.value.stage is Stage.FETCH
    assert re.fullmatch(r"the Debian mirror dropped \d+ locked packages", caught.value.message)
    assert caught.value.where.split(", ") == ["images/base/apt-lock.json", "images/child/apt-lock.json", BUILDER]
    assert caught.value.hint == "run `buildimages lock`, test, commit, and publish again"
    assert changed(then) == set()

    world.lock(machine, "base")
    assert changed(then) >= {*APT, "environments/base/conda-lock.yml", "environments/child/conda-lock.yml"}
    world.lock(machine, check=True)
    healed = world.files()
    relocking.heal(Checkout.of(world.root), machine, (), strict=True)
    assert world.files() == healed

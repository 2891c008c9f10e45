"""A year later: a mirror from which every locked package is gone, and an index that deleted some, with apt and uv.

A checkout of three images is locked against an archive and an index on loopback; then both move on, and its store is
empty.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout_texts import environment_yml, image_toml
from debian_support import Archive, configured, needs
from locking_support import record, write_channel
from pypi_support import IndexServer, wheel_bytes

from helioimages.conda.archive import write_conda
from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import FIRST, Platform
from helioimages.core.words import human_size
from helioimages.debian.lock import AptLock, dump, parse
from helioimages.locks import apt, healing, locking
from helioimages.locks.checkout import Checkout
from helioimages.locks.file_names import builder_lock
from helioimages.locks.locking import Report
from helioimages.machine.checkout import load_images
from helioimages.machine.store import Store
from helioimages.make import provision
from helioimages.pypi import resolve as uv
from helioimages.pypi.index import PackageIndex

#: The builder's Debian lock.
BUILDER = builder_lock(FIRST)

#: Of the archive, but what is essential.
DEBIAN = ("libapt", "tool", "libtool1", "child", "maker")


class World:
    """A checkout with a parent, a child with Debian packages of its own, and one without."""

    def __init__(self, folder: Path, archive: Archive, index: IndexServer) -> None:
        self.root, self.channel, self.archive, self.index = folder / "checkout", folder / "conda", archive, index
        self.store = Store(folder / "store")
        self.python, python = folder / "python-3.13.5-h0_0.conda", record("python", "3.13.5")
        # A whole one: `lock` reads what the store has, for paths that packages take from each other.
        told = {key: python[key] for key in ("name", "version", "build", "build_number", "subdir", "depends")}
        write_conda(self.python, index=told, entries=())
        data = self.python.read_bytes()
        digests = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        }
        write_channel(self.channel, python | digests | {"size": len(data)})
        for name, pypi, *debian in (("base", "lib", "tool"), ("child", "app", "child"), ("plain", "lib")):
            self.write(name, pypi, *debian)
        for name in ("base-files", "mawk", "apt"):
            self.debian(name, "1.0")
        for name in DEBIAN:
            self.debian(name, "1.0")
        archive.publish()
        for name in ("lib", "app", "kept"):
            self.wheel(name, "1.0")
        (self.root / "channel").mkdir()
        (self.root / BUILDER).write_text(dump(self.resolve("maker")))

    def write(self, name: str, pypi: str, *debian: str) -> None:
        folders = [self.root / room / name for room in ("environments", "images")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        parent = name != "base"
        text = environment_yml(name, ("python=3.13",), (pypi,), ours="  parent: base\n" if parent else "")
        (folders[0] / "environment.yml").write_text(text)
        text = image_toml(name, *debian, parent="base" if parent else None)
        (folders[1] / "image.toml").write_text(text)

    def debian(self, name: str, version: str, **fields: str) -> None:
        depends = {"tool": "libtool1", "child": "libtool1", "apt": "libapt (>= 1.0)"}
        fields |= {"Depends": depends[name]} if name in depends and "Depends" not in fields else {}
        fields |= {"Priority": "required"} if name in ("base-files", "mawk") else {}
        self.archive.add(name, version, **fields)

    def wheel(self, name: str, version: str) -> None:
        requires = ("kept",) if name == "app" else ()
        data = wheel_bytes({}, name=name, version=version, requires=requires)
        self.index.add(f"{name}-{version}-py3-none-any.whl", data)

    def move_debian(self) -> None:
        """Take every file out of the pools, and put a newer one of each there."""
        for file in self.archive.folder.glob("*/pool/**/*.deb"):
            file.unlink()
        for name in ("base-files", "mawk", "apt", *DEBIAN):
            self.debian(name, "1.1", **({"archive": "debian-security"} if name == "libtool1" else {}))
        self.archive.publish()

    def delete_wheels(self, *names: str) -> None:
        for name in names:
            del self.index.files[f"{name}-1.0-py3-none-any.whl"]
            self.wheel(name, "1.1")

    def resolve(self, *requested: str, parent: AptLock | None = None) -> AptLock:
        return apt.resolve(requested, architecture=self.archive.architecture, parent=parent)

    def lock(self, *names: str, **options: object) -> Report:
        return locking.lock(self.root, self.store, names, locking.Wish(channel_dirs=(self.channel,), **options))

    def heal(self, *, strict: bool = False) -> tuple[str, ...]:
        images = load_images(self.root).values()
        return healing.heal(self.root, self.store, images, builder=True, strict=strict)

    def apt_lock(self, name: str) -> AptLock:
        file = BUILDER if name == "builder" else f"images/{name}/apt-lock.json"
        return parse((self.root / file).read_text(), file)

    def provide(self) -> None:
        """Bring all that the locks name into the store, as `up` does."""
        self.store.put_artefact(self.python)
        checkout = Checkout.of(self.root)
        locks = tuple(checkout.locks_of(tuple(checkout.images)).values())

        def index() -> PackageIndex:
            return PackageIndex(uv.places(), self.store.root / "cache" / "index")

        def builder() -> None:
            raise AssertionError("nothing is to be built here")

        supplies = provision.Supplies(
            root=self.root, store=self.store, index=index, builder=builder, platform=Platform.of("linux/amd64"), jobs=4
        )
        provision.packages(supplies, locks)
        provision.debs(self.store, self.apt_lock("builder"), BUILDER, jobs=4)

    def texts(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def consistent(self) -> None:
        """Assert that children have their parents' packages, and that no lock is stale."""
        base = self.apt_lock("base")
        assert set(base.packages) <= set(self.apt_lock("child").packages)
        assert base.packages == self.apt_lock("plain").packages
        self.lock(check=True)


@pytest.fixture
def world(tmp_path, package_index, monkeypatch) -> Iterator[World]:
    needs("gpg", "dpkg-deb", "apt-get")
    # Pages are kept for an hour in real life; here a year goes by in a moment.
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    archive = Archive(tmp_path / "debian")
    if archive.architecture != "amd64":
        pytest.skip("the locks here are for amd64")
    with configured(archive, monkeypatch):
        made = World(tmp_path, archive, package_index)
        made.lock()
        yield made


def versions(lock: AptLock) -> dict[str, str]:
    return {deb.name: deb.version for deb in lock.packages}


def test_every_package_gone_is_healed_and_every_deleted_wheel_named(world, capsys):
    world.move_debian()
    world.delete_wheels("lib", "app")
    before = world.texts()
    with pytest.raises(HelioError) as caught:
        world.heal(strict=True)
    assert caught.value.stage is Stage.FETCH
    assert caught.value.message == "the Debian mirror dropped 8 locked packages"
    assert {f"{name} 1.0" for name in (*DEBIAN, "mawk", "apt", "base-files")} == set(caught.value.detail.splitlines())
    assert caught.value.hint == "run `buildimages lock`, test, commit, and publish again"
    assert world.texts() == before

    assert sorted(world.heal()) == sorted(
        [BUILDER, *(f"images/{name}/apt-lock.json" for name in ("base", "child", "plain"))]
    )
    for name in ("base", "child", "plain", "builder"):
        assert set(versions(world.apt_lock(name)).values()) == {"1.1"}
        assert "libapt 1.0 -> 1.1" in world.apt_lock(name).healed
    said = capsys.readouterr().err
    assert "warning: `images/child/apt-lock.json` is locked again: the mirror dropped 7 of its packages" in said
    assert "  healed: libtool1 1.0 -> 1.1" in said
    world.consistent()
    assert world.heal() == ()

    # What cannot be healed is named, all of it, with the command that renews it. Then that is run.
    healed = world.texts()
    with pytest.raises(HelioError) as caught:
        world.provide()
    assert str(caught.value) == (
        "the package index no longer has 2 locked files\n"
        "  in environments/base/pylock.toml, environments/child/pylock.toml\n"
        "  lib-1.0-py3-none-any.whl\n"
        "  app-1.0-py3-none-any.whl\n"
        "\n"
        "hint: run `buildimages lock`, which takes other versions of them; then test and commit"
    )
    assert world.texts() == healed
    world.lock()
    world.provide()
    world.consistent()
    assert world.lock().written == ()


def test_one_command_moves_parent_and_children_and_says_what_nodes_pull(world):
    world.move_debian()
    report = world.lock()
    for name in ("base", "child", "plain"):
        assert set(versions(world.apt_lock(name)).values()) == {"1.1"}
    world.consistent()
    assert report.debian is not None
    assert report.debian.images == ("base", "child", "plain")
    assert report.debian.security == ("libtool1",)
    sizes = {deb.sha256: deb.size for deb in world.apt_lock("child").packages}
    assert report.debian.size == sum(sizes.values())
    assert report.lines()[-2:] == (
        f"Debian: 7 new files, {human_size(report.debian.size)}; security fixes: libtool1",
        "Debian: nodes with base, child, plain pull Debian layers anew; `delta` counts them when built",
    )
    again = world.lock()
    assert again.written == () and again.debian is None


def test_a_child_without_packages_of_its_own_is_locked_without_any_mirror(world, monkeypatch):
    world.move_debian()
    (world.root / "images/plain/apt-lock.json").unlink()
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", "http://127.0.0.1:9/debian")
    assert "images/plain/apt-lock.json" in world.lock("plain").written
    world.consistent()


def test_a_child_is_locked_under_a_parent_that_the_index_forgot(world):
    base = world.apt_lock("base")
    world.archive.move("libtool1", "base-files", keep=True)
    world.archive.move("extra", version="1.0", Depends="libtool1")
    world.write("child", "app", "child", "extra")
    report = world.lock("child")
    assert world.apt_lock("base") == base
    assert versions(world.apt_lock("child")) == versions(base) | {"child": "1.0", "extra": "1.0"}
    assert [str(change) for change in report.changes["images/child"]] == ["added      extra 1.0"]
    world.consistent()
    # Nothing moves as long as all can be had.
    assert world.lock().written == ()


def test_where_a_child_has_no_solution_its_family_moves(world, capsys):
    world.archive.move("libtool1", keep=True)
    world.archive.move("modern", version="1.0", Depends="libtool1 (>= 1.1)")
    world.write("child", "app", "child", "modern")
    before = world.texts()
    with pytest.raises(HelioError) as caught:
        world.lock("child")
    assert caught.value.message == "apt found no solution under the parent image's packages"
    assert "modern : Depends: libtool1 (>= 1.1)" in caught.value.detail
    assert "run `buildimages lock`" in caught.value.hint
    assert world.texts() == before
    world.lock()
    assert versions(world.apt_lock("base"))["libtool1"] == "1.1"
    world.consistent()
    assert "`base` and its children move together" in " ".join(capsys.readouterr().err.split())


def test_healing_a_child_moves_its_parent_where_it_has_to(world):
    world.archive.move("libtool1", keep=True)
    world.archive.move("child", Depends="libtool1 (>= 1.1)")
    base = world.apt_lock("base")
    assert set(world.heal()) == {f"images/{name}/apt-lock.json" for name in ("base", "child", "plain")}
    assert world.apt_lock("base").healed == ("libtool1 1.0 -> 1.1",) != base.healed
    assert versions(world.apt_lock("child")) == versions(base) | {"libtool1": "1.1", "child": "1.1"}
    world.consistent()
    world.provide()


def test_what_debian_has_no_more_is_named_with_who_asks_for_it(world):
    for file in world.archive.folder.glob("*/pool/**/child_*.deb"):
        file.unlink()
    world.archive.publish()
    before = world.texts()
    with pytest.raises(HelioError) as caught:
        world.heal()
    assert caught.value.message == "Debian has no package `child`"
    assert caught.value.where == "images/child/apt-lock.json, whose packages the mirror dropped"
    assert caught.value.hint == (
        "check debian.packages; change what `images/child/image.toml` asks for, then run `buildimages lock`"
    )
    assert world.texts() == before


def test_a_relock_of_everything_that_finds_the_same_changes_no_file(world):
    before = world.texts()
    base = world.apt_lock("base")
    date = "Mon, 16 Nov 2026 08:00:00 UTC"
    for release in world.archive.folder.glob("*/dists/*/Release"):
        release.write_text(release.read_text().replace("Sat, 15 Nov 2025 08:00:00 UTC", date))
    world.archive.sign()
    assert world.resolve("tool").timestamp > base.timestamp
    assert world.lock(update=["all"]).written == () and world.texts() == before
    assert dataclasses.replace(world.resolve("tool"), timestamp=base.timestamp) == base

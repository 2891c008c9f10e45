"""A lock whose cache is reachable never dies: the store is empty, the index and the mirror know nothing any more."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import building_support
import pytest
from building_support import Site, debian_files, workshops
from faulty_registry import FaultyRegistry

from helioimages.cache import entry as entries
from helioimages.cache.access import Cache
from helioimages.core.digest import of_bytes
from helioimages.core.entries import file, merge
from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.machine.store import Store
from helioimages.make import debian_layers, images, linking, toolchain, travel
from helioimages.make.machine import Machine
from helioimages.oci.registry import Registry

NAMES = ("base", "child")
FILES = {"apt": "apt-lock.json", "conda": "conda-lock.yml", "pypi": "pylock.toml"}


class _Nothing(BaseHTTPRequestHandler):
    """Answers 404 to everything, and notes who asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def asked(monkeypatch) -> Iterator[list[str]]:
    """Have an index and a mirror that dropped everything; what they are asked for."""
    paths: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Nothing,), {"asked": paths}))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    place = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{place}/simple/")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"{place}/debian")
    yield paths
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def site(tmp_path, make_module_wheel, monkeypatch) -> Site:
    """Two images whose .debs are files, and whose Debian layers are made of them alone."""
    debs = {}
    for name in ("APT", "CURL"):
        data = f"the .deb of {name}".encode()
        debs[name] = data
        deb = dataclasses.replace(
            getattr(building_support, name), sha256=of_bytes(data).removeprefix("sha256:"), size=len(data)
        )
        monkeypatch.setattr(building_support, name, deb)
    made = workshops(tmp_path, make_module_wheel)()
    for name, data in debs.items():
        (tmp_path / name).write_bytes(data)
        made.store.put_artefact(tmp_path / name)

    def layer(works, lock, parent, _user):
        for deb in (*lock.packages, *(parent.packages if parent else ())):
            assert works.debs[deb.sha256].read_bytes() == f"the .deb of {deb.name.upper()}".encode()
        return merge([file(path, text, origin="debian") for path, text in debian_files(lock.packages).items()])

    monkeypatch.setattr(debian_layers, "entries", layer)
    monkeypatch.setattr(toolchain, "unpack_toolchain", lambda *_: made.shop.interpreter)
    # What the site's locks are made of is made up, and hashed by nobody.
    monkeypatch.setattr("helioimages.locks.stale.check", lambda *_, **__: None)
    return made


@pytest.fixture
def cache(site) -> Iterator[Cache]:
    """A cache as a publish leaves it."""
    server = FaultyRegistry()
    with Registry(server.host, pause=lambda _: None, tries=2) as client:
        made = Cache(client=client, place=entries.place(f"{server.host}/team"))
        for built in site.build("child").line:
            travel.keep(made, built, site.store, mount=f"team/{built.spec.name}", sign=None)
            travel.keep_artefacts(made, built, site.store)
        yield made
    server.close()


def checkout_of(site: Site) -> SimpleNamespace:
    locks = {name: dataclasses.replace(lock, files=FILES) for name, lock in site.locks.items()}
    return SimpleNamespace(
        root=site.root,
        images=site.images,
        environments=site.environments,
        platform=Platform.of("linux/amd64"),
        locks_of=lambda names: locks,
        selected=lambda names: names,
        with_ancestors=lambda names: names,
    )


def machine_of(folder: Path, *caches: Cache) -> Machine:
    return Machine(store=Store(folder, travelled=True), jobs=1, caches=caches)


def without_layers(cache: Cache) -> None:
    for tag in cache.client.tags(cache.place.repository):
        if tag.startswith("layer-"):
            cache.client.delete_manifest(cache.place.repository, tag)


@pytest.mark.parametrize("layers", [True, False], ids=["its layers", "its packages alone"])
def test_a_lock_whose_cache_is_reachable_never_dies(site, cache, asked, tmp_path, layers):
    if not layers:
        without_layers(cache)
    machine = machine_of(tmp_path / "empty", cache)
    done = images.build(checkout_of(site), machine, NAMES)
    assert {name: built.image.digest for name, built in done.items()} == {
        name: site.build(name).image.digest for name in NAMES
    }
    assert asked == []
    if not layers:
        # Channel packages, wheels and .debs, each by the sha256 of its lock.
        came = {path.name for path in (machine.store.root / "artefacts" / "sha256").iterdir()}
        assert came == {package.sha256 for lock in site.locks.values() for package in lock.packages}


@pytest.mark.parametrize("kind", ["wheel", "debian", "conda"])
def test_what_the_cache_lost_is_asked_for_elsewhere(site, cache, tmp_path, asked, kind, monkeypatch):
    """So the test above would see a kind of package that is not kept."""
    without_layers(cache)
    lost = next(package for package in site.locks["child"].packages if package.kind == kind)
    monkeypatch.setattr(images, "heal", healed := Healed())
    real = cache.client.blob_size
    monkeypatch.setattr(
        cache.client, "blob_size", lambda where, digest: None if lost.sha256 in digest else real(where, digest)
    )
    with pytest.raises((HelioError, AttributeError)):
        images.build(checkout_of(site), machine_of(tmp_path / "empty", cache), NAMES)
    # The Debian mirror is asked for its own packages and for what is made with them, not for a wheel of the index.
    assert healed.times == (kind != "wheel")
    assert asked or kind == "conda"


class Healed:
    """What follows a mirror that dropped packages; nothing can."""

    times = 0

    def __call__(self, *_: object, **__: object) -> None:
        self.times += 1


def test_the_layers_of_a_cache_are_those_of_the_packages(site, cache, tmp_path):
    """Both ways lead to the same bytes."""
    brought, made = tmp_path / "brought", tmp_path / "made"
    images.build(checkout_of(site), machine_of(brought, cache), NAMES)
    without_layers(cache)
    images.build(checkout_of(site), machine_of(made, cache), NAMES)
    for layer in site.plan("child").layers[:-1]:
        recalled = [linking.recall(Store(folder, travelled=True), layer.key) for folder in (brought, made)]
        assert recalled[0] == recalled[1] is not None


def test_an_image_waits_for_nothing_that_its_children_need(site, cache, tmp_path, monkeypatch):
    steps: list[str] = []
    real = images._compiled

    def compiled(checkout, machine, name, *others):
        steps.append(f"compiled for {name}")
        return real(checkout, machine, name, *others)

    monkeypatch.setattr(images, "_compiled", compiled)
    images.build(
        checkout_of(site),
        machine_of(tmp_path / "empty", cache),
        NAMES,
        ready=lambda built: steps.append(f"{built.spec.name} is ready"),
    )
    assert steps == ["compiled for base", "base is ready", "compiled for child", "child is ready"]

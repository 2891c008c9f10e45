"""What `prune` does not take is told with what takes it."""

from __future__ import annotations

from types import SimpleNamespace

import docker.errors
import pytest

from helioimages.engines import space
from helioimages.machine.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "a store")


def engine(df):
    return SimpleNamespace(address="unix:///x.sock", client=SimpleNamespace(df=df))


def test_an_empty_store_has_nothing_beside_it(store):
    assert list(space.beside(store, None)) == []


def test_a_registry_and_an_engine_are_told(store):
    (store.root / "registry" / "docker").mkdir(parents=True)
    (store.root / "registry" / "docker" / "blob").write_bytes(bytes(1000))
    registry, docker_ = space.beside(store, engine(lambda: {"LayersSize": 5_000_000}))
    assert (registry.name, registry.size) == ("embedded registry", 1000)
    assert registry.remove.startswith(f"buildimages down && rm -r '{store.root}/registry' ")
    assert (docker_.name, docker_.size) == ("engine", 5_000_000)
    assert docker_.remove.startswith("docker -H unix:///x.sock system prune --all ")


def test_an_engine_that_does_not_run_is_counted_by_its_folder(store):
    (store.root / "engine").mkdir()
    (store.root / "engine" / "layer").write_bytes(bytes(7))
    (usage,) = space.beside(store, None)
    assert (usage.name, usage.size) == ("engine, which does not run", 7)


def test_an_engine_that_does_not_count_is_no_matter(store):
    def refuse():
        raise docker.errors.APIError("not today")

    assert list(space.beside(store, engine(refuse))) == []

"""Options of the fault tests, and the small world that all of them share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit import once
from faultkit.kills import registry
from faultkit.world import Site, World
from pypi_support import IndexServer, serving


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="kill -9 so many times (200 takes about ten minutes)")
    parser.addoption("--seed", type=int, default=1, help="of the random faults")


@pytest.fixture(scope="session")
def index() -> Iterator[IndexServer]:
    with serving() as index:
        yield index


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, index: IndexServer) -> World:
    return World(tmp_path_factory.mktemp("world"), index)


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    if not any(shutil.which(name) for name in ("docker-registry", "registry")):
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """A registry of the test's own."""
    with registry(tmp_path / "registry") as host:
        yield host


@pytest.fixture(scope="session")
def expected(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a run that nobody disturbs comes to."""
    folder = tmp_path_factory.mktemp("reference")
    with registry(folder / "registry") as host:
        code, result, said = once.outcome(once.spawn(world.fresh(folder / "site"), host))
    assert code == 0 and result is not None, said
    return result


@pytest.fixture
def site(world: World, tmp_path: Path) -> Site:
    return world.fresh(tmp_path / "site")


@pytest.fixture
def environ() -> Iterator[None]:
    """Put the environment back after a run in this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)

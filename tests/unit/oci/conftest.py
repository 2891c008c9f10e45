"""A small registry in memory that can misbehave on demand: what real ones do only on bad days."""

from __future__ import annotations

import pytest
from faulty_registry import DATA, Fault, FaultyRegistry

from helioimages.core.digest import of_bytes
from helioimages.oci.registry import Registry
from helioimages.oci.types import Descriptor


@pytest.fixture
def faulty():
    """A registry that works until a test adds to ``faults``; `Fault` is at ``faulty.Fault``."""
    registry = FaultyRegistry()
    registry.Fault = Fault
    yield registry
    registry.close()


class Pauses(list):
    """Stands in for time.sleep and keeps what was asked."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def pauses():
    return Pauses()


@pytest.fixture
def client(faulty, pauses):
    with Registry(faulty.host, pause=pauses, tries=4, chunk=50_000) as client:
        yield client


@pytest.fixture
def blob(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return path, Descriptor(media_type="application/octet-stream", digest=of_bytes(DATA), size=len(DATA))

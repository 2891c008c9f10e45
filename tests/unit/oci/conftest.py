"""A small registry in memory that can misbehave on demand: what real ones do only on bad days."""

from __future__ import annotations

import pytest
from faulty_registry import Fault, FaultyRegistry


@pytest.fixture
def faulty():
    """A registry that works until a test adds to ``faults``; `Fault` is at ``faulty.Fault``."""
    registry = FaultyRegistry()
    registry.Fault = Fault
    yield registry
    registry.close()

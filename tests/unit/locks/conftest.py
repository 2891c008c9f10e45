"""Fixtures of the tests of locks."""

from __future__ import annotations

import pytest
from locking_support import World


@pytest.fixture
def world(tmp_path, package_index, monkeypatch):
    # Pages are kept for an hour in real life; here a package appears in a moment.
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return World(tmp_path, package_index)

"""The real base image, built once and pulled by the engine, for every test that asks it something; and a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import chromium
import pytest
from workspace import Workspace

from helioimages.machine import host
from helioimages.machine.store import Store, default_root
from helioimages.make.building import Built

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def workspace(engine) -> Workspace:
    """Return this checkout with the store of the environment."""
    host.ensure()
    return Workspace.of(ROOT, Store(default_root()), jobs=os.cpu_count() or 2)


@pytest.fixture(scope="session")
def built(workspace) -> Built:
    """Return the base image, from the store if it was built before."""
    return workspace.build(("base",))["base"]


@pytest.fixture(scope="session")
def image(workspace, built) -> str:
    """Return the reference by which the engine has the base image."""
    with workspace.registry(None) as client:
        reference = workspace.push(client, built, "").reference
    workspace.engine.pull(reference)
    return reference


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a real browser. Its driver has a loop of its own in this thread, so it ends with the module's tests."""
    with chromium.running() as browser:
        yield browser

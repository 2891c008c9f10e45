"""Fixtures of the tests of locks."""

from __future__ import annotations

import json

import pytest
from channel_support import Channels, add, listening
from locking_support import World


@pytest.fixture
def world(tmp_path, package_index, monkeypatch):
    # Pages are kept for an hour in real life; here a package appears in a moment.
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return World(tmp_path, package_index)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """The folder of the channels and its address; conda's and rattler's settings name them and the login."""
    folder = tmp_path / "channels"
    for name in ("main", "extra", "closed", "denied"):
        (folder / name).mkdir(parents=True)
    home = tmp_path / "home"
    (home / ".rattler").mkdir(parents=True)
    (home / ".rattler/credentials.json").write_text(
        json.dumps({"127.0.0.1": {"BasicHTTP": {"username": "me", "password": "secret"}}})
    )
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONDARC", "CONDA_CHANNEL_ALIAS", "RATTLER_AUTH_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RATTLER_AUTH_FILE", str(home / ".rattler/credentials.json"))
    with listening(folder) as url:
        (home / ".condarc").write_text(f"channel_alias: {url}\n")
        yield folder, url


@pytest.fixture
def made(tmp_path, package_index, served, monkeypatch):
    """A checkout, the folder of its channels, and their address."""
    folder, url = served
    add(folder / "main", "python", "3.13.5", "libz")
    add(folder / "main", "libz", "1.3")
    add(folder / "extra", "libz", "2.0")
    add(folder / "extra", "tool", "1.0", "secretive", subdir="noarch")
    add(folder / "closed", "secretive", "1.0")
    (tmp_path / "world").mkdir()
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return Channels(tmp_path / "world", package_index), folder, url

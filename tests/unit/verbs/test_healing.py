"""What `up` does with a healed builder: what it makes is locked again, for the channel that it makes it of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.locks import healing
from helioimages.locks.file_names import FIRST, builder_lock
from helioimages.machine.store import Store
from helioimages.verbs.workspace import Workspace

ROOT = Path(__file__).parents[3]
BUILDER = builder_lock(FIRST)
NOTHING = {"check": False, "update": (), "exclude_newer": None, "channel_dirs": ()}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Return a workspace for conda-forge whose builder is healed as soon as it is needed."""
    for room in ("images", "environments", "channel"):
        shutil.copytree(ROOT / room, tmp_path / room)

    def heal(root, store, images, *, builder, strict, platform):
        assert builder and not strict
        for file in (BUILDER, "images/base/apt-lock.json"):
            (root / file).write_text("healed")
        return (BUILDER, "images/base/apt-lock.json")

    monkeypatch.setattr(healing, "heal", heal)
    return Workspace(tmp_path, Store(tmp_path / "store"), jobs=1, channel="conda-forge")


def test_what_a_healed_builder_makes_is_locked_again_whichever_channel_is_built(workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(Workspace, "lock", lambda self, names, **options: asked.append((self.channel, names, options)))
    workspace.heal(("helio",), strict=False)
    assert asked == [("local", (), NOTHING | {"rebuild": True})]
    assert (workspace.root / BUILDER).read_text() == "healed"


def test_if_that_fails_no_lock_is_half_healed(workspace, monkeypatch):
    def lock(self, names, **options):
        raise HelioError(Stage.LOCK, "no solution")

    monkeypatch.setattr(Workspace, "lock", lock)
    with pytest.raises(HelioError):
        workspace.heal(("helio",), strict=False)
    for file in (BUILDER, "images/base/apt-lock.json"):
        assert (workspace.root / file).read_bytes() == (ROOT / file).read_bytes()

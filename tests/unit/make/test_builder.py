"""What the engine is asked for when the builder runs something."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from helioimages.debian.lock import AptLock
from helioimages.machine.store import Store
from helioimages.make.builder import Builder

LOCK = AptLock(suite="trixie", architecture="amd64", timestamp=0, requested=(), packages=())


@pytest.mark.parametrize(("told", "shares"), [({"CPUShares": True}, 256), ({"CPUShares": False}, None), ({}, None)])
def test_notebooks_go_first_where_the_engine_can_share_processors(tmp_path, told, shares):
    asked = {}
    container = SimpleNamespace(
        start=lambda: None,
        wait=lambda **_: {"StatusCode": 0},
        logs=lambda: b"made\n",
        reload=lambda: None,
        attrs={"State": {}},
        remove=lambda **_: None,
    )

    def create(*_, **options):
        asked.update(options)
        return container

    engine = SimpleNamespace(
        info=lambda: told,
        images=SimpleNamespace(get=lambda _: None),
        containers=SimpleNamespace(create=create, list=lambda **_: ()),
    )
    builder = Builder(engine, Store(tmp_path / "store"), LOCK, {})
    assert builder.run(["true"], inputs={}, output=tmp_path) == "made\n"
    assert asked["cpu_shares"] == shares

"""What an environment leaves out: recorded by who asks, told when nobody does, and back where a child needs it."""

from __future__ import annotations

import pytest
from locking_support import World

from helioimages.core.errors import HelioError
from helioimages.core.package import Without
from helioimages.pypi import lock as pypi_lock

REASON = "no GPU here"
LEFT = Without(name="cuda-lib", reason=REASON)
PYLOCK = "environments/base/pylock.toml"


@pytest.fixture
def world(tmp_path, package_index, monkeypatch):
    """Give a world where `boost` asks for `CUDA_lib`, which asks for `cuda-rt`; base asks for boost."""
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    world = World(tmp_path, package_index)
    world.wheel("cuda_rt", "1.0")
    world.wheel("cuda_lib", "1.0", "cuda-rt")
    world.wheel("boost", "1.0", 'CUDA_lib>=1; sys_platform == "linux"')
    world.wheel("torch", "1.0", "cuda-lib")
    world.wheel("tool", "1.0")
    world.environment("base", "boost", without={"Cuda.Lib": REASON})
    return world


def wheels(world, name):
    return {wheel.name: wheel.without for wheel in world.pylock(name).wheels}


def fault(world, *names):
    with pytest.raises(HelioError) as caught:
        world.lock(*names)
    return caught.value


def test_it_is_not_locked_and_who_asks_for_it_says_so(world):
    world.lock()
    assert wheels(world, "base") == {"boost": (LEFT,)}
    text = (world.root / PYLOCK).read_text()
    assert f'tool.helioimages.without = [{{ name = "cuda-lib", reason = "{REASON}" }}]\n' in text
    assert pypi_lock.dump(pypi_lock.parse(text, PYLOCK)) == text
    assert world.lock().written == () and world.lock(check=True).written == ()


def test_only_what_nobody_else_needs_goes_with_it(world):
    world.environment("base", "boost", "cuda-rt", without={"cuda-lib": REASON})
    world.lock()
    assert wheels(world, "base") == {"boost": (LEFT,), "cuda-rt": ()}


def test_a_lock_of_before_is_stale_and_loses_it_only(world):
    world.environment("base", "boost")
    world.lock()
    assert set(wheels(world, "base")) == {"boost", "cuda-lib", "cuda-rt"}
    world.wheel("boost", "2.0", "cuda-lib")
    world.environment("base", "boost", without={"cuda-lib": REASON})
    with pytest.raises(HelioError):
        world.lock(check=True)
    assert [str(change) for change in world.lock().changes["base"]] == [
        "removed    cuda-lib 1.0",
        "removed    cuda-rt 1.0",
    ]
    world.environment("base", "boost", without={"cuda-lib": "another reason"})
    with pytest.raises(HelioError):
        world.lock(check=True)


def test_a_child_leaves_it_out_too(world):
    world.environment("child", "tool", parent="base")
    world.environment("grandchild", parent="child")
    world.lock()
    assert wheels(world, "child") == {"boost": (LEFT,), "tool": ()}
    assert wheels(world, "grandchild") == {"boost": (LEFT,), "tool": ()}


@pytest.mark.parametrize("asks", ["cuda_lib", "torch", "boost"])
def test_a_child_that_needs_it_has_it(world, asks):
    """Asked for by name, by what the child adds, or since the child names again who asks for it."""
    world.environment("child", asks, parent="base")
    world.environment("grandchild", "tool", parent="child")
    world.lock()
    assert wheels(world, "base") == {"boost": (LEFT,)}
    for name in ("child", "grandchild"):
        have = wheels(world, name)
        assert {"boost", "cuda-lib", "cuda-rt"} <= have.keys()
        # The file is the parent's, in the parent's layer.
        assert have["boost"] == (LEFT,)
    assert world.lock().written == ()


def test_nobody_asks_any_more(world):
    world.environment("base", "tool", without={"cuda-lib": REASON})
    told = fault(world)
    assert told.message == "no package asks for `cuda-lib`"
    assert told.where == "environments/base/environment.yml at x-helioimages.without.cuda-lib"
    assert told.hint == "remove the line"
    world.environment("base", "boost", without={"cuda-lb": REASON})
    assert fault(world).hint == "did you mean `cuda-lib`?"


def test_what_the_same_file_asks_for(world):
    world.environment("base", "boost", "cuda_lib", without={"cuda-lib": REASON})
    told = fault(world)
    assert told.where == "environments/base/environment.yml at x-helioimages.without.cuda-lib"
    assert told.detail == "the `pip` list of the same file asks for it"


def test_what_the_parent_has(world):
    world.environment("base", "boost")
    world.environment("child", "tool", parent="base", without={"cuda-lib": REASON})
    assert fault(world).message == "`cuda-lib` is in the parent environment `base`, and cannot be left out"


def test_without_it_there_may_be_a_solution_where_there_is_none_with_it(world):
    world.wheel("other", "1.0", "cuda-lib>5")
    world.environment("base", "boost", "other", without={"cuda-lib": REASON})
    world.lock()
    assert set(wheels(world, "base")) == {"boost", "other"}

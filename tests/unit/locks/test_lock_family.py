"""Parents and children are locked together: what one has, the other has too."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from pypi_support import built_of, sdist_bytes, wheel_of

from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST
from helioimages.locks import locking, pypi
from helioimages.machine.checkout import load_environments
from helioimages.pypi.lock import PyPILock, Wheel


def test_a_child_contains_its_parent(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", "app", parent="base")
    world.wheel("app", "1.0", "lib")
    world.lock()
    world.wheel("lib", "2.0")
    world.lock("child", update=["all"])
    assert {wheel.name: wheel.version for wheel in world.pylock("child").wheels} == {"app": "1.0", "lib": "1.0"}
    assert set(world.pylock("base").wheels) <= set(world.pylock("child").wheels)
    assert set(world.conda_lock("base").packages) <= set(world.conda_lock("child").packages)


def test_a_parent_leaves_room_for_its_children(world):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib<2")
    world.environment("base", "lib")
    world.environment("middle", "lib", parent="base")
    world.environment("leaf", "app", parent="middle")
    world.lock()
    for name in ("base", "middle", "leaf"):
        assert {wheel.name: wheel.version for wheel in world.pylock(name).wheels}["lib"] == "1.0"
    # Once the child's wheel is here, its parents' report says who it is that holds them back.
    (wheel,) = (wheel for wheel in world.pylock("leaf").wheels if wheel.name == "app")
    world.store.artefact(wheel.sha256).write_bytes(world.index.files[wheel.file_name])
    assert world.lock().lines()[:2] == ("base: unchanged", "  held back  lib 1.0 (newest 2.0) by app 1.0 (lib<2)")


def test_what_is_held_back_of_a_parent_is_told_once(world):
    for name in ("lib", "tool"):
        world.wheel(name, "1.0")
        world.wheel(name, "2.0")
    world.environment("base", "lib<2")
    world.environment("left", "tool<2", parent="base")
    world.environment("right", parent="base")
    assert [line for line in world.lock().lines() if not line.startswith("  added")] == [
        "base: 3 added",
        "  held back  lib 1.0 (newest 2.0) by environments/base (lib<2)",
        "left: 4 added",
        "  held back  tool 1.0 (newest 2.0) by environments/left (tool<2)",
        "right: 3 added",
    ]


def test_siblings_are_locked_beside_each_other_and_built_one_after_another(world, monkeypatch):
    world.wheel("lib", "1.0")
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    world.index.add("elder-1.0.tar.gz", sdist_bytes("elder", "1.0"))
    world.environment("base", "lib")
    for name, wanted in (("a", "old"), ("b", "lib"), ("c", "elder")):
        world.environment(name, wanted, parent="base")
    built, both, alike = [], threading.Barrier(2), locking.lock_pypi

    def build(environment, sdists, tools):
        built.append((environment.name, threading.current_thread() is threading.main_thread()))
        return built_of(sdists, tools)

    def lock_pypi(run, question, index):
        # Two at least are at it at once, before one of them is built.
        if question.environment.name in ("a", "b") and run.build_wheels is None:
            both.wait(60)
        return alike(run, question, index)

    monkeypatch.setattr(locking, "lock_pypi", lock_pypi)
    world.lock(build_wheels=build)
    assert built == [("a", True), ("c", True)]
    assert [wheel.name for wheel in world.pylock("b").wheels] == ["lib"]
    assert {wheel.name for wheel in world.pylock("c").wheels if wheel.built} == {"elder"}


def test_of_two_siblings_that_fail_the_first_one_is_told(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    for name in ("zeta", "alpha"):
        world.environment(name, f"{name}-is-nowhere", parent="base")
    for _ in range(3):
        with pytest.raises(HelioError) as caught:
            world.lock()
        assert caught.value.where == "environments/alpha/environment.yml"


def test_children_that_contradict_each_other_have_a_say_each(world, capsys):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.environment("base")
    world.environment("old", "lib<2", parent="base")
    world.environment("new", "lib>=2", parent="base")
    world.lock()
    assert {name: world.pylock(name).wheels[0].version for name in ("old", "new")} == {"old": "1.0", "new": "2.0"}
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: new, old: no versions fit all of them and their parent together; each is solved for itself" in said


def test_a_child_that_contradicts_its_parent(world):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib>=2")
    world.environment("base", "lib", constraints=["lib<2"])
    world.environment("child", "app", parent="base")
    with pytest.raises(HelioError) as caught:
        world.lock()
    # The parent's constraint reaches the child, so uv's words name both: the limit and who is over it.
    assert caught.value.where == "environments/child/environment.yml"
    assert "lib>=2" in caught.value.detail and "lib<2" in caught.value.detail
    assert not (world.root / "environments/base/pylock.toml").exists()


def test_a_parent_must_be_locked(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", "lib", parent="base")
    with pytest.raises(HelioError) as caught:
        world.lock("child")
    assert str(caught.value) == (
        "the parent environment `base` is not locked\n"
        "  in environments/child/environment.yml\n"
        "\n"
        "hint: run `buildimages lock base child`"
    )


def test_what_no_solver_let_through_names_both_sides(world):
    """A backstop: layers of a child that lacks what its parent has would lie over another version of it."""
    world.environment("base")
    world.environment("child", parent="base")
    (child,) = (spec for name, spec in load_environments(world.root).items() if name == "child")
    parent = PyPILock(python="3.13", platform=FIRST, content_hash="", wheels=(wheel("lib", "1.0"),))
    pypi._refuse_missing(child, parent, parent)
    for wheels, has in (((), "none"), ((wheel("lib", "2.0"),), "2.0")):
        with pytest.raises(HelioError) as caught:
            pypi._refuse_missing(child, parent, dataclasses.replace(parent, wheels=wheels))
        assert str(caught.value) == (
            "`lib` contradicts the parent environment\n"
            "  in environments/child/environment.yml\n"
            f"  `base` has 1.0, `child` would have {has}\n\n"
            "hint: lock both: run `buildimages lock base child`"
        )


def wheel(name: str, version: str) -> Wheel:
    data = f"{name} {version}".encode()
    return wheel_of(data, name=name, version=version)

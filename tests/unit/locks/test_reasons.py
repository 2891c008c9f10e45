"""Why a package is in an image, as its environments and its packages say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner
from command_line import main
from hypothesis import given
from hypothesis import strategies as st

from helioimages.catalogue import weight as weighing
from helioimages.debian import lock as debian_lock
from helioimages.debian.lock import AptLock, Deb
from helioimages.locks.checkout import Checkout
from helioimages.locks.reasons import Needs, WhyThere, needs_of


@pytest.fixture
def locked(world):
    """Return a world whose wheels need each other, with an extra that is asked for."""
    world.wheel("low", "1.0")
    world.wheel("lib", "1.0", "low")
    world.wheel("fast", "1.0")
    world.wheel(
        "app", "1.0", "lib", 'fast; extra == "quick"', 'app[quick]; extra == "speed"', 'absent; extra == "never"'
    )
    world.wheel("other", "1.0", "low")
    world.environment("base", "app[speed]")
    world.environment("child", "other", parent="base")
    empty = AptLock(suite="trixie", architecture="amd64", requested=(), packages=(), timestamp=9)
    debs = tuple(
        Deb(
            name=name,
            version="1",
            architecture="amd64",
            file_name=f"pool/{name}.deb",
            archive="debian",
            sha256="0" * 64,
            size=7,
        )
        for name in ("bash", "libc6")
    )
    for name, parent in (("base", None), ("child", "base")):
        world.image(name, parent=parent)
        (world.root / "images" / name / "apt-lock.json").write_text(debian_lock.dump(empty))
    world.lock()
    world.image("base", "bash")
    for name in ("base", "child"):
        apt = debian_lock.dump(replace(empty, requested=("bash",), packages=debs))
        (world.root / "images" / name / "apt-lock.json").write_text(apt)
    return world


def needs(world, name="child") -> Needs:
    checkout = Checkout.of(world.root)
    return needs_of(checkout, checkout.locks(name), world.store)


def fetched(world) -> None:
    """Put the wheels where a build has them: what they need is known of those alone."""
    for wheel in world.pylock("child").wheels:
        path = world.store.artefact(wheel.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(world.index.files[wheel.file_name])


def test_what_is_asked_for_and_what_is_drawn_in(locked):
    fetched(locked)
    reasons = needs(locked).reasons()
    assert reasons["wheel", "app"] == WhyThere(asked=("environments/base",))
    assert reasons["wheel", "other"] == WhyThere(asked=("environments/child",))
    assert reasons["wheel", "lib"] == WhyThere(by=("app",))
    assert reasons["wheel", "low"] == WhyThere(by=("lib", "other"))
    # By an extra that is asked for.
    assert reasons["wheel", "fast"] == WhyThere(by=("app",))
    assert reasons["conda", "python"] == WhyThere(asked=("environments/base", "environments/child"))
    assert reasons["conda", "libz"] == WhyThere(by=("python",))
    assert reasons["debian", "bash"] == WhyThere(asked=("images/base",))
    assert reasons["debian", "libc6"] == WhyThere()
    told = {name: str(reason) for (_, name), reason in reasons.items()}
    assert (told["app"], told["low"], told["libc6"]) == ("asked for", "drawn in by lib, other", "drawn in")


def test_of_wheels_that_are_not_here_nothing_is_claimed(locked):
    reasons = needs(locked).reasons()
    assert reasons["wheel", "app"].asked and reasons["wheel", "low"] == WhyThere()


def test_what_leaving_out_one_saves(locked):
    fetched(locked)
    alone = needs(locked).alone()
    # `low` is needed by the other, too.
    assert [name for _, name in alone["wheel", "app"]] == ["app", "fast", "lib"]
    assert [name for _, name in alone["wheel", "other"]] == ["other"]


NAMES = st.integers(0, 7).map(lambda number: ("wheel", str(number)))


@given(
    asked=st.sets(NAMES), needs=st.dictionaries(NAMES, st.lists(NAMES, unique=True, max_size=4).map(tuple), max_size=8)
)
def test_what_leaving_out_one_saves_is_what_no_other_reaches(asked, needs):
    def reached(roots) -> set:
        seen, todo = set(), list(roots)
        while todo:
            key = todo.pop()
            if key not in seen:
                seen.add(key)
                todo += needs.get(key, ())
        return seen

    known = Needs(packages={}, asked={root: ("environments/x",) for root in asked}, needs=needs)
    assert known.alone() == {root: tuple(sorted(reached(asked) - reached(asked - {root}))) for root in asked}


def test_it_is_said_where_nobody_knows_what_a_wheel_needs(locked, monkeypatch):
    monkeypatch.setenv("HELIOIMAGES_STORE", str(locked.store.root))
    words = ["report", "--weight", "child", "--root", str(locked.root)]
    assert not needs(locked).whole
    assert "note: not of every wheel is it known what it needs" in CliRunner().invoke(main, words).stdout
    fetched(locked)
    assert needs(locked).whole
    assert "note:" not in CliRunner().invoke(main, words).stdout


def test_the_weight_is_that_of_the_locks(locked, monkeypatch):
    fetched(locked)
    monkeypatch.setenv("HELIOIMAGES_STORE", str(locked.store.root))
    done = CliRunner().invoke(main, ["report", "--weight", "child", "--root", str(locked.root), "--json"])
    assert done.exit_code == 0, done.stderr
    weight = json.loads(done.stdout)
    sizes = {wheel.name: wheel.size for wheel in locked.pylock("child").wheels}
    assert {row["name"]: row["bytes"] for row in weight["packages"] if row["kind"] == "wheel"} == sizes
    assert [(row["name"], row["packages"]) for row in weight["kinds"]] == [("conda", 2), ("PyPI", 5), ("Debian", 2)]
    assert {row["name"]: row["bytes"] for row in weight["kinds"]}["PyPI"] == sum(sizes.values())
    assert [(row["name"], row["packages"]) for row in weight["images"]] == [("base", 8), ("child", 1)]
    (app,) = [row for row in weight["asked"] if row["name"] == "app"]
    assert app["alone"] == sizes["app"] + sizes["fast"] + sizes["lib"]
    assert sorted(app["with_it"]) == ["fast", "lib"]
    text = CliRunner().invoke(main, ["report", "--weight", "child", "--root", str(locked.root)]).stdout
    assert f"{weighing.human_size(app['alone'])}  app, with " in text and "lib 1.0 (base), drawn in by app" in text


@pytest.mark.parametrize("words", [(), ("--weight",), ("--weight", "base", "child"), ("base",)])
def test_one_image_is_weighed(locked, words):
    done = CliRunner().invoke(main, ["report", *words, "--root", str(locked.root)])
    assert (done.exit_code, done.stderr.splitlines()[0]) == (2, "error: `report` weighs one image")

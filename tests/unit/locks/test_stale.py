"""What is asked for now is what is built: a stale lock is refused by whatever builds images, and said with --frozen."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from command_line import main

from helioimages.core.errors import HelioError, Stage
from helioimages.debian import lock as debian_lock
from helioimages.debian.lock import AptLock
from helioimages.engines import registry_server
from helioimages.locks import stale
from helioimages.locks.checkout import Checkout
from helioimages.machine import host
from helioimages.make import images, provision

WHY = "is not of the present environment.yml, conda part and parent's lock"
HINT = "run `buildimages lock`; or --frozen builds the locks as they are, but not in CI"


@pytest.fixture(scope="module")
def texts():
    """The locks of the world below by path, once they were made: equal files are locked to equal bytes."""
    return {}


@pytest.fixture
def locked(world, texts):
    """Return a world with a base and a child, locked."""
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", parent="base")
    empty = AptLock(suite="trixie", architecture="amd64", requested=(), packages=(), timestamp=9)
    for name, parent in (("base", None), ("child", "base")):
        world.image(name, parent=parent)
        (world.root / "images" / name / "apt-lock.json").write_text(debian_lock.dump(empty))
    if texts:
        for path, data in texts.items():
            (world.root / path).write_bytes(data)
    else:
        before = set(world.texts())
        world.lock()
        texts |= {path.relative_to(world.root): data for path, data in world.texts().items() if path not in before}
    return world


def checked(world, *names, **options):
    checkout = Checkout.of(world.root, **options)
    for healed in (False, True):
        stale.check(checkout, checkout.locks_of(names), healed=healed)


def test_locks_of_what_is_asked_for_are_fine(locked, capsys):
    checked(locked, "base", "child")
    file = locked.root / "environments/base/environment.yml"
    file.write_text("# a comment\n" + file.read_text())
    checked(locked, "base", "child")
    assert capsys.readouterr().err == ""


def test_a_package_that_no_lock_has_is_not_left_out_silently(locked, capsys):
    locked.environment("child", "app>=2", parent="base")
    checked(locked, "base")
    with pytest.raises(HelioError) as caught:
        checked(locked, "child")
    assert (caught.value.stage, str(caught.value)) == (
        Stage.LOCK,
        f"a lock is stale\n  environments/child/pylock.toml {WHY}; it lacks app\n\nhint: {HINT}",
    )
    checked(locked, "child", frozen=True)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: environments/child/pylock.toml {WHY}; it lacks app",
        "warning: a lock is stale: images are built as they were locked, not as they are asked for now (--frozen)",
    ]


def test_what_a_parent_asks_for_concerns_its_children(locked):
    locked.environment("base", "lib", constraints=["lib<9"])
    with pytest.raises(HelioError) as caught:
        checked(locked, "child")
    assert caught.value.message == "2 locks are stale"
    assert caught.value.detail.splitlines() == [f"environments/{name}/pylock.toml {WHY}" for name in ("base", "child")]


def test_the_conda_part_and_debian_too(locked):
    locked.environment("base", "lib", conda=("python=3.13", "libz"))
    locked.image("child", "vim", parent="base")
    with pytest.raises(HelioError) as caught:
        checked(locked, "child")
    assert caught.value.detail.splitlines() == [
        "environments/base/conda-lock.yml is not of the present environment.yml and its parent's lock",
        "environments/child/conda-lock.yml is not of the present environment.yml and its parent's lock",
        "images/child/apt-lock.json is stale: debian.packages of image.toml changed",
    ]


def test_the_other_channels_image_asks_its_own_conda_lock(locked):
    locked.lock(channel="conda-forge")
    locked.environment("base", "lib", constraints=["lib<9"])
    with pytest.raises(HelioError) as caught:
        checked(locked, "base", channel="conda-forge")
    assert caught.value.detail == f"environments/base/pylock.toml {WHY}"
    locked.environment("base", "lib", conda=("python=3.13", "libz"))
    with pytest.raises(HelioError) as caught:
        checked(locked, "base", channel="conda-forge")
    assert caught.value.detail == (
        "environments/base/conda-lock.conda-forge.yml is not of the present environment.yml and its parent's lock"
    )


class BeganToBuild(Exception):
    """The locks were taken."""


def test_a_stale_lock_is_refused_before_a_registry_starts_or_anything_is_installed(locked, monkeypatch, tmp_path):
    """`up` once started the registry and the engine, and then refused."""

    def work(*_args, **_options):
        raise AssertionError("work before the lock was looked at")

    lacks = host.Need(name="x", why="y", package="x", there=lambda: False)
    monkeypatch.setattr(host, "NEEDS", (lacks,))
    monkeypatch.setattr(host.subprocess, "run", work)
    monkeypatch.setattr(registry_server, "start", work)
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    locked.environment("child", "app", parent="base")
    for verb in ("build", "up", "publish", "smoke", "run", "render"):
        done = CliRunner().invoke(main, [verb, "child", "--root", str(locked.root)])
        assert (verb, done.exit_code, done.stderr.splitlines()[0]) == (verb, 4, "error: a lock is stale")
    monkeypatch.setattr(host, "NEEDS", ())
    for verb in ("up", "publish"):
        done = CliRunner().invoke(main, [verb, "child", "--root", str(locked.root)])
        assert (verb, done.exit_code, done.stderr.splitlines()[0]) == (verb, 4, "error: a lock is stale")


@pytest.mark.parametrize(
    ("words", "ci", "builds"),
    [((), "", False), (("--frozen",), "", True), (("--frozen",), "true", False), (("--frozen",), "false", True)],
)
@pytest.mark.parametrize("verb", ["build", "up", "publish", "smoke", "run", "render", "context"])
def test_every_verb_that_builds_refuses(locked, monkeypatch, request, tmp_path, verb, words, ci, builds):
    def began(*_args, **_options):
        raise BeganToBuild

    monkeypatch.setattr(host, "ensure", lambda: None)
    monkeypatch.setattr(images, "heal", lambda *_args, **_options: None)
    monkeypatch.setattr(provision, "packages", began)
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    # What publishes starts it first, and leaves it running for whoever pulls.
    request.addfinalizer(lambda: registry_server.stop(tmp_path / "store"))
    locked.environment("child", "app", parent="base")
    folder = [str(tmp_path / "folder")] if verb == "context" else []
    done = CliRunner().invoke(main, [verb, "child", *folder, "--root", str(locked.root), *words, "--json"])
    told = json.loads(done.stderr.splitlines()[-1])["error"]
    assert told["message"] == (f"a fault of buildimages: {BeganToBuild.__name__}" if builds else "a lock is stale")
    assert done.exit_code == (1 if builds else 4)

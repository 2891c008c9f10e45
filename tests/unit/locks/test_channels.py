"""Environments of several channels: which one each package is taken from."""

from __future__ import annotations

import shutil

import pytest
from channel_support import versions

from helioimages.core.errors import HelioError


def test_three_channels_one_behind_a_login(made):
    world, _, url = made
    world.asks("main", f"{url}/extra", "closed", conda=("tool",))
    lock = world.lock_it()
    assert lock.channels == ("main", "extra", "closed")
    assert versions(lock) == {
        "libz": ("1.3", "main"),  # strict: not the newer one of a later channel
        "python": ("3.13.5", "main"),
        "secretive": ("1.0", "closed"),
        "tool": ("1.0", "extra"),
    }
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "127.0.0.1" not in text and "secret" not in text.replace("secretive", "")
    assert len(world.fetch(lock)) == 4
    before = world.texts()
    world.lock_it()
    assert world.texts() == before


def test_a_spec_names_its_channel(made):
    world, _, url = made
    world.asks("main", "extra", conda=("extra::libz",))
    assert versions(world.lock_it()) == {"python": ("3.13.5", "main"), "libz": ("2.0", "extra")}
    world.asks("main", "extra", conda=(f"{url}/extra/linux-64::libz=2.*",))
    assert versions(world.lock_it())["libz"] == ("2.0", "extra")
    world.asks("main", conda=("extra::libz",))
    with pytest.raises(HelioError, match=r"asks for the channel `extra`, which is none of the environment's: main"):
        world.lock_it()


def test_local_is_one_of_several(made):
    world, folder, _ = made
    world.asks("local", "extra", "nodefaults", conda=("extra::libz",))
    shutil.rmtree(world.channel)
    shutil.copytree(folder / "main", world.channel)
    (folder / "main").rename(folder / "gone")
    lock = world.lock_it(world.channel)
    assert {package.name: package.channel for package in lock.packages} == {"python": "local", "libz": "extra"}
    assert {package.url for package in lock.packages} == {
        "local/linux-64/python-3.13.5-h0_0.conda",
        "extra/linux-64/libz-2.0-h0_0.conda",
    }


def test_strict_priority_is_said_where_it_hides_a_package(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libz>=2",))
    with pytest.raises(HelioError, match=r"change the order of channels"):
        world.lock_it()


def test_without_priority_the_best_of_all_channels_is_taken(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libz",))
    assert versions(world.lock_it())["libz"] == ("1.3", "main")
    # Another question: the lock is made anew, and as before what it has is kept where it answers.
    world.asks("main", "extra", conda=("libz",), channel_priority="disabled")
    with pytest.raises(HelioError, match="is not of the present"):
        world.lock_it(check=True)
    assert versions(world.lock_it(update=("libz",)))["libz"] == ("2.0", "extra")
    world.asks("main", "extra", conda=("libz>=2",), channel_priority="disabled")
    assert versions(world.lock_it())["libz"] == ("2.0", "extra")


def test_a_name_that_no_channel_has_is_told_with_one_that_is_like_it(made):
    world, _, _ = made
    world.asks("main", "extra", conda=("libzz", "nowhere=1"))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.hint == (
        "no channel has `libzz` (did you mean `libz`?), `nowhere`: check the names, add their channels, "
        "or move them to the pip list"
    )
    world.asks("local", conda=("numpy",))
    with pytest.raises(HelioError) as caught:
        world.lock_it(world.channel)
    assert caught.value.hint == "no channel has `numpy`: check the name, add its channel, or move it to the pip list"

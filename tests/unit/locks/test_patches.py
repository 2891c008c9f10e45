"""Patches in locks: named in environment.yml, pinned by content, inherited, refused where they do not belong."""

from __future__ import annotations

import hashlib

import pytest
from locking_support import World

from helioimages.core.errors import HelioError
from helioimages.core.package import Patch
from helioimages.pypi import lock as pypi_lock

DIFF = b"--- a/lib/a.py\n+++ b/lib/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"
SPEC = {"package": "Lib", "version": "1.0", "file": "patches/lib.patch", "reason": "imports imp"}
SPEC |= {"upstream": "https://example.org/lib/1"}
PATCH = Patch(
    path="environments/base/patches/lib.patch",
    sha256=hashlib.sha256(DIFF).hexdigest(),
    reason="imports imp",
    upstream="https://example.org/lib/1",
)
PYLOCK = "environments/base/pylock.toml"


@pytest.fixture
def world(tmp_path, package_index, monkeypatch):
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return World(tmp_path, package_index)


@pytest.fixture
def patched(world):
    """Give a world whose base patches one package."""
    for name in ("lib", "app"):
        world.wheel(name, "1.0")
    world.environment("base", "lib", patches=[SPEC])
    world.environment("child", "app", parent="base")
    folder = world.root / "environments" / "base" / "patches"
    folder.mkdir()
    (folder / "lib.patch").write_bytes(DIFF)
    return world


def patches(world, name):
    return {wheel.name: wheel.patches for wheel in world.pylock(name).wheels}


def test_a_patch_is_pinned_and_inherited(patched):
    patched.lock()
    assert patches(patched, "base") == {"lib": (PATCH,)}
    assert patches(patched, "child") == {"app": (), "lib": (PATCH,)}
    text = (patched.root / PYLOCK).read_text()
    assert pypi_lock.dump(pypi_lock.parse(text, PYLOCK)) == text
    assert f'patches = [{{ path = "{PATCH.path}", sha256 = "{PATCH.sha256}", reason = "imports imp"' in text
    assert patched.lock().written == () and patched.lock(check=True).written == ()


def test_a_patch_that_changed_or_went_makes_the_locks_stale(patched):
    patched.lock()
    file = patched.root / PATCH.path
    file.write_bytes(DIFF.replace(b"2", b"3"))
    with pytest.raises(HelioError) as caught:
        patched.lock(check=True)
    assert caught.value.detail == "\n".join(
        f"environments/{name}/pylock.toml has other patches than x-helioimages.patches names"
        for name in ("base", "child")
    )
    patched.lock()
    assert patches(patched, "child")["lib"][0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    patched.environment("base", "lib")
    patched.lock()
    assert patches(patched, "base") == {"lib": ()} and "patches" not in (patched.root / PYLOCK).read_text()
    patched.environment("base", "lib", patches=[SPEC])
    file.unlink()
    with pytest.raises(HelioError) as caught:
        patched.lock(check=True)
    assert "patches[0].file: there is no `environments/base/patches/lib.patch`" in caught.value.detail


@pytest.mark.parametrize(
    ("spec", "message", "where"),
    [
        ({"version": "0.9"}, "a patch is for another version of `lib`", "version"),
        ({"package": "other"}, "a patch is for `other`, which is no PyPI package of the environment", "package"),
        ({"file": "lib.patch"}, "there is no `environments/base/lib.patch`", "file"),
    ],
)
def test_a_patch_of_something_else_is_refused(patched, spec, message, where):
    patched.environment("base", "lib", patches=[SPEC | spec])
    with pytest.raises(HelioError) as caught:
        patched.lock("base")
    assert caught.value.message == message
    assert caught.value.where == f"environments/base/environment.yml at x-helioimages.patches[0].{where}"
    assert not (patched.root / PYLOCK).exists()


def test_an_upgrade_does_not_take_an_old_patch_along(patched):
    patched.lock()
    patched.wheel("lib", "2.0")
    with pytest.raises(HelioError) as caught:
        patched.lock(update=["lib"])
    assert caught.value.detail == "expected 2.0, which the environment has, not 1.0"
    assert caught.value.hint.startswith("look whether https://example.org/lib/1 is solved in 2.0")

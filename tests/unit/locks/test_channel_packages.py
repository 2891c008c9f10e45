"""What packages of channels do when they are linked, scripts or paths of others, is read while they are locked."""

from __future__ import annotations

import hashlib

import pytest
from channel_support import add

from helioimages.core.errors import HelioError


def test_packages_that_need_a_script_are_refused_while_locking(made):
    """The index does not say which ones do: their own lists are read."""
    world, folder, _ = made
    add(folder / "main", "tool", "1.0", file="bin/.tool-post-link.sh")
    add(folder / "extra", "gdal", "3.9", file="bin/.gdal-pre-link.sh")
    tool, gdal = (hashlib.sha256(text).hexdigest() for text in (b"main tool", b"extra gdal"))
    world.asks("main", "extra", conda=("tool", "gdal"))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.detail == (
        f"gdal-3.9-h0_0.conda: pre-link (bin/.gdal-pre-link.sh, sha256:{gdal})\n"
        f"tool-1.0-h0_0.conda: post-link (bin/.tool-post-link.sh, sha256:{tool})"
    )
    assert not (world.root / "environments/e/conda-lock.yml").exists()
    reviewed = [
        {"package": name, "sha256": digest, "reason": "it prints a word"}
        for name, digest in (("tool", tool), ("gdal", gdal))
    ]
    world.asks("main", "extra", conda=("tool", "gdal"), link_scripts=reviewed)
    lock = world.lock_it()
    assert lock.scripts == {"linux-64": {"tool": (tool,), "gdal": (gdal,)}}
    world.lock_it(check=True)
    world.asks("main", "extra", conda=("tool",), link_scripts=reviewed)
    with pytest.raises(HelioError, match="`gdal` is not a locked conda package"):
        world.lock_it()


def test_reviewed_scripts_that_are_to_run_are_run_while_locking(made):
    world, folder, _ = made
    add(folder / "main", "tool", "1.0", file="bin/.tool-post-link.sh")
    add(folder / "main", "quiet", "1.0", file="bin/.quiet-post-link.sh")
    reviewed = [
        {"package": name, "sha256": hashlib.sha256(text).hexdigest(), "reason": "fonts", "run": run}
        for name, text, run in (("tool", b"main tool", True), ("quiet", b"main quiet", False))
    ]
    world.asks("main", conda=("tool", "quiet"), link_scripts=reviewed)
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    assert caught.value.message == "post-link scripts cannot be run here: tool"
    assert caught.value.where == "environments/e/environment.yml at x-helioimages.link-scripts"
    asked = []

    def run(lock, files, names):
        asked.append(([package.name for package in lock.packages if package.sha256 in files], names))
        return dict.fromkeys(names, "f" * 64)

    lock = world.lock_it(run_scripts=run)
    assert lock.ran == {"linux-64": {"tool": "f" * 64}}
    assert asked == [([package.name for package in lock.packages], ["tool"])]
    world.lock_it(check=True)
    # What runs before its package is linked is not run.
    add(folder / "main", "early", "1.0", file="bin/.early-pre-link.sh")
    early = {"package": "early", "sha256": hashlib.sha256(b"main early").hexdigest(), "reason": "a word", "run": True}
    world.asks("main", conda=("tool", "quiet", "early"), link_scripts=[*reviewed, early])
    with pytest.raises(HelioError, match="the pre-link script of `early` cannot be run") as caught:
        world.lock_it(run_scripts=run)
    assert caught.value.where == "environments/e/environment.yml at x-helioimages.link-scripts[2].run"
    # Whether it runs is part of the question.
    world.asks("main", conda=("tool", "quiet"), link_scripts=[review | {"run": False} for review in reviewed])
    with pytest.raises(HelioError, match="a lock is stale"):
        world.lock_it(check=True)
    assert world.lock_it().ran == {}


def test_packages_that_take_a_path_from_each_other_are_locked_with_who_wins(made, capsys):
    world, folder, _ = made
    add(folder / "main", "a", "1.0", file="etc/x")
    add(folder / "extra", "b", "1.0", "a", file="etc/x")
    world.asks("main", "extra", conda=("a", "b"))
    assert world.lock_it().clobbers == {"linux-64": {"etc/x": "b over a"}}
    assert "warning: b wins a path over a, as rattler installs: etc/x" in capsys.readouterr().err

"""What `prune` takes away, and what it leaves."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from helioimages.catalogue.lookup import planned
from helioimages.core.entries import Content, Entry, Kind
from helioimages.locks.debian import apt_of
from helioimages.locks.read import load
from helioimages.machine import mounts
from helioimages.machine.bootstrap import name_of
from helioimages.machine.store import Store
from helioimages.make import linking, rootfs
from helioimages.make.prune import prune
from helioimages.verbs.workspace import Workspace

ROOT = Path(__file__).parents[3]
OLD = 1_000_000_000
HOUR = 3600.0


def sweep(workspace, **options):
    """Prune as the verb does: what the checkout's images have for layers stays."""
    images = [planned(workspace.checkout, workspace.store, name) for name in workspace.images]
    layers = {layer.digest for image in images for layer in image.layers}
    return prune(workspace.root, workspace.store, layers, **options)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for folder in ("environments/base", "images/base", "channel", "tools/requirements.lock"):
        source = ROOT / folder
        target = tmp_path / "checkout" / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    return Workspace(tmp_path / "checkout", Store(tmp_path / "store"), jobs=1)


def test_what_has_mounts_in_it_stays(workspace, monkeypatch):
    """The root file system of a run that was killed may still have the machine's /dev in it."""
    scratch, other = workspace.store.root / "tmp" / "scratch", workspace.store.root / "tmp" / "other"
    for folder in (scratch, other):
        put(folder / "dev" / "null")
        os.utime(folder, (OLD, OLD))
    monkeypatch.setattr(mounts, "below", lambda path: (path / "dev",) if path == scratch else ())
    sweep(workspace, age_s=HOUR, dry_run=False)
    assert (scratch / "dev" / "null").exists() and not other.exists()


def put(path: Path, size: int = 10, *, when: int = OLD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (when, when))
    return path


def test_what_the_locks_name_stays_and_the_rest_goes(workspace):
    store, lock = workspace.store, load(workspace.root, workspace.images, "base")
    key = planned(workspace.checkout, workspace.store, "base").layers[0].digest.removeprefix("key:")
    content = Content(2 << 20, lambda: random.Random(0).randbytes(2 << 20))
    layer = linking.write(store, key, (Entry(path="x", kind=Kind.FILE, mode=0o644, content=content, origin="x"),))
    os.utime(store.blob(layer.digest), (OLD, OLD))
    keep = [
        put(store.artefact(lock.pypi.wheels[0].sha256)),
        put(store.artefact(lock.conda.packages[0].sha256)),
        put(store.artefact(lock.apt.packages[0].sha256)),
        store.blob(layer.digest),
        put(store.root / "blobs" / "sha256" / ("a" * 64)),
        put(rootfs.cached(store, apt_of(workspace.root, "base"))),
        put(store.root / "tool" / name_of(workspace.root / "tools/requirements.lock") / "bin" / "python"),
    ]
    go = [
        put(store.artefact("b" * 64)),
        put(store.root / "blobs" / "sha256" / ("c" * 64), 2 << 20),
        put(store.cached("rootfs", "d" * 64)),
        put(store.cached("pyc", "e" * 64)),
        put(store.root / "tool" / ("f" * 16) / "bin" / "python"),
        put(store.root / "tmp" / "half"),
    ]
    os.utime(store.root / "tool" / ("f" * 16), (OLD, OLD))
    young = put(store.artefact("0" * 64), when=int(2e10))

    counted = sweep(workspace, age_s=HOUR, dry_run=True)
    assert all(path.exists() for path in (*keep, *go, young))
    assert sweep(workspace, age_s=HOUR, dry_run=False) == counted
    assert [path for path in (*keep, young) if not path.exists()] == []
    assert [path for path in go if path.exists()] == []
    assert {row.kind: row.removed for row in counted} == {
        "packages": 1,
        "layers": 1,
        "root file systems": 1,
        "compiled modules": 1,
        "tool environments": 1,
        "leftovers of interrupted runs": 1,
    }
    assert sum(row.removed for row in sweep(workspace, age_s=HOUR, dry_run=False)) == 0

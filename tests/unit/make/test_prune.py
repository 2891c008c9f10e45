"""What `prune` takes away, and what it leaves."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest
from workspace import Workspace

from helioimages.core.entries import Content, Entry, Kind
from helioimages.core.platform import Platform
from helioimages.debian import lock as apt_lock
from helioimages.debian.lock import AptLock
from helioimages.locks.debian import apt_of
from helioimages.locks.read import load
from helioimages.machine import mounts
from helioimages.machine.bootstrap import name_of
from helioimages.machine.store import Store
from helioimages.make import builder, linking, rootfs, toolchain, travel
from helioimages.make.channel import channel_key
from helioimages.make.inputs import plan_of
from helioimages.make.prune import prune, unknown

ROOT = Path(__file__).parents[3]
OLD = 1_000_000_000
HOUR = 3600.0


def sweep(workspace, **options):
    """Prune as the verb does: what the checkout's images have for layers stays."""
    plans = [plan_of(workspace.checkout, name) for name in workspace.checkout.images]
    return prune(workspace.checkout, workspace.store, plans, **options)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    for folder in ("environments/base", "images/base", "channel", "tools/requirements.lock"):
        source = ROOT / folder
        target = tmp_path / "checkout" / folder
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    return Workspace.of(tmp_path / "checkout", Store(tmp_path / "store"), jobs=1)


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


def memo(store: Store, kind: str, key: str) -> Path:
    return store.root / "memo" / kind / f"{key}.json"


def channel_lock(root: Path) -> AptLock:
    return apt_lock.parse((root / "channel" / "apt-lock.json").read_text("utf-8"), "channel/apt-lock.json")


def named_in_the_code() -> set[str]:
    """Return every folder of the store that the code names, from the calls that make them."""
    names = set()
    for path in (ROOT / "tools" / "helioimages").rglob("*.py"):
        text = path.read_text("utf-8")
        names.update(f"cache/{name}" for name in re.findall(r"""\bcached\(\s*"([\w.-]+)\"""", text))
        names.update(f"memo/{name}" for name in re.findall(r"""\b(?:recall|remember)\(\s*"([\w.-]+)\"""", text))
        for top, below in re.findall(
            r"""\b(?:store\.root|_store\(\))(?:\.resolve\(\))? / "([\w.-]+)"(?: / "([\w.-]+)")?""", text
        ):
            names.add(f"{top}/{below}" if top in ("cache", "memo") else top)
    return {*names, f"cache/{linking.LISTS}", f"memo/{linking.LAYERS}", f"memo/{travel.METADATA}", "artefacts", "blobs"}


def test_every_folder_of_a_store_has_a_rule(tmp_path):
    """A kind of cache that nobody prunes grows for ever."""
    named = named_in_the_code()
    assert named >= {"cache/rootfs", "cache/index", "memo/smoke", "toolchain", "channels", "tool", "engine"}
    store = Store(tmp_path)
    for name in named:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    assert unknown(store) == ()
    for name in ("cache/of-later", "memo/of-later", "of-later"):
        (tmp_path / name).mkdir()
    assert unknown(store) == ("cache/of-later", "memo/of-later", "of-later")


def test_a_layer_that_came_from_a_cache_stays(workspace):
    """It counts only for who reads caches, and is as costly to have again."""
    store, key = workspace.store, plan_of(workspace.checkout, "base").layers[0].key
    content = Content(2 << 20, lambda: random.Random(0).randbytes(2 << 20))
    layer = linking.write(store, key, (Entry(path="x", kind=Kind.FILE, mode=0o644, content=content, origin="x"),))
    rows = store.cached(linking.LISTS, key).read_bytes()
    linking.adopt(store, key, layer, rows, origin="h.example.org/cache:layer-x")
    written = store.blob(layer.digest), store.cached(linking.LISTS, key), memo(store, linking.LAYERS, key)
    for path in written:
        os.utime(path, (OLD, OLD))
    sweep(workspace, age_s=HOUR, dry_run=False)
    assert all(path.exists() for path in written)


def test_what_the_locks_name_stays_and_the_rest_goes(workspace):
    store, lock = workspace.store, load(workspace.root, workspace.checkout.images, "base")
    key = plan_of(workspace.checkout, "base").layers[0].key
    content = Content(2 << 20, lambda: random.Random(0).randbytes(2 << 20))
    layer = linking.write(store, key, (Entry(path="x", kind=Kind.FILE, mode=0o644, content=content, origin="x"),))
    written = store.blob(layer.digest), store.cached(linking.LISTS, key), memo(store, linking.LAYERS, key)
    for path in written:
        os.utime(path, (OLD, OLD))
    old_list = put(store.cached(linking.OLD_LISTS, "1" * 64))
    store.remember(linking.OLD_LAYERS, "1" * 64, {"digest": layer.digest})
    for number, digest in (("2", f"sha256:{'c' * 64}"), ("3", None)):
        put(store.cached(linking.LISTS, number * 64))
        store.remember(linking.LAYERS, number * 64, {"digest": digest} if digest else ["not a memo of this version"])
    wheel, other = lock.pypi.wheels[0].sha256, "4" * 64
    for kind, name, value in (("wheel", "5" * 64, {"sha256": wheel}), ("wheel", "6" * 64, {"sha256": other})):
        store.remember(kind, name, value)
    for name in (wheel, other):
        store.remember("requires", name, [])
        store.remember(travel.METADATA, name, "Name: x")
    for kind in ("smoke", "trust", "contents"):
        store.remember(kind, "7" * 64, {})
    for path in (store.root / "memo").rglob("*.json"):
        os.utime(path, (OLD, OLD))
    local = channel_key(workspace.root, builder.key(channel_lock(workspace.root)), Platform.of("linux/amd64"))
    keep = [
        put(store.artefact(lock.pypi.wheels[0].sha256)),
        put(store.artefact(lock.conda.packages[0].sha256)),
        put(store.artefact(lock.apt.packages[0].sha256)),
        *written,
        old_list,
        memo(store, linking.OLD_LAYERS, "1" * 64),
        memo(store, "wheel", "5" * 64),
        memo(store, "requires", wheel),
        memo(store, travel.METADATA, wheel),
        *(memo(store, kind, "7" * 64) for kind in ("smoke", "trust", "contents")),
        put(store.root / "toolchain" / toolchain.key(lock) / "srv" / "python"),
        put(store.root / "channels" / local / "channel.json"),
        *(put(store.root / name / "data") for name in ("engine", "registry", "hub", "run", "cache/of-later")),
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
        *(store.cached(linking.LISTS, number * 64) for number in "23"),
        *(memo(store, linking.LAYERS, number * 64) for number in "23"),
        memo(store, "wheel", "6" * 64),
        memo(store, "requires", other),
        memo(store, travel.METADATA, other),
        put(store.root / "cache" / "index" / ("8" * 16) / "numpy.json"),
        put(store.root / "cache" / "index" / ("8" * 16) / "sizes" / "x"),
        put(store.root / "cache" / "osv" / "PyPI.zip"),
        put(store.root / "toolchain" / ("9" * 64) / "srv" / "python"),
        put(store.root / "toolchain" / f"build-{'9' * 64}" / "srv" / "python"),
        put(store.root / "channels" / ("9" * 64) / "channel.json"),
    ]
    for folder in ("tool", "toolchain", "channels"):
        for path in (store.root / folder).iterdir():
            os.utime(path, (OLD, OLD))
    young = put(store.artefact("0" * 64), when=int(2e10))
    young_channel = put(store.root / "channels" / ("0" * 64) / "channel.json")
    os.utime(young_channel.parent, (int(2e10), int(2e10)))

    counted = sweep(workspace, age_s=HOUR, dry_run=True)
    assert all(path.exists() for path in (*keep, *go, young, young_channel))
    assert sweep(workspace, age_s=HOUR, dry_run=False) == counted
    assert [path for path in (*keep, young, young_channel) if not path.exists()] == []
    assert [path for path in go if path.exists()] == []
    assert {row.kind: row.removed for row in counted} == {
        "packages": 1,
        "layers": 1,
        "lists of files": 2,
        "memos": 5,
        "root file systems": 1,
        "compiled modules": 1,
        "pages of indexes": 2,
        "advisories": 1,
        "interpreters": 2,
        "local channels": 1,
        "tool environments": 1,
        "leftovers of interrupted runs": 1,
        "cache/of-later (of another version)": 0,
    }
    assert sum(row.removed for row in sweep(workspace, age_s=HOUR, dry_run=False)) == 0

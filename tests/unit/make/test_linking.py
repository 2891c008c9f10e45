"""One layer from its packages, and what a later run takes from the store."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import pytest

from helioimages.core import entries
from helioimages.core.entries import merge
from helioimages.core.errors import HelioError
from helioimages.locks.package import Package
from helioimages.machine.store import Store
from helioimages.make import linking
from helioimages.make.linking import PREFIX, Source, Task, files_of, make_layer, recall, without, write
from helioimages.make.plan import LINKER_VERSION, LayerPlan
from helioimages.oci.layer import read_layer
from helioimages.pypi import pyc

SITE = f"{PREFIX[1:]}/lib/python3.13/site-packages"
TAG = sys.implementation.cache_tag


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def task(make_wheel, store: Store):
    """Give a task of wheels: name -> files."""

    def make(*, key: str = "k" * 64, dropped: tuple[str, ...] = (), **wheels: dict[str, bytes]) -> Task:
        sources = []
        for name, files in wheels.items():
            path, record = make_wheel(files, name=name)
            package = Package(
                kind="wheel",
                name=name,
                version="1.0",
                file_name=record.file_name,
                sha256=record.sha256,
                size=record.size,
                dropped=dropped,
            )
            sources.append(Source(package=package, record=record, path=path))
        return Task(
            plan=LayerPlan(name="wheels-01", packages=tuple(one.package for one in sources)),
            key=key,
            sources=tuple(sources),
            python="3.13",
            interpreter=pyc.Interpreter(argv=(sys.executable,), env={"PATH": os.defpath}, cache_tag=TAG),
            interpreter_id="i" * 64,
            platform="linux-64",
            store=store.root,
        )

    return make


def paths(layer_file: Path) -> list[str]:
    return [one.path.removeprefix(f"{SITE}/") for one in read_layer(layer_file) if one.path.startswith(f"{SITE}/")]


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size - 1)


def test_a_layer_has_the_files_and_the_compiled_ones(task, store):
    layer = make_layer(task(demo={"demo/a.py": b"x = 1\n", "demo/b.txt": b"b"}))
    assert paths(store.blob(layer.digest)) == [
        "demo",
        "demo/__pycache__",
        f"demo/__pycache__/a.{TAG}.pyc",
        "demo/a.py",
        "demo/b.txt",
        "demo-1.0.dist-info",
        "demo-1.0.dist-info/INSTALLER",
        "demo-1.0.dist-info/METADATA",
        "demo-1.0.dist-info/RECORD",
        "demo-1.0.dist-info/WHEEL",
    ]


def test_it_is_made_once(task, store, monkeypatch):
    made = task(demo={"demo/a.py": b"x = 1\n"})
    layer = make_layer(made)
    monkeypatch.setattr(linking, "package_entries", None)
    assert make_layer(made) == layer


def test_modules_are_compiled_once_whichever_layer_has_them(task, monkeypatch):
    files = {"demo/a.py": b"x = 1\n"}
    first = make_layer(task(demo=files))
    monkeypatch.setattr(pyc, "compile_entries", None)
    assert make_layer(task(key="l" * 64, demo=files)) == first


@pytest.mark.parametrize("change", ["interpreter", "dropped"])
def test_modules_are_compiled_anew_where_they_would_differ(task, store, change):
    files = {"demo/a.py": b"x = 1\n", "demo/b.py": b"y = 1\n"}
    make_layer(task(demo=files))
    assert len(list((store.root / "cache" / "pyc").iterdir())) == 1
    if change == "interpreter":
        make_layer(dataclasses.replace(task(key="l" * 64, demo=files), interpreter_id="j" * 64))
    else:
        layer = make_layer(task(key="l" * 64, dropped=("lib/python3.13/site-packages/demo/b.py",), demo=files))
        found = [path for path in paths(store.blob(layer.digest)) if path.startswith("demo/")]
        assert found == ["demo/__pycache__", f"demo/__pycache__/a.{TAG}.pyc", "demo/a.py"]
    assert len(list((store.root / "cache" / "pyc").iterdir())) == 2


def test_a_cut_cache_of_modules_is_made_again(task, store):
    files = {"demo/a.py": b"x = 1\n"}
    first = make_layer(task(demo=files))
    (cache,) = (store.root / "cache" / "pyc").iterdir()
    whole = cache.read_bytes()
    cut(cache)
    assert make_layer(task(key="l" * 64, demo=files)) == first
    assert cache.read_bytes() == whole


def test_two_packages_that_bring_one_path(task):
    with pytest.raises(HelioError) as caught:
        make_layer(task(one={"x/a.txt": b"1"}, two={"x/a.txt": b"2"}))
    assert caught.value.message == f"`one-1.0` and `two-1.0` both bring {SITE}/x/a.txt"


def test_what_another_package_wins_is_left_out():
    package = Package(kind="wheel", name="p", version="1", file_name="p", sha256="", size=1, dropped=("bin/*", "etc/x"))
    mine = [entries.file(f"{PREFIX[1:]}/{path}", b"") for path in ("bin/a", "bin/b", "etc/x", "etc/xy", "lib/bin/c")]
    assert [one.path.removeprefix(f"{PREFIX[1:]}/") for one in without(tuple(mine), package)] == ["etc/xy", "lib/bin/c"]


def test_what_nobody_wins_is_refused():
    package = Package(kind="wheel", name="p", version="1", file_name="p", sha256="", size=1, dropped=("bin/z",))
    with pytest.raises(HelioError) as caught:
        without((entries.file(f"{PREFIX[1:]}/bin/a", b""),), package)
    assert str(caught.value) == (
        "`p-1` has no bin/z\n"
        "  x-helioimages.clobber says that another package wins this path\n"
        "\n"
        "hint: remove the entry from environment.yml"
    )


ODD = (
    entries.directory("srv", origin="a-1"),
    entries.file("srv/a", b"hello", origin="a-1"),
    entries.file("srv/\udcff b\t", b"", origin="b-1"),
    entries.symlink("srv/l", "a", origin="b-1"),
)


def test_the_list_of_files_says_who_brought_what(store):
    write(store, "k", merge(ODD))
    assert files_of(store, "k") == {
        "srv/a": ("a-1", hashlib.sha256(b"hello").hexdigest()),
        "srv/\udcff b\t": ("b-1", hashlib.sha256(b"").hexdigest()),
        "srv/l": ("b-1", "a"),
    }


@pytest.mark.parametrize("damage", ["blob cut", "blob gone", "list cut", "list gone", "nothing"])
def test_a_layer_is_remembered_while_all_of_it_is_there(store, damage):
    layer = write(store, "k", merge(ODD))
    what, _, how = damage.partition(" ")
    if how:
        path = store.blob(layer.digest) if what == "blob" else store.cached("files", "k")
        cut(path) if how == "cut" else path.unlink()
    assert recall(store, "k") == (None if how else layer)
    assert recall(store, "other") is None


def test_the_linkers_version_is_in_every_key(monkeypatch):
    plan = LayerPlan(name="n", packages=())
    words = {"prefix": PREFIX, "interpreter": "i", "compressor": "c"}
    before = plan.key(**words)
    monkeypatch.setattr("helioimages.make.plan.LINKER_VERSION", LINKER_VERSION + 1)
    assert plan.key(**words) != before

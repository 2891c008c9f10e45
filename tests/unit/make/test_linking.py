"""One layer from its packages, and what a later run takes from the store."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from pathlib import Path

import pytest

from helioimages.core import entries
from helioimages.core.entries import LINKER_VERSION, Content, merge
from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.machine.store import Store
from helioimages.make import linking
from helioimages.make.linking import PREFIX, LayerPackage, Task, files_of, make_layer, recall, without, write
from helioimages.make.plan import Group, LayerKind, LayerPlan
from helioimages.oci.layer import Layer, read_layer
from helioimages.pypi import archive, pyc

SITE = f"{PREFIX[1:]}/lib/python3.13/site-packages"
TAG = sys.implementation.cache_tag


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def task(make_wheel, store: Store):
    """Give a task of wheels: name -> files."""

    def make(
        *,
        key: str = "k" * 64,
        dropped: tuple[str, ...] = (),
        left_out: tuple[str, ...] = (),
        **wheels: dict[str, bytes],
    ) -> Task:
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
                left_out=left_out,
            )
            sources.append(LayerPackage(package=package, record=record, path=path))
        return Task(
            plan=LayerPlan(
                image="x",
                kind=LayerKind.PACKAGES,
                name="wheels-01",
                key=key,
                comment="",
                size=1,
                packages=tuple(source.package for source in sources),
            ),
            sources=tuple(sources),
            python="3.13",
            interpreter=pyc.Interpreter(argv=(sys.executable,), env={"PATH": os.defpath}, cache_tag=TAG),
            interpreter_id="i" * 64,
            platform="linux-64",
            store=store.root,
        )

    return make


def paths(layer_file: Path) -> list[str]:
    return [
        entry.path.removeprefix(f"{SITE}/") for entry in read_layer(layer_file) if entry.path.startswith(f"{SITE}/")
    ]


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
        modules = [path for path in paths(store.blob(layer.digest)) if path.startswith("demo/")]
        assert modules == ["demo/__pycache__", f"demo/__pycache__/a.{TAG}.pyc", "demo/a.py"]
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
    assert [entry.path.removeprefix(f"{PREFIX[1:]}/") for entry in without(tuple(mine), package)] == [
        "etc/xy",
        "lib/bin/c",
    ]


def test_what_nothing_is_in_the_place_of_is_in_no_record(task, store):
    site = "lib/python3.13/site-packages"
    files = {"demo/a.py": b"x = 1\n", "demo/data/b": b"1", "demo/data/c": b"2"}
    first = make_layer(task(demo=files))
    layer = make_layer(task(key="l" * 64, left_out=(f"{site}/demo/data/b", f"{site}/demo/a.py"), demo=files))
    kept = [path for path in paths(store.blob(layer.digest)) if path.startswith("demo/")]
    assert kept == ["demo/data", "demo/data/c"]

    def record(of: Layer) -> list[str]:
        (entry,) = (entry for entry in read_layer(store.blob(of.digest)) if entry.path.endswith("/RECORD"))
        return [line.partition(",")[0] for line in entry.content.read().decode().splitlines()]

    gone = {"demo/a.py", "demo/data/b", f"demo/__pycache__/a.{TAG}.pyc"}
    assert set(record(first)) - set(record(layer)) == gone
    with pytest.raises(HelioError, match=r"`demo-1\.0` has no bin/z"):
        make_layer(task(key="m" * 64, left_out=("bin/z",), demo=files))


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


@pytest.mark.parametrize(
    "odd", ["\u2028", "\u2029", "\x85", "\n", "\r", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\udc85"]
)
def test_a_path_may_have_any_character(store, odd):
    """What Python takes for the end of a line is a letter to a file system."""
    path, target = f"srv/a{odd}b{odd}", f"{odd}x{odd}{odd}y"
    entries_ = [entries.file(path, b"1", origin="a-1"), entries.symlink("srv/l", target, origin="b-1")]
    layer = write(store, "k", merge(entries_))
    held = hashlib.sha256(b"1").hexdigest()
    assert files_of(store, "k") == {path: ("a-1", held), "srv/l": ("b-1", target)}
    assert {entry.path for entry in read_layer(store.blob(layer.digest))} == {"srv", path, "srv/l"}


def test_a_link_that_no_file_system_can_hold():
    with pytest.raises(HelioError) as caught:
        merge([entries.symlink("srv/l", "a\0b", origin="b-1")])
    assert str(caught.value) == (
        "`b-1` has a link that no file system can hold: 'srv/l'\n"
        "  expected a target without NUL not 'a\\x00b'\n"
        "\n"
        "hint: the package is malformed or malicious; do not use it"
    )


def old_store(store: Store, layer: Layer, rows: bytes) -> Path:
    """Leave of a layer what an earlier version kept: lines with tabs."""
    (store.root / "memo" / linking.LAYERS / "k.json").unlink()
    store.cached(linking.LISTS, "k").unlink()
    path = store.cached("files", "k")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(rows)
    store.remember("layer", "k", {**dataclasses.asdict(layer), "listed": len(rows)})
    return path


def test_the_list_of_an_earlier_version_is_read(store):
    layer = write(store, "k", merge(ODD))
    hello, none = hashlib.sha256(b"hello").hexdigest(), hashlib.sha256(b"").hexdigest()
    rows = f"a-1\t{hello}\tsrv/a\u2028\nb-1\t{none}\tsrv/\udcff b\x85\nb-1\ta\tsrv/l\n"
    path = old_store(store, layer, rows.encode("utf-8", "surrogateescape"))
    assert recall(store, "k") == layer
    assert files_of(store, "k") == {
        "srv/a\u2028": ("a-1", hello),
        "srv/\udcff b\x85": ("b-1", none),
        "srv/l": ("b-1", "a"),
    }
    cut(path)
    assert recall(store, "k") is None


def test_a_list_of_an_earlier_version_that_says_two_things_is_not_believed(store):
    layer = write(store, "k", merge(ODD))
    old_store(store, layer, b"b-1\ta\tb\tsrv/l\n")
    assert recall(store, "k") is None
    with pytest.raises(HelioError, match="the store lost a layer while it was used"):
        files_of(store, "k")


def test_contents_are_hashed_once_and_read_once(store):
    """Whoever made a content may have hashed it; if not, that is done as the layer reads it."""
    reads = []

    def content(name: str, data: bytes, sha256: str = "") -> Content:
        return Content(len(data), lambda: reads.append(name) or data, sha256)

    kept = hashlib.sha256(b"x").hexdigest()
    given = [
        dataclasses.replace(entries.file("a", b""), content=content("a", b"new")),
        dataclasses.replace(entries.file("b", b""), content=content("b", b"x", kept)),
    ]
    write(store, "k", merge(given))
    assert reads == ["a", "b"]
    assert files_of(store, "k") == {"a": ("", hashlib.sha256(b"new").hexdigest()), "b": ("", kept)}


def test_a_wheels_files_are_inflated_twice_at_most(task, store, monkeypatch):
    """Once to verify RECORD, once for the layer; a source is compiled from what RECORD was verified with."""
    counts: dict[str, int] = {}
    original = archive._Reader.__call__

    def counting(reader):
        counts[reader.name] = counts.get(reader.name, 0) + 1
        return original(reader)

    monkeypatch.setattr(archive._Reader, "__call__", counting)
    files = {"demo/a.py": b"x = 1\n", "demo/b.txt": b"b", "demo/c.so": bytes(99)}
    made = task(demo=files)
    layer = make_layer(made)
    assert {name: counts[name] for name in files} == {"demo/a.py": 2, "demo/b.txt": 2, "demo/c.so": 2}
    told = {path.removeprefix(f"{SITE}/"): held for path, (_, held) in files_of(store, made.plan.key).items()}
    written = {entry.path: entry.content for entry in read_layer(store.blob(layer.digest)) if entry.content}
    real = {p.removeprefix(f"{SITE}/"): hashlib.sha256(content.read()).hexdigest() for p, content in written.items()}
    assert told == real


@pytest.mark.parametrize("damage", ["blob cut", "blob gone", "list cut", "list gone", "nothing"])
def test_a_layer_is_remembered_while_all_of_it_is_there(store, damage):
    layer = write(store, "k", merge(ODD))
    what, _, how = damage.partition(" ")
    if how:
        path = store.blob(layer.digest) if what == "blob" else store.cached(linking.LISTS, "k")
        cut(path) if how == "cut" else path.unlink()
    assert recall(store, "k") == (None if how else layer)
    assert recall(store, "other") is None


def test_the_linkers_version_is_in_every_key(monkeypatch):
    plan = Group(name="n", packages=())
    words = {"prefix": PREFIX, "interpreter": "i", "compressor": "c"}
    before = plan.key(**words)
    monkeypatch.setattr("helioimages.make.plan.LINKER_VERSION", LINKER_VERSION + 1)
    assert plan.key(**words) != before

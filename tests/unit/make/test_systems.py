"""Root file systems and Debian's layers: made beside everything else, and once each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from helioimages.core import threads
from helioimages.core.entries import directory, file, merge, symlink
from helioimages.core.errors import HelioError, Stage
from helioimages.debian.lock import AptLock, Deb
from helioimages.machine.store import Store
from helioimages.make import linking, own_files, rootfs, systems
from helioimages.make.plan import LayerKind
from helioimages.make.rootfs import RootfsWorks, build_rootfs
from helioimages.oci.layer import read_layer

LONG_S = 60
#: Writes down what it is told, and a tar that is whole.
MMDEBSTRAP = """#!/bin/sh
printf '%s\\n' "$@" "" >>{log}
for word; do case "$word" in /*/rootfs.tar) /usr/bin/head -c 1024 /dev/zero >"$word";; esac; done
"""
DPKG_DEB = "#!/bin/sh\necho Package: x\n"


def lock_of(*names: str) -> AptLock:
    debs = [
        Deb(
            name=name,
            version="1",
            architecture="amd64",
            file_name=f"pool/{name}.deb",
            archive="debian",
            sha256=name.encode().hex().ljust(64, "0"),
            size=1,
        )
        for name in names
    ]
    return AptLock(suite="trixie", architecture="amd64", timestamp=0, requested=(), packages=tuple(debs))


BASE, CHILD = lock_of("apt", "sh"), lock_of("apt", "cc", "sh")


@pytest.fixture
def works(tmp_path, monkeypatch) -> RootfsWorks:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("mmdebstrap", MMDEBSTRAP.format(log=tmp_path / "log")), ("dpkg-deb", DPKG_DEB)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    debs = {}
    for deb in CHILD.packages:
        debs[deb.sha256] = tmp_path / f"{deb.name}.deb"
        debs[deb.sha256].write_bytes(b"x")
    return RootfsWorks(store=Store(tmp_path / "store"), debs=debs)


def test_what_two_want_is_made_once(works, tmp_path):
    with threads.pool(3) as pool:
        made = [pool.submit(build_rootfs, works, lock) for lock in (BASE, CHILD, BASE)]
        assert [future.result(LONG_S) for future in made] == [
            rootfs.cached(works.store, lock) for lock in (BASE, CHILD, BASE)
        ]
    words = (tmp_path / "log").read_text().splitlines()
    assert sorted(word for word in words if word.startswith("--include=")) == [
        "--include=apt,cc,sh",
        "--include=apt,sh",
    ]
    # What they were made in is gone.
    assert not [folder for folder in rootfs._place(works.store, BASE).glob("helioimages-rootfs-*") if mine(folder)]


def mine(folder: Path) -> bool:
    return not rootfs._at_work(folder)


def plan(*line: AptLock) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return an image's plan and that of its Debian layer, as far as they matter here."""
    image = None
    for lock in line:
        image = SimpleNamespace(locks=SimpleNamespace(apt=lock), parent=image, account=None)
    return image, SimpleNamespace(kind=LayerKind.DEBIAN, key=line[-1].key)


@pytest.fixture
def made(monkeypatch) -> Callable[[Callable[..., object]], None]:
    """Have layers made by a function of the locks."""

    def replace(function: Callable[..., object]) -> None:
        monkeypatch.setattr(systems.debian_layers, "entries", lambda _works, lock, parent, _: function(lock, parent))
        monkeypatch.setattr(
            linking, "write", lambda _, key, entries, *, jobs: SimpleNamespace(digest=key, made=entries)
        )
        monkeypatch.setattr(own_files, "remember_shape", lambda *_: None)

    return replace


def test_layers_are_made_while_others_are(made, tmp_path):
    go = threading.Event()
    made(lambda lock, parent: go.wait(LONG_S) and (lock, parent))
    (base, child) = plan(BASE), plan(BASE, CHILD)
    with systems.beside(Store(tmp_path), jobs=3) as debian:
        debian.begin([base, child, (base[0], SimpleNamespace(kind=LayerKind.PACKAGES, key="p"))], {})
        go.set()
        assert debian.layers[child[1].key].result() == SimpleNamespace(digest=CHILD.key, made=(CHILD, BASE))
        assert debian.layers[base[1].key].result() == SimpleNamespace(digest=BASE.key, made=(BASE, None))
        assert debian.layers.keys() == {BASE.key, CHILD.key}


@pytest.mark.parametrize(("jobs", "at_once"), [(1, 1), (2, 1), (3, 2), (16, 3)])
def test_one_processor_is_left_to_the_channel_and_the_others_begin_one_by_one(made, tmp_path, jobs, at_once):
    lines = [(BASE,), (BASE, CHILD), (BASE, CHILD, lock_of("apt", "cc", "gdl", "sh"))]
    begun = []
    made(lambda lock, _: begun.append(lock) or ())
    with systems.beside(Store(tmp_path), jobs=jobs) as debian:
        debian.begin([plan(*line) for line in lines], {})
        for number in range(at_once, 5):
            keys = [line[-1].key for line in lines[:number]]
            assert [*debian.layers] == keys
            for key in keys:
                debian.layers[key].result(LONG_S)
            assert {lock.key for lock in begun} == set(keys)
            debian.go_on()
    assert len(begun) == 3


def test_the_shape_is_known_before_anybody_asks(monkeypatch, tmp_path):
    """It is what one reads out of the layer, which takes seconds."""
    entries = merge([file("usr/bin/sh", b"x", mode=0o755), symlink("bin", "usr/bin"), directory("tmp", mode=0o1777)])
    monkeypatch.setattr(systems.debian_layers, "entries", lambda *_: iter(entries))
    store, read = Store(tmp_path / "mine"), Store(tmp_path / "read")
    with systems.beside(store, jobs=1) as debian:
        debian.begin([plan(BASE)], {})
        layer = debian.layers[BASE.key].result()
    known = store.recall(own_files.SHAPES, BASE.key)
    assert known == own_files.remember_shape(read, BASE.key, layer.digest, read_layer(store.blob(layer.digest)))
    assert ["bin", "usr/bin"] in known["rows"] and ["tmp", 0o1777, 0, 0] in known["rows"]


def test_a_fault_is_told_to_whoever_asks_for_the_layer(made, tmp_path):
    def fail(*_: object) -> None:
        raise HelioError(Stage.BUILD, "no room")

    made(fail)
    with systems.beside(Store(tmp_path), jobs=1) as debian:
        debian.begin([plan(BASE)], {})
        with pytest.raises(HelioError, match="no room"):
            debian.layers[BASE.key].result()


def test_an_interrupt_ends_mmdebstrap(works, tmp_path):
    started = tmp_path / "started"
    program = tmp_path / "bin" / "mmdebstrap"
    program.write_text(f"#!/bin/sh\necho >{started}\nexec /usr/bin/sleep 3600\n")
    waiting = []
    with pytest.raises(KeyboardInterrupt), systems.beside(works.store, jobs=1) as debian:
        debian.begin([plan(BASE)], works.debs)
        waiting += debian.layers.values()
        while not started.exists():
            pass
        raise KeyboardInterrupt
    with pytest.raises(HelioError, match="cannot make the Debian root file system"):
        waiting[0].result(LONG_S)

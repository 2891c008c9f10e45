"""The layers of files and of a difference: owners, modes, what is gone; nothing of it out of the home."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile

import pytest

from helioimages.core.entries import Kind
from helioimages.core.errors import HelioError
from helioimages.extend import covered, layers
from helioimages.machine.store import Store
from helioimages.make.plan import bucket_of
from helioimages.oci.layer import read_layer
from helioimages.pypi.pyc import Interpreter


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def rows(store, addition):
    return {
        entry.path: (entry.kind.value, oct(entry.mode), entry.uid, entry.gid)
        for entry in read_layer(store.blob(addition.layer.digest))
    }


def test_files_are_in_the_home_and_where_no_volume_hides_them(given, parent, store):
    repository = given.files({"a.ipynb": "{}", "binder/postBuild": "#!/bin/sh\n"})
    addition = layers.of_files(parent, repository, ["binder/postBuild"], store)
    assert rows(store, addition) == {
        "home": ("dir", "0o755", 0, 0),
        "home/jovyan": ("dir", "0o775", 1000, 0),
        "home/jovyan/a.ipynb": ("file", "0o664", 1000, 0),
        "home/jovyan/binder": ("dir", "0o775", 1000, 0),
        "home/jovyan/binder/postBuild": ("file", "0o775", 1000, 0),
        "srv": ("dir", "0o755", 0, 0),
        "srv/repository": ("dir", "0o755", 0, 0),
        "srv/repository/a.ipynb": ("file", "0o644", 0, 0),
        "srv/repository/binder": ("dir", "0o755", 0, 0),
        "srv/repository/binder/postBuild": ("file", "0o755", 0, 0),
    }
    assert layers.of_files(parent, repository, ["binder/postBuild"], store) == addition


def archive(*members: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for member in members:
            member.uid = 1000
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    stream.seek(0)
    return stream


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o600
    return info


def test_a_difference_has_what_changed_and_takes_away_what_is_gone(store):
    tar = archive(
        member("jovyan", tarfile.DIRTYPE),
        member("jovyan/old", size=3),
        member("jovyan/kept", tarfile.DIRTYPE),
        member("jovyan/kept/new", size=2),
        member("jovyan/kept/hard", tarfile.LNKTYPE, "jovyan/old"),
        member("jovyan/kept/soft", tarfile.SYMTYPE, "new"),
        member("jovyan/kept/pipe", tarfile.FIFOTYPE),
    )
    changed = {
        "/home": 0,
        "/home/jovyan": 0,
        "/home/jovyan/kept/new": 1,
        "/home/jovyan/kept/hard": 1,
        "/home/jovyan/kept/soft": 1,
        "/home/jovyan/kept/pipe": 1,
        "/home/jovyan/gone": 2,
        "/tmp/x": 1,
        "/opt": 0,
        "/opt/left": 1,
    }
    difference = layers.ContainerDifference(home="/home/jovyan", tar=tar, changed=changed)
    addition = layers.of_difference(difference, store)
    assert rows(store, addition) == {
        "home": ("dir", "0o755", 0, 0),
        "home/jovyan": ("dir", "0o755", 1000, 0),
        "home/jovyan/.wh.gone": ("file", "0o644", 0, 0),
        "home/jovyan/kept": ("dir", "0o755", 1000, 0),
        "home/jovyan/kept/hard": ("file", "0o600", 1000, 0),
        "home/jovyan/kept/new": ("file", "0o600", 1000, 0),
        "home/jovyan/kept/soft": ("symlink", "0o777", 1000, 0),
    }
    made = {entry.path: entry for entry in read_layer(store.blob(addition.layer.digest))}
    assert made["home/jovyan/kept/hard"].content.read() == b"xxx"
    assert made["home/jovyan/kept/soft"].kind is Kind.SYMLINK
    assert layers.left_out(difference) == ("/opt/left",)


@pytest.mark.parametrize("changed", [{}, {"/home": 0, "/home/jovyan": 0}, {"/tmp": 0, "/tmp/x": 1}])
def test_nothing_changed_is_no_layer(store, changed):
    difference = layers.ContainerDifference(
        home="/home/jovyan", tar=archive(member("jovyan", tarfile.DIRTYPE)), changed=changed
    )
    assert layers.of_difference(difference, store) is None


@pytest.mark.parametrize("kind", [1, 2])
def test_a_name_that_the_engine_does_not_tell_is_refused(store, kind):
    changed = {"/home/jovyan/caf\ufffd.csv": kind}
    difference = layers.ContainerDifference(home="/home/jovyan", tar=archive(), changed=changed)
    with pytest.raises(HelioError, match=r"made or removed `\S+caf\S\.csv`, whose name is not UTF-8"):
        layers.of_difference(difference, store)


def test_an_image_without_room_says_so(parent, store, monkeypatch, make_wheel):
    path, wheel = make_wheel({"demo/__init__.py": b""})
    monkeypatch.setattr(layers, "MAX_LAYERS", 0)
    with pytest.raises(HelioError, match="has too many layers to be extended"):
        layers.of_packages(parent, layers.Added(wheels=(wheel,), paths={wheel.sha256: path}), store, 1, dict)


@pytest.fixture
def packages(parent, store, make_wheel, monkeypatch):
    """Make the layers of packages that have one file each, by this Python and in this process."""
    python = Interpreter(argv=(sys.executable,), env={}, cache_tag=sys.implementation.cache_tag)
    monkeypatch.setattr(layers, "interpreter", lambda *_: python)
    monkeypatch.setattr(layers.workers, "run", lambda make, tasks, **_: ((task, make(task)) for task in tasks))

    def run(below: covered.Held = {}, path: str = "shared.py", **contents: bytes):  # noqa: B006
        made = [make_wheel({path: data}, name=name) for name, data in contents.items()]
        added = layers.Added(
            wheels=tuple(wheel for _, wheel in made), paths={wheel.sha256: path for path, wheel in made}
        )
        return layers.of_packages(parent, added, store, 1, lambda: below)

    return run


def names(count: int, *, apart: bool) -> list[str]:
    """Return names whose packages share a layer, or have one each."""
    names_by_hash: dict[int, list[str]] = {}
    for name in (f"p{number}" for number in range(100)):
        names_by_hash.setdefault(bucket_of(name, layers._BUCKETS), []).append(name)
    return [row[0] for row in names_by_hash.values()][:count] if apart else next(iter(names_by_hash.values()))[:count]


@pytest.mark.parametrize("apart", [True, False])
def test_packages_that_bring_one_path_are_refused_wherever_they_lie(packages, apart):
    first, other = names(2, apart=apart)
    with pytest.raises(HelioError) as caught:
        packages(**{first: b"x = 1\n", other: b"x = 2\n"})
    path = "srv/conda/envs/notebook/lib/python3.13/site-packages/shared.py"
    assert caught.value.message in (
        f"`{first}-1.0` and `{other}-1.0` both bring {path}",
        f"`{other}-1.0` and `{first}-1.0` both bring {path}",
    )
    assert caught.value.hint.startswith("leave one of them out")


SITE = "srv/conda/envs/notebook/lib/python3.13/site-packages"


@pytest.mark.parametrize(
    ("below", "path", "message"),
    [
        ("shared.py", "shared.py", "`p1-1.0` brings {site}/shared.py, which `numpy 2.4.6` of the image has with other"),
        ("shared", "shared/a.py", "`p1-1.0` brings {site}/shared/a.py, but {site}/shared of `numpy 2.4.6` is a file"),
        ("shared/a.py", "shared", "`p1-1.0` brings {site}/shared, which is a folder in the image"),
    ],
)
def test_a_new_package_lies_over_no_file_of_the_image(packages, below, path, message):
    held = {f"{SITE}/{below}": ("numpy 2.4.6", hashlib.sha256(b"x = 1\n").hexdigest())}
    # The second run finds the layer in the store: it is refused all the same.
    for _ in range(2):
        with pytest.raises(HelioError) as caught:
            packages(held, path, p1=b"x = 2\n")
        assert caught.value.message.startswith(message.format(site=SITE))
        assert caught.value.hint.startswith("leave it out")


def test_equal_bytes_and_what_is_compiled_of_them_are_no_clash(packages):
    held = {
        f"{SITE}/shared.py": ("numpy 2.4.6", hashlib.sha256(b"x = 1\n").hexdigest()),
        f"{SITE}/__pycache__/shared.{sys.implementation.cache_tag}.pyc": ("numpy 2.4.6", "0" * 64),
        f"{SITE}/shared_other.py": ("numpy 2.4.6", ""),
    }
    assert len(packages(held, p1=b"x = 1\n")) == 1


@pytest.mark.parametrize(("apart", "count"), [(True, 2), (False, 1)])
def test_equal_files_of_two_packages_are_one(packages, apart, count):
    first, other = names(2, apart=apart)
    assert len(packages(**{first: b"x = 1\n", other: b"x = 1\n"})) == count

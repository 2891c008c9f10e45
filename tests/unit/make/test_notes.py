"""What is told of a layer without its bytes."""

from __future__ import annotations

import json

import pytest
from building_support import APT, debian_files

from helioimages.core.entries import Entry, Kind, directory, file, merge, symlink
from helioimages.core.errors import HelioError
from helioimages.machine.store import Store
from helioimages.make import linking, notes

HOME = "srv/conda/envs/notebook"
LATIN = b"Copyright \xa9 someone\n"


def entries_of_debian() -> tuple[Entry, ...]:
    files = {**debian_files((APT,)), "usr/share/doc/old/copyright": LATIN, "usr/share/doc/old/readme": b"r"}
    return merge(
        [
            *(file(path, text, origin="debian") for path, text in files.items()),
            directory("home/jovyan", mode=0o775, uid=1000, gid=1001),
            symlink("usr/share/F\u0151tan\udcff", "a b"),
        ]
    )


def test_notes_are_written_with_the_layer_and_come_out_of_its_blob(tmp_path):
    """A store of an earlier version has none; those of both ways are equal."""
    store, every = Store(tmp_path), entries_of_debian()
    layer = linking.write(store, "k", every)
    written = store.cached(notes.NOTES, "k").read_bytes()
    assert notes.of_layer(store, "k", store.blob(layer.digest)) == written
    store.cached(notes.NOTES, "k").unlink()
    assert notes.of_layer(store, "k", store.blob(layer.digest)) == written
    assert store.cached(notes.NOTES, "k").read_bytes() == written
    told = notes.parse(written)
    assert told.files == {
        "usr/share/doc/apt/copyright": debian_files((APT,))["usr/share/doc/apt/copyright"],
        "usr/share/doc/old/copyright": LATIN,
        "var/lib/dpkg/info/apt:amd64.list": debian_files((APT,))["var/lib/dpkg/info/apt:amd64.list"],
    }
    assert ("home/jovyan", 0o775, 1000, 1001) in told.shape
    assert ("usr/share/F\u0151tan\udcff", "a b") in told.shape
    assert len(told.shape) == sum(entry.kind in (Kind.DIR, Kind.SYMLINK) for entry in every)


def test_of_packages_the_lists_of_files_say_where_folders_are(tmp_path):
    every = merge([file(f"{HOME}/conda-meta/zlib-1-0.json", b"{}"), file(f"{HOME}/lib/x/METADATA", b"no package's")])
    store = Store(tmp_path)
    linking.write(store, "k", every)
    assert json.loads(store.cached(notes.NOTES, "k").read_bytes()) == {
        "files": {f"{HOME}/conda-meta/zlib-1-0.json": "{}"},
        "shape": [],
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"files":{}}',
        b'{"files":[],"shape":[]}',
        b'{"files":{"a":1},"shape":[]}',
        '{"files":{"a":"\u0151"},"shape":[]}'.encode(),
        b'{"files":{},"shape":[["a"]]}',
        b'{"files":{},"shape":[["a",1]]}',
        b'{"files":{},"shape":[["a",1,2,"3"]]}',
        b'{"files":{},"shape":["ab"]}',
        b'{"files":{},"shape":3}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_notes(data):
    with pytest.raises(HelioError):
        notes.parse(data)

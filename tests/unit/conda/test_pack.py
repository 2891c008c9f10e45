"""pack.py: equal input gives equal bytes, and rattler reads what we write."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import pytest
import rattler

from helioimages import entries
from helioimages.conda.archive import read_index, write_conda, write_repodata
from helioimages.entries import Entry, Kind
from helioimages.errors import HelioError

PLACEHOLDER = "/placeholder_" + "x" * 242
INDEX = {
    "name": "hello",
    "version": "1.0",
    "build": "h0_0",
    "build_number": 0,
    "subdir": "linux-64",
    "depends": ["libz >=1"],
    "license": "MIT",
    "timestamp": 1700000000000,
}
NAME = "hello-1.0-h0_0.conda"
FILES = (
    entries.file("bin/hello", f"#!{PLACEHOLDER}/bin/sh\n".encode(), mode=0o4755, uid=1000),
    entries.file("lib/libhello.so.1", b"\x7fELF\0" + PLACEHOLDER.encode() + b"/lib\0\0"),
    entries.symlink("lib/libhello.so", "libhello.so.1"),
    Entry(path="bin/bonjour", kind=Kind.HARDLINK, mode=0o755, target="bin/hello"),
    entries.directory("lib"),
)


def test_same_bytes_whatever_the_order(tmp_path: Path) -> None:
    old = os.umask(0o077)
    first = write_conda(tmp_path / "a" / NAME, index=INDEX, entries=FILES, prefix_placeholder=PLACEHOLDER)
    os.umask(old)
    shuffled = list(FILES)
    random.Random(1).shuffle(shuffled)
    second = write_conda(
        tmp_path / "b" / NAME,
        index=dict(reversed(INDEX.items())),
        entries=iter(shuffled),
        prefix_placeholder=PLACEHOLDER,
        has_prefix={"bin/hello": "text", "lib/libhello.so.1": "binary", "bin/bonjour": "text"},
    )
    assert first == second == hashlib.sha256((tmp_path / "a" / NAME).read_bytes()).hexdigest()
    assert (tmp_path / "a" / NAME).read_bytes() == (tmp_path / "b" / NAME).read_bytes()
    assert os.listdir(tmp_path / "a") == [NAME]


def test_rattler_reads_it(tmp_path: Path) -> None:
    out = tmp_path / NAME
    write_conda(out, index=INDEX, entries=FILES, prefix_placeholder=PLACEHOLDER, about={"summary": "hi"})
    paths = {str(p.relative_path): p for p in rattler.PathsJson.from_package_archive(str(out)).paths}
    assert sorted(paths) == ["bin/bonjour", "bin/hello", "lib/libhello.so", "lib/libhello.so.1"]
    assert paths["bin/hello"].prefix_placeholder.placeholder == PLACEHOLDER
    assert paths["bin/hello"].prefix_placeholder.file_mode.text
    assert paths["lib/libhello.so.1"].prefix_placeholder.file_mode.binary
    assert paths["lib/libhello.so"].path_type.softlink
    assert read_index(out) == INDEX


def test_repodata_is_what_rattler_wants(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    sha256 = write_conda(channel / "linux-64" / NAME, index=INDEX, entries=FILES, prefix_placeholder=PLACEHOLDER)
    write_repodata(channel, ["linux-64"])
    first = (channel / "linux-64" / "repodata.json").read_bytes()
    write_repodata(channel, ["linux-64"])
    assert (channel / "linux-64" / "repodata.json").read_bytes() == first
    content = (channel / "linux-64" / NAME).read_bytes()
    assert json.loads(first)["packages.conda"] == {
        NAME: INDEX | {"sha256": sha256, "md5": hashlib.md5(content).hexdigest(), "size": len(content)}
    }
    repodata = rattler.RepoData.from_path(channel / "linux-64" / "repodata.json")
    records = repodata.into_repo_data(rattler.Channel(channel.as_uri()))
    assert [(r.name.source, str(r.version), r.sha256.hex()) for r in records] == [("hello", "1.0", sha256)]
    assert json.loads((channel / "noarch" / "repodata.json").read_bytes())["info"] == {"subdir": "noarch"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"index": INDEX | {"version": "2"}}, "its name should be hello-2-h0_0.conda, as its index says"),
        ({"index": {k: v for k, v in INDEX.items() if k != "depends"}}, "index has no list `depends`"),
        ({"has_prefix": {}}, "bin/hello holds the placeholder, but has_prefix does not name it"),
        ({"has_prefix": {"bin/no": "text"}}, "has_prefix names bin/no, which is not among the entries"),
        ({"noarch": "python"}, "noarch is 'python' but the index says None"),
        ({"entry_points": ["a = b:c"]}, "only noarch python packages have entry points"),
        ({"entries": (*FILES, entries.file("lib/libhello.so", b""))}, "lib/libhello.so is given twice"),
        ({"entries": (entries.directory("a/b"),)}, "the folder a/b is empty, and a conda package holds only files"),
        ({"entries": (entries.file("info/x", b""),)}, "info/x would be taken for the package's metadata"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, change: dict, what: str) -> None:
    arguments = {"index": INDEX, "entries": FILES, "prefix_placeholder": PLACEHOLDER} | change
    with pytest.raises(HelioError) as caught:
        write_conda(tmp_path / NAME, **arguments)
    assert caught.value.message == f"cannot write the conda package `{NAME}`: {what}"
    assert list(tmp_path.iterdir()) == []

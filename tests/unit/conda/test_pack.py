"""pack.py: equal input gives equal bytes, and rattler reads what we write."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from helioimages.conda.archive import read_index, write_conda, write_repodata
from helioimages.core import entries
from helioimages.core.entries import Entry, Kind
from helioimages.core.errors import HelioError

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
    )
    assert first == second == hashlib.sha256((tmp_path / "a" / NAME).read_bytes()).hexdigest()
    assert (tmp_path / "a" / NAME).read_bytes() == (tmp_path / "b" / NAME).read_bytes()
    assert os.listdir(tmp_path / "a") == [NAME]


# In a process of its own: py-rattler 0.28 now and then crashes while its interpreter shuts down.
READ = """
import json, os, sys
from pathlib import Path
import rattler

channel, name = sys.argv[1:]
paths = {}
for path in rattler.PathsJson.from_package_archive(str(Path(channel, "linux-64", name))).paths:
    found = path.prefix_placeholder
    mode = found and ("text" if found.file_mode.text else "binary")
    paths[str(path.relative_path)] = [path.path_type.softlink, found and found.placeholder, mode]
repodata = rattler.RepoData.from_path(Path(channel, "linux-64", "repodata.json"))
records = repodata.into_repo_data(rattler.Channel(Path(channel).as_uri()))
print(json.dumps([paths, [[r.name.source, str(r.version), r.sha256.hex(), r.size] for r in records]]))
sys.stdout.flush()
os._exit(0)
"""


def test_rattler_reads_it(tmp_path: Path) -> None:
    out = tmp_path / "linux-64" / NAME
    sha256 = write_conda(out, index=INDEX, entries=FILES, prefix_placeholder=PLACEHOLDER, about={"summary": "hi"})
    write_repodata(tmp_path, ["linux-64"])
    command = [sys.executable, "-c", READ, str(tmp_path), NAME]
    paths, records = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert paths == {
        "bin/bonjour": [False, PLACEHOLDER, "text"],
        "bin/hello": [False, PLACEHOLDER, "text"],
        "lib/libhello.so": [True, None, None],
        "lib/libhello.so.1": [False, PLACEHOLDER, "binary"],
    }
    assert records == [["hello", "1.0", sha256, out.stat().st_size]]
    assert read_index(out) == INDEX


def test_repodata(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    sha256 = write_conda(channel / "linux-64" / NAME, index=INDEX, entries=FILES, prefix_placeholder=PLACEHOLDER)
    write_repodata(channel, ["linux-64"])
    first = (channel / "linux-64" / "repodata.json").read_bytes()
    write_repodata(channel, ["linux-64"])
    assert (channel / "linux-64" / "repodata.json").read_bytes() == first
    content = (channel / "linux-64" / NAME).read_bytes()
    assert json.loads(first) == {
        "info": {"subdir": "linux-64"},
        "packages": {},
        "packages.conda": {
            NAME: INDEX | {"sha256": sha256, "md5": hashlib.md5(content).hexdigest(), "size": len(content)}
        },
        "removed": [],
        "repodata_version": 1,
    }
    assert json.loads((channel / "noarch" / "repodata.json").read_bytes())["info"] == {"subdir": "noarch"}
    (channel / "linux-64" / NAME).rename(channel / "linux-64" / "hello-9-h0_0.conda")
    with pytest.raises(HelioError) as caught:
        write_repodata(channel, ["linux-64"])
    assert caught.value.message == (
        "cannot write the conda package `hello-9-h0_0.conda`: its name does not fit its index"
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"index": INDEX | {"version": "2"}}, "its name should be hello-2-h0_0.conda, as its index says"),
        ({"index": {k: v for k, v in INDEX.items() if k != "depends"}}, "index has no list `depends`"),
        ({"index": INDEX | {"noarch": "python"}}, "subdir linux-64 does not fit noarch 'python'"),
        ({"index": INDEX | {"noarch": "yes"}}, "noarch is 'yes', expected python or generic"),
        ({"entries": (*FILES, entries.file("lib/libhello.so", b""))}, "lib/libhello.so is given twice"),
        (
            {"entries": (Entry(path="bin/x", kind=Kind.HARDLINK, target="bin/y"),)},
            "bin/x is a hard link to bin/y, which is not a file of the package",
        ),
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

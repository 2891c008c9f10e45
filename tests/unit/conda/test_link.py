"""link.py and read.py: what becomes of a package's files (the oracle in tests/integration has every case)."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import random
import threading
from pathlib import Path

import pytest
from conda_support import conda_package

from helioimages.conda.archive import read_archive, write_conda
from helioimages.conda.link import Prefix, link
from helioimages.conda.lock import CondaPackage
from helioimages.conda.scripts import SCRIPT_HINT
from helioimages.core import entries
from helioimages.core.entries import Entry, Kind, merge
from helioimages.core.errors import HelioError, Stage

PLACEHOLDER = "/placeholder_" + "x" * 242
PREFIX = "srv/conda/envs/notebook"
FILES = (
    entries.file("bin/tool", f"#!{PLACEHOLDER}/bin/sh\n".encode(), mode=0o775),
    entries.file("lib/libtool.so", b"\0" + PLACEHOLDER.encode() + b"/lib\0"),
    entries.symlink("lib/libtool.so.1", "libtool.so"),
    Entry(path="bin/other", kind=Kind.HARDLINK, target="bin/tool"),
    entries.file("share/data", bytes(range(256)) * 10_000, mode=0o600),
)


def _make(folder: Path, files: tuple[Entry, ...] = FILES, *, noarch: str | None = None) -> tuple[Path, CondaPackage]:
    subdir = "noarch" if noarch else "linux-64"
    index = {"name": "tool", "version": "1.0", "build": "h0_0", "build_number": 0, "subdir": subdir, "depends": ["a"]}
    index |= {"license": "MIT"} | ({"noarch": noarch} if noarch else {})
    path = folder / "tool-1.0-h0_0.conda"
    sha256 = write_conda(path, index=index, entries=files, prefix_placeholder=PLACEHOLDER)
    package = conda_package("tool", subdir=subdir, sha256=sha256, size=path.stat().st_size, depends=("b >=1",))
    # The store names files by digest.
    named = folder / sha256
    os.rename(path, named)
    return named, package


def test_entries(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    entries = link(path, package, Prefix(python_version=None, platform="linux-64"))
    assert [(e.path.removeprefix(PREFIX + "/"), e.kind, e.mode, e.target) for e in entries] == [
        ("bin/other", Kind.HARDLINK, 0o755, f"{PREFIX}/bin/tool"),
        ("bin/tool", Kind.FILE, 0o755, ""),
        ("conda-meta/tool-1.0-h0_0.json", Kind.FILE, 0o644, ""),
        ("lib/libtool.so", Kind.FILE, 0o644, ""),
        ("lib/libtool.so.1", Kind.SYMLINK, 0o777, "libtool.so"),
        ("share/data", Kind.FILE, 0o644, ""),
    ]
    assert {(e.uid, e.gid, e.origin) for e in entries} == {(0, 0, "tool-1.0")}
    assert entries[1].content.read() == f"#!/{PREFIX}/bin/sh\n".encode()
    assert entries[3].content.size == len(entries[3].content.read()) == 1 + len(PLACEHOLDER) + 5
    assert merge(entries)


def test_another_prefix(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    entries = link(path, package, Prefix(path="/opt/env", python_version=None, platform="linux-64"))
    assert entries[1].path == "opt/env/bin/tool"
    assert entries[1].content.read() == b"#!/opt/env/bin/sh\n"


def test_record(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    [entry] = [
        entry
        for entry in link(path, package, Prefix(python_version=None, platform="linux-64"), requested_specs=["tool >=1"])
        if "/conda-meta/" in entry.path
    ]
    record = json.loads(entry.content.read())
    [tool] = [item for item in record["paths_data"]["paths"] if item["_path"] == "bin/tool"]
    original = f"#!{PLACEHOLDER}/bin/sh\n".encode()
    linked = f"#!/{PREFIX}/bin/sh\n".encode()
    assert tool == {
        "_path": "bin/tool",
        "path_type": "hardlink",
        "size_in_bytes": len(linked),
        "sha256": hashlib.sha256(original).hexdigest(),
        "sha256_in_prefix": hashlib.sha256(linked).hexdigest(),
        "file_mode": "text",
        "prefix_placeholder": PLACEHOLDER,
    }
    del record["paths_data"]
    assert record == {
        "name": "tool",
        "version": "1.0",
        "build": "h0_0",
        "build_number": 0,
        "subdir": "linux-64",
        "license": "MIT",
        "depends": ["b >=1"],
        "md5": "0" * 32,
        "sha256": package.sha256,
        "size": package.size,
        "fn": "tool-1.0-h0_0.conda",
        "url": "file:///local/linux-64/tool-1.0-h0_0.conda",
        "channel": "file:///local/",
        "requested_spec": "tool >=1",
        "requested_specs": ["tool >=1"],
        "files": ["bin/other", "bin/tool", "lib/libtool.so", "lib/libtool.so.1", "share/data"],
    }


def test_the_same_whatever_surrounds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, package = _make(tmp_path)

    def facts() -> list[tuple[object, ...]]:
        entries = link(path, package, Prefix(python_version=None, platform="linux-64"))
        return [(e.path, e.kind, e.mode, e.target, e.content and e.content.read()) for e in entries]

    first = facts()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    old = os.umask(0o077)
    assert facts() == first
    os.umask(old)


def test_contents_are_read_by_threads_and_let_go(tmp_path: Path) -> None:
    big = tuple(entries.file(f"d/{n}", random.Random(n).randbytes(300_000)) for n in range(20))
    path, package = _make(tmp_path, big)
    gc.collect()  # what other tests left
    before = len(os.listdir("/proc/self/fd"))
    linked = [e for e in link(path, package, Prefix(python_version=None, platform="linux-64")) if "/d/" in e.path]
    wrong: list[str] = []

    def check(entry: Entry) -> None:
        for _ in range(5):
            number = int(entry.path.rpartition("/")[2])
            if entry.content.read() != random.Random(number).randbytes(300_000):
                wrong.append(entry.path)

    threads = [threading.Thread(target=check, args=(entry,)) for entry in linked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (wrong, len(linked)) == ([], 20)
    del linked, threads
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_read_archive_needs_no_name(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    archive = read_archive(path, package.file_name)
    assert (archive.name, archive.index["name"], archive.noarch, archive.entry_points) == (
        "tool-1.0-h0_0.conda",
        "tool",
        None,
        (),
    )
    assert [member.listed.path for member in archive.members][:2] == ["bin/other", "bin/tool"]


def test_noarch_python_without_python(tmp_path: Path) -> None:
    path, package = _make(tmp_path, (entries.file("site-packages/a.py", b""),), noarch="python")
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(python_version=None, platform="linux-64"))
    assert str(caught.value) == (
        "`tool-1.0-h0_0.conda` is a noarch python package, but the environment has no python\n"
        "  in tool-1.0-h0_0.conda\n"
        "\n"
        "hint: add python to the conda section of environment.yml"
    )


@pytest.mark.parametrize("kind", ["pre-link", "post-link"])
def test_scripts_are_refused(tmp_path: Path, kind: str) -> None:
    path, package = _make(tmp_path, (entries.file(f"bin/.tool-{kind}.sh", b"rm -rf /", mode=0o755),))
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(python_version=None, platform="linux-64"))
    assert caught.value.stage is Stage.LINK
    assert str(caught.value) == (
        f"`tool-1.0-h0_0.conda` has a {kind} script, which would have to run at installation\n"
        f"  in tool-1.0-h0_0.conda at bin/.tool-{kind}.sh\n"
        f"\nhint: {SCRIPT_HINT}"
    )


def test_a_prefix_longer_than_the_placeholder(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(path="/" + "p" * 255, python_version=None, platform="linux-64"))
    assert str(caught.value) == (
        "the prefix does not fit into `tool-1.0-h0_0.conda`\n"
        "  in tool-1.0-h0_0.conda at lib/libtool.so\n"
        f"  /{'p' * 255} has 256 bytes, the placeholder 255\n"
        "\n"
        "hint: choose a shorter prefix, or a build of the package with a longer placeholder"
    )


@pytest.mark.parametrize("prefix", ["srv/conda", "/opt/my env", "", "/opt/\n"])
def test_not_a_prefix(tmp_path: Path, prefix: str) -> None:
    path, package = _make(tmp_path)
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(path=prefix, python_version=None, platform="linux-64"))
    assert str(caught.value) == (
        f"`{prefix}` cannot be a prefix\n"
        "  expected an absolute path without white space\n"
        "\n"
        "hint: use /srv/conda/envs/notebook"
    )


def test_another_package_than_the_locked_one(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    with pytest.raises(HelioError) as caught:
        link(path, dataclasses.replace(package, version="1.1"), Prefix(python_version=None, platform="linux-64"))
    assert (caught.value.message, caught.value.detail) == (
        "the conda package `tool-1.0-h0_0.conda` is malformed: its version is not the locked one",
        "expected 1.1 not 1.0",
    )


def test_another_platform(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(python_version=None, platform="linux-aarch64"))
    assert str(caught.value) == (
        "the conda package `tool-1.0-h0_0.conda` is for another platform\n"
        "  expected linux-aarch64 or noarch not linux-64\n"
        "\n"
        "hint: run `buildimages lock`"
    )


def test_two_files_become_one(tmp_path: Path) -> None:
    files = (entries.file("python-scripts/run", b""), entries.file("bin/run", b""))
    path, package = _make(tmp_path, files, noarch="python")
    with pytest.raises(HelioError) as caught:
        link(path, package, Prefix(python_version="3.13", platform="linux-64"))
    assert caught.value.message == (
        "the conda package `tool-1.0-h0_0.conda` is malformed: two of its files become srv/conda/envs/notebook/bin/run"
    )


def test_packages_that_clash(tmp_path: Path) -> None:
    path, package = _make(tmp_path)
    ours = link(path, package, Prefix(python_version=None, platform="linux-64"))
    other = entries.file(f"{PREFIX}/bin/tool", b"", origin="other-2")
    with pytest.raises(HelioError) as caught:
        merge((*ours, other))
    assert caught.value.message == f"`tool-1.0` and `other-2` both bring {PREFIX}/bin/tool"


@pytest.mark.parametrize(("key", "other"), [("name", "tools"), ("build", "h1_0")])
def test_another_name_or_build_than_the_locked_one(tmp_path: Path, key: str, other: str) -> None:
    path, package = _make(tmp_path)
    with pytest.raises(HelioError) as caught:
        link(path, dataclasses.replace(package, **{key: other}), Prefix(python_version=None, platform="linux-64"))
    assert caught.value.message == (
        f"the conda package `tool-1.0-h0_0.conda` is malformed: its {key} is not the locked one"
    )

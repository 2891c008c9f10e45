"""captured.py: what a post-link script wrote survives being kept, and is linked with its package."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from conda_support import locked_package, package_files, write_package

from helioimages.conda.captured import Captured, applied, dump, parse
from helioimages.conda.link import Prefix, link
from helioimages.conda.lock import CondaPackage
from helioimages.core import entries
from helioimages.core.entries import Entry, merge
from helioimages.core.errors import HelioError

PREFIX = "/srv/conda/envs/notebook"
LEFT = Captured(
    written=(
        entries.directory("empty", origin="tool-1.0"),
        entries.symlink("link", "share/new", origin="tool-1.0"),
        entries.file("share/new", b"new\n\0", mode=0o755, origin="tool-1.0"),
        entries.file("share/own", b"another", origin="tool-1.0"),
        entries.file("share/was-link", b"now a file", origin="tool-1.0"),
        entries.symlink("share/was-file", "elsewhere", origin="tool-1.0"),
    ),
    removed=("share/gone",),
)


def linked(channel: Path) -> tuple[CondaPackage, tuple[Entry, ...]]:
    files = {f"share/{name}": (name.encode(), 0o644) for name in ("own", "gone", "kept", "was-file")}
    write_package(channel, "tool", {**files, "share/was-link": ("-> own", 0o777)})
    (channel / "noarch").mkdir()
    [path] = package_files(channel, "linux-64")
    package = locked_package(path, "linux-64")
    return package, link(path, package, Prefix(python_version=None, platform="linux-64"))


def read(entries: tuple[Entry, ...]) -> list[tuple[str, str, int, bytes | str, str]]:
    return [(e.path, e.kind.value, e.mode, e.content.read() if e.content else e.target, e.origin) for e in entries]


def test_round_trip() -> None:
    data = dump(LEFT)
    again = parse(data, "tool-1.0")
    assert (read(again.written), again.removed) == (read(LEFT.written), LEFT.removed)
    assert dump(again) == data


def test_what_was_written_lies_over_the_package(tmp_path: Path) -> None:
    package, before = linked(tmp_path)
    rows = {
        path.removeprefix(f"{PREFIX[1:]}/"): row for path, *row in read(merge(applied(before, LEFT, package, PREFIX)))
    }
    assert rows["share/own"] == ["file", 0o644, b"another", "tool-1.0"]
    assert rows["share/new"] == ["file", 0o755, b"new\n\0", "tool-1.0"]
    assert rows["share/was-link"] == ["file", 0o644, b"now a file", "tool-1.0"]
    assert rows["share/was-file"] == ["symlink", 0o777, "elsewhere", "tool-1.0"]
    assert rows["link"] == ["symlink", 0o777, "share/new", "tool-1.0"]
    assert rows["empty"][0] == "dir" and rows["share/kept"][2] == b"kept" and "share/gone" not in rows
    record = json.loads(rows["conda-meta/tool-1.0-h0_0.json"][2])
    told = {item["_path"]: item for item in record["paths_data"]["paths"]}
    # Files of its own that are others now are no more the package's, and new ones never were: as with conda.
    assert told.keys() == {"share/own", "share/kept"}
    assert told["share/own"]["sha256_in_prefix"] == hashlib.sha256(b"another").hexdigest()
    assert record["files"] == ["share/kept", "share/own"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        dump(LEFT)[:-1],
        dump(LEFT) + b"x",
        dump(LEFT).replace(b'"version": 1', b'"version": 2'),
        dump(LEFT).replace(b'"share/own"', b'"../other"'),
        dump(LEFT).replace(b'"share/gone"', b'"/etc/gone"'),
        dump(LEFT).replace(b'"symlink"', b'"hardlink"'),
        dump(LEFT).replace(b'"file", 493, 5', b'"file", 493, -5'),
        dump(LEFT).replace(b'"file", 493, 5', b'"dir", 493, 5'),
        dump(LEFT).replace(b"493", b"2541"),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(HelioError) as caught:
        parse(data, "tool-1.0")
    assert "`tool-1.0`" in caught.value.message


def test_order_and_origin_do_not_change_the_bytes() -> None:
    other = dataclasses.replace(LEFT, written=tuple(dataclasses.replace(e, origin="") for e in LEFT.written))
    assert dump(other) == dump(LEFT)

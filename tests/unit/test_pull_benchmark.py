"""benchmarks/pull.py: the one layer that its peer has holds the image's files as they are in the image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from helioimages.core.entries import Entry, Kind, file, merge
from helioimages.oci.layer import write_layer

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import pull


def layers(folder: Path, *contents: Sequence[Entry]) -> list[Path]:
    paths = []
    for number, entries in enumerate(contents):
        paths.append(folder / str(number))
        with open(paths[-1], "wb") as out:
            write_layer(merge(entries), out)
    return paths


def link(path: str, target: str) -> Entry:
    return Entry(path=path, kind=Kind.HARDLINK, mode=0o644, target=target, origin="x")


def test_each_file_is_the_uppermost_layers(tmp_path):
    lower = (file("etc/passwd", b"old"), file("usr/a", b"a"), link("usr/b", "usr/a"))
    upper = (file("etc/passwd", b"new"), file("srv/x", b"x"))
    flat = {entry.path: entry for entry in pull.flattened(layers(tmp_path, lower, upper))}
    assert {path: entry.content.read() for path, entry in flat.items() if entry.content} == {
        "etc/passwd": b"new",
        "srv/x": b"x",
        "usr/a": b"a",
    }
    assert flat["usr/b"].target == "usr/a"


def test_a_link_whose_file_was_replaced_is_refused(tmp_path):
    lower, upper = (file("usr/a", b"a"), link("usr/b", "usr/a")), (file("usr/a", b"other"),)
    with pytest.raises(SystemExit, match="usr/b is a link to a file that another layer replaces"):
        list(pull.flattened(layers(tmp_path, lower, upper)))

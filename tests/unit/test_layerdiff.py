"""What differs between two layers, to the byte."""

from __future__ import annotations

import dataclasses

import pytest

from helioimages import entries
from helioimages.errors import HelioError
from helioimages.layerdiff import compare
from helioimages.oci.layer import write_layer

PLAIN = (entries.directory("srv"), entries.file("srv/a", b"0123456789"), entries.symlink("srv/b", "a"))


def layer(folder, name, found):
    with open(folder / name, "w+b") as file:
        write_layer(found, file)
    return folder / name


@pytest.mark.parametrize(
    ("index", "change", "line"),
    [
        (1, {"mode": 0o755}, "srv/a (of demo-1.0): mode: expected 0644 not 0755"),
        (1, {"uid": 7}, "srv/a (of demo-1.0): uid: expected none not 7"),
        (2, {"target": "c"}, "srv/b: target: expected a not c"),
        (
            1,
            {"content": entries.Content.of(b"01234X6789")},
            "srv/a (of demo-1.0): content: byte 5: expected 3536373839 not 5836373839",
        ),
        (1, {"path": "srv/z"}, "srv/a (of demo-1.0): expected, and missing"),
    ],
)
def test_one_change_is_named(tmp_path, index, change, line):
    other = list(PLAIN)
    other[index] = dataclasses.replace(other[index], **change)
    ours, theirs = layer(tmp_path, "ours", PLAIN), layer(tmp_path, "theirs", other)
    assert str(compare(ours, theirs, {"srv/a": "demo-1.0"})[0]) == line
    assert compare(ours, ours, {}) == ()


def test_what_is_no_layer(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 600)
    with pytest.raises(HelioError) as caught:
        compare(layer(tmp_path, "ours", PLAIN), tmp_path / "x", {})
    assert caught.value.message == "cannot read the layer x"

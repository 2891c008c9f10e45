"""What differs between two layers, to the byte."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from pathlib import Path

import pytest

from helioimages.core import entries
from helioimages.core.errors import HelioError
from helioimages.oci.layer import write_layer
from helioimages.prove.layerdiff import compare

PLAIN = (entries.directory("srv"), entries.file("srv/a", b"0123456789"), entries.symlink("srv/b", "a"))


def layer(folder, name, members):
    with open(folder / name, "w+b") as file:
        write_layer(members, file)
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


@pytest.mark.parametrize("data", [b"x" * 600, b"\x1f\x8b\x08" + bytes(7) + b"\x06" * 600], ids=["no tar", "no deflate"])
def test_what_is_no_layer(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(HelioError) as caught:
        compare(layer(tmp_path, "ours", PLAIN), tmp_path / "x", {})
    assert caught.value.message == "cannot read the layer x"


def added(folder, name: str, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(folder / name, "w") as tar:
        for entry in members:
            tar.addfile(entry, io.BytesIO(entry.name[-1:].encode() * entry.size))
    return folder / name


def member(name: str, **values) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in ({"size": 3} | values).items():
        setattr(made, key, value)
    return made


def lines(ours: Path, theirs: Path) -> list[str]:
    return [str(difference) for difference in compare(ours, theirs, {})]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"mtime": 5}, "a: mtime: expected none not 5"),
        ({"uname": "root"}, "a: uname: expected none not root"),
        ({"gname": "root"}, "a: gname: expected none not root"),
        ({"gid": 100}, "a: gid: expected none not 100"),
        ({"pax_headers": {"SCHILY.xattr.user.x": "y"}}, "a: headers: expected none not SCHILY.xattr.user.x=y"),
        ({"type": tarfile.SYMTYPE, "size": 0, "linkname": "b"}, "a: expected a file not a symlink"),
        ({"type": tarfile.FIFOTYPE, "size": 0}, "a: expected a file not a entry of type b'6'"),
    ],
)
def test_every_field_of_a_header_counts(tmp_path, values, line):
    assert lines(added(tmp_path, "ours", member("a")), added(tmp_path, "theirs", member("a", **values))) == [line]


def test_what_was_added_is_named(tmp_path):
    ours, theirs = added(tmp_path, "ours", member("b")), added(tmp_path, "theirs", member("a"), member("b"))
    assert lines(ours, theirs) == ["a: not expected"]
    assert lines(theirs, ours) == ["a: expected, and missing"]


def test_another_order_is_named(tmp_path):
    ours = added(tmp_path, "ours", member("a"), member("b"), member("c"))
    theirs = added(tmp_path, "theirs", member("a"), member("c"), member("b"))
    assert lines(ours, theirs) == ["b: the order of the entries differs"]


def test_a_path_that_comes_twice_is_told_apart(tmp_path):
    """An engine takes the last one: a second member behind the right one would win."""
    ours, theirs = added(tmp_path, "ours", member("a")), added(tmp_path, "theirs", member("a"), member("a", size=4))
    assert lines(ours, theirs) == ["a (again): not expected"]
    both = added(tmp_path, "both", member("a"), member("a"))
    assert lines(both, theirs) == [
        "a (again): size: expected 3 not 4",
        "a (again): content: byte 3: expected the end not 61",
    ]


def test_a_content_that_goes_on(tmp_path):
    ours, theirs = added(tmp_path, "ours", member("a", size=2)), added(tmp_path, "theirs", member("a", size=12))
    assert lines(ours, theirs) == [
        "a: size: expected 2 not 12",
        "a: content: byte 2: expected the end not 6161616161616161",
    ]


@pytest.mark.parametrize("at", [0, 4095, 4096, 4090, 9999])
def test_the_first_byte_is_found_wherever_it_is(tmp_path, at):
    data = bytes(10_000)
    other = data[:at] + b"\1" + data[at + 1 :]
    ours, theirs = (
        layer(tmp_path, name, [entries.file("a", content)]) for name, content in (("o", data), ("t", other))
    )
    zeros, ones = data[at : at + 8].hex(), other[at : at + 8].hex()
    assert lines(ours, theirs) == [f"a: content: byte {at:,}: expected {zeros} not {ones}"]


def test_a_content_that_ends_with_a_block(tmp_path):
    data = bytes(8192)
    ours, theirs = (layer(tmp_path, f"{len(content)}", [entries.file("a", content)]) for content in (data[:4096], data))
    assert lines(ours, theirs)[1] == "a: content: byte 4,096: expected the end not 0000000000000000"


def test_layers_are_read_twice_however_much_differs(tmp_path, monkeypatch):
    """Four hundred files that differ took a minute: each was looked for from the layer's beginning."""
    headers = 0
    original = tarfile.TarInfo.fromtarfile

    def counting(tar):
        nonlocal headers
        headers += 1
        return original(tar)

    monkeypatch.setattr(tarfile.TarInfo, "fromtarfile", counting)
    work = []
    for count in (50, 100):
        contents = [[entries.file(f"{n:03}", b"%d" % (n * k)) for n in range(1, count + 1)] for k in (1, 2)]
        ours, theirs = (
            layer(tmp_path, f"{count}-{k}", entries_of_layer) for k, entries_of_layer in enumerate(contents)
        )
        headers = 0
        assert sum("content: byte" in line for line in lines(ours, theirs)) == count
        work.append(headers)
    # Two layers, twice each, and the end of each reading.
    assert work == [4 * (50 + 1), 4 * (100 + 1)]

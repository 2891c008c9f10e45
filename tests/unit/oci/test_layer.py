from __future__ import annotations

import dataclasses
import gzip
import io
import random
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helioimages.core import entries
from helioimages.core.digest import of_bytes
from helioimages.core.entries import LAYER_MTIME, Content, Entry, Kind
from helioimages.core.errors import HelioError
from helioimages.oci import layer
from helioimages.oci.layer import CHUNK, Layer, read_layer, tar_stream, write_layer

LONG = "n" * 99


def facts(entry: Entry) -> tuple:
    data = entry.content.read() if entry.content else None
    return entry.path, entry.kind, entry.mode, entry.uid, entry.gid, entry.target, data


def written(items: tuple[Entry, ...], jobs: int = 1) -> tuple[Layer, bytes]:
    out = io.BytesIO()
    return write_layer(items, out, jobs=jobs), out.getvalue()


def odd_entries() -> tuple[Entry, ...]:
    """Everything that does not fit plain ustar, and its neighbours that just do."""
    return entries.merge(
        [
            entries.file("empty", b""),
            entries.file("block", b"x" * 512),
            entries.file(f"deep/{LONG}/{LONG}/{LONG}/file", b"1"),
            entries.file("n" * 100, b"2"),
            entries.file("n" * 101, b"3"),
            entries.file("p" * 155 + "/" + "n" * 100, b"4"),
            entries.file("p" * 156 + "/" + "n" * 100, b"5"),
            entries.file("é/ü", b"6"),
            entries.file("raw\udcff\udcfe", b"7"),
            entries.file(f"raw/{LONG}\udcff{LONG}", b"8"),
            entries.symlink("link100", "t" * 100),
            entries.symlink("link101", "t" * 101),
            entries.symlink("link-é", "é"),
            entries.symlink("link-raw", "\udcff"),
            Entry(path="hard", kind=Kind.HARDLINK, target="empty"),
            Entry(path="hard-long", kind=Kind.HARDLINK, target=f"deep/{LONG}/{LONG}/{LONG}/file"),
            entries.directory("owned", uid=3_000_000, gid=2_097_151, mode=0o2775),
            *(entries.directory(f"d{length}/" + "d" * length) for length in range(94, 100)),
            entries.file("setuid", b"9", mode=0o4755),
        ]
    )


def test_the_whole_header_of_a_small_file():
    stream = b"".join(tar_stream([entries.file("a/b", b"hi", mode=0o644, uid=1000, gid=100)]))
    assert len(stream) == 512 + 512 + 1024
    header = stream[:512]
    assert header[:100] == b"a/b".ljust(100, b"\0")
    assert header[100:148] == b"0000644\x000001750\x000000144\x0000000000002\x0002263523000\0"
    assert header[148:156] == b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    assert header[156:257] == b"0" + bytes(100)
    assert header[257:345] == b"ustar\x0000" + bytes(64) + b"0000000\x00" * 2
    assert header[345:] == bytes(167)
    assert stream[512:] == b"hi" + bytes(510 + 1024)


def test_python_tarfile_reads_everything_back():
    items = odd_entries()
    _, data = written(items)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)), encoding="utf-8", errors="surrogateescape") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == [item.path for item in items]
        assert {member.mtime for member in members} == {LAYER_MTIME}
        assert {(member.uname, member.gname) for member in members} == {("", "")}
        assert [(m.uid, m.gid, m.mode) for m in members] == [(i.uid, i.gid, i.mode) for i in items]


def test_pax_only_where_ustar_cannot():
    plain = [entries.file("p" * 155 + "/" + "n" * 100, b""), entries.symlink("s", "t" * 100)]
    assert b"PaxHeader" not in b"".join(tar_stream(plain))
    assert "14 path=é/ü\n".encode() in b"".join(tar_stream(entries.merge([entries.file("é/ü", b"")])))


@pytest.mark.parametrize("length", [95, 96, 97, 985, 986, 987, 988])
def test_a_pax_record_counts_its_own_digits(length):
    record = layer._record(b"path", b"v" * length)
    assert int(record.split(b" ")[0]) == len(record)


def test_a_file_of_nine_gigabytes_has_its_size_in_pax():
    huge = Entry(path="huge", kind=Kind.FILE, content=Content(9 << 30, lambda: b""))
    head = next(tar_stream([huge]))
    assert b"19 size=9663676416\n" in head
    info = tarfile.TarFile.open(fileobj=io.BytesIO(head + bytes(1024))).next()
    assert (info.name, info.size) == ("huge", 9 << 30)


def test_gnu_tar_extracts_everything(tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("GNU tar is not installed")
    items = odd_entries()
    (tmp_path / "layer.tar.gz").write_bytes(written(items)[1])
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(
        ["tar", "-xzf", "../layer.tar.gz", "--no-same-owner", "-p"], cwd=out, check=True, capture_output=True
    )
    paths = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert paths == {item.path for item in items}
    for item in items:
        path = out / item.path
        if item.kind is Kind.FILE:
            assert path.read_bytes() == item.content.read()
            assert path.stat().st_mode & 0o777 == item.mode & 0o777
            assert path.stat().st_mtime == LAYER_MTIME
        elif item.kind is Kind.SYMLINK:
            assert str(path.readlink()) == item.target
        elif item.kind is Kind.HARDLINK:
            assert path.samefile(out / item.target)


def test_our_own_reader_gives_back_what_was_written(tmp_path):
    items = odd_entries()
    path = tmp_path / "layer"
    path.write_bytes(written(items)[1])
    assert [facts(entry) for entry in read_layer(path)] == [facts(entry) for entry in items]
    path.write_bytes(b"".join(tar_stream(items)))
    assert [facts(entry) for entry in read_layer(path)] == [facts(entry) for entry in items]


def test_many_members_are_one_file_for_python_and_gunzip(tmp_path):
    noise = random.Random(1).randbytes(2 * CHUNK + 12345)
    items = entries.merge([entries.file("noise", noise), entries.file("zeros", bytes(CHUNK))])
    result, data = written(items, jobs=2)
    assert data.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") >= 4
    assert result == Layer(
        digest=of_bytes(data),
        size=len(data),
        diff_id=of_bytes(gzip.decompress(data)),
        uncompressed_size=len(gzip.decompress(data)),
        compressor=layer.LIBDEFLATE_6.name,
    )
    path = tmp_path / "layer.gz"
    path.write_bytes(data)
    out = subprocess.run(["gunzip", "-c", str(path)], check=True, capture_output=True).stdout
    assert of_bytes(out) == result.diff_id


def test_equal_bytes_at_any_number_of_jobs():
    source = random.Random(2)
    items = entries.merge([entries.file(f"f{number}", source.randbytes(700_000)) for number in range(40)])
    results = {written(items, jobs) for jobs in (1, 2, 3, 8)}
    assert len(results) == 1


def test_an_empty_layer_is_a_tar_without_members():
    result, data = written(())
    assert gzip.decompress(data) == bytes(1024)
    assert result.diff_id == of_bytes(bytes(1024))


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_content_that_lies_about_its_size(jobs):
    liar = Entry(path="etc/x", kind=Kind.FILE, content=Content(3, lambda: b"four"), origin="liar-1.0")
    before = [entries.file(f"a{number}", bytes(CHUNK)) for number in range(9)]
    with pytest.raises(HelioError) as caught:
        written((*before, liar), jobs)
    assert str(caught.value) == (
        "`liar-1.0` gave another file than it said: etc/x\n"
        "  expected 3 bytes not 4\n\n"
        "hint: the package changed while it was read; run the command again"
    )


def test_a_compressor_that_fails_is_heard():
    def broken(_chunk: bytes) -> bytes:
        raise OSError("no memory")

    compressor = layer.Compressor(name="broken", compress=broken)
    with pytest.raises(OSError, match="no memory"):
        write_layer([entries.file("a", bytes(CHUNK * 20))], io.BytesIO(), jobs=2, compressor=compressor)


def test_a_device_is_refused(tmp_path):
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("dev/null")
        info.type = tarfile.CHRTYPE
        tar.addfile(info)
    with pytest.raises(HelioError) as caught:
        list(read_layer(path))
    assert str(caught.value) == (
        "`dev/null` in a layer is a device, a socket or a FIFO\n"
        f"  in {path}\n"
        "  expected a file, directory or link not tar type b'3'"
    )


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_a_name_that_leaves_the_root_is_refused(tmp_path, name):
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(HelioError) as caught:
        list(read_layer(path))
    assert str(caught.value) == (
        f"{name!r} in a layer leaves the image's root\n"
        f"  in {path}\n\n"
        "hint: the layer is malformed or malicious; do not use it"
    )


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_layer_is_refused(tmp_path, keep):
    data = written(entries.merge([entries.file("a", random.Random(3).randbytes(100_000))]))[1]
    path = tmp_path / "layer"
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(HelioError, match="cannot read the layer"):
        list(read_layer(path))


@pytest.mark.parametrize("fault", ["a flipped bit", "another checksum", "a second member that is cut", "no gzip"])
@pytest.mark.parametrize("read", [lambda path: list(read_layer(path)), layer.examine], ids=["read", "examine"])
def test_a_damaged_layer_is_refused_in_a_line(tmp_path, read, fault):
    """Whatever the inflater raises."""
    data = written(entries.merge([entries.file("a", random.Random(3).randbytes(100_000) * 2)]))[1]
    path = tmp_path / "layer"
    path.write_bytes(
        {
            "a flipped bit": data[:10] + bytes([data[10] | 6]) + data[11:],
            "another checksum": data[:-8] + b"1234" + data[-4:],
            "a second member that is cut": data + data[:200],
            "no gzip": b"x" + data[1:],
        }[fault]
    )
    with pytest.raises(HelioError, match="cannot read the layer"):
        read(path)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=120
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(PATHS, st.binary(max_size=1100), max_size=8),
    owner=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)),
)
def test_any_layer_comes_back(tmp_path, files, owner):
    given_entries = [entries.file(path, data, uid=owner[0], gid=owner[1]) for path, data in files.items()]
    try:
        items = entries.merge(given_entries)
    except HelioError:
        return  # a file and a folder of the same name
    path = tmp_path / "layer"
    path.write_bytes(written(items)[1])
    assert [facts(entry) for entry in read_layer(path)] == [facts(entry) for entry in items]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"uid": 8**7 - 1}, {}),
        ({"uid": 8**7}, {"uid": str(8**7)}),
        ({"gid": 8**7}, {"gid": str(8**7)}),
        ({"path": "\udcff" * 101}, {"hdrcharset": "BINARY", "path": "\udcff" * 101}),
        ({"path": "\udcff" * 100}, {}),
        ({"path": "\u00e9"}, {"path": "\u00e9"}),
    ],
)
def test_a_pax_header_where_ustar_cannot_say_it_and_only_there(values, expected):
    entry = dataclasses.replace(entries.file("a", b""), **values)
    with tarfile.open(fileobj=io.BytesIO(b"".join(tar_stream([entry]))), encoding="utf-8") as tar:
        (member,) = tar
    assert {key: member.pax_headers.get(key) for key in member.pax_headers} == expected
    assert (member.name, member.uid, member.gid) == (entry.path, entry.uid, entry.gid)


@pytest.mark.parametrize("key", ["uid", "gid"])
def test_a_negative_owner_is_refused(key):
    with pytest.raises(HelioError) as caught:
        b"".join(tar_stream([dataclasses.replace(entries.file("a", b"", origin="demo-1"), **{key: -1})]))
    assert caught.value.message == f"`demo-1` has a negative {key}: a"

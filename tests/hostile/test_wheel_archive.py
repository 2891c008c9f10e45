"""Wheels that lie about their archive: each is refused, with its name, before anything of it is linked."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest
from pypi_support import record_row, wheel_bytes, wheel_of

from helioimages.core.errors import HelioError, Stage
from helioimages.pypi import archive as archive_module
from helioimages.pypi.wheel import link


def refused(path, wheel) -> str:
    """Return what the error says besides the name and the hint that all have."""
    with pytest.raises(HelioError) as caught:
        link(path, wheel)
    assert caught.value.stage is Stage.LINK
    assert caught.value.message == "`demo-1.0-py3-none-any.whl` is not a valid wheel"
    assert caught.value.hint == "do not use it; lock another version"
    return caught.value.detail


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "demo/../../evil.py", "/etc/cron.d/evil", "demo//a.py", "./a.py", "demo/.", "demo/.wh.gone"],
)
def test_a_path_that_leaves_its_place(make_wheel, name):
    assert refused(*make_wheel({name: b"x"})) == f"{name!r} may not be in a wheel"


@pytest.mark.parametrize("name", ["demo\\..\\evil.py", "C:\\evil.py"])
def test_a_path_of_another_system(make_wheel, name):
    assert refused(*make_wheel({name: b"x"})) == f"{name!r} has a character that no path may have"


def test_a_path_with_nul(tmp_path):
    data = wheel_bytes({"demo/a.pyXtxt": b"x"}).replace(b"demo/a.pyXtxt", b"demo/a.py\0txt")
    path = tmp_path / "w"
    path.write_bytes(data)
    assert refused(path, wheel_of(data)) == "'demo/a.py\\x00txt' has a character that no path may have"


def test_a_member_twice(make_wheel):
    with pytest.warns(UserWarning, match="Duplicate name"):
        made = make_wheel({"demo/a.py": b"good"}, extra=((zipfile.ZipInfo("demo/a.py"), b"evil"),))
    assert refused(*made) == "'demo/a.py' is there twice"


@pytest.mark.parametrize(("mode", "what"), [(0o120777, "link"), (0o020644, "device"), (0o010644, "fifo")])
def test_a_member_that_is_no_file(make_wheel, mode, what):
    member = zipfile.ZipInfo("demo/odd")
    member.external_attr = mode << 16
    assert refused(*make_wheel({}, extra=((member, b"/etc/passwd"),))) == "'demo/odd' is neither file nor folder"


def test_a_bomb(make_wheel):
    assert refused(*make_wheel({"demo/zeros": bytes(70 << 20)})).startswith("'demo/zeros' grows from ")


def test_a_wheel_larger_than_any(make_wheel, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_UNPACKED", 100)
    assert refused(*make_wheel({"demo/a": b"x" * 101})) == "'demo/a' brings the wheel over 100 bytes"


def test_more_members_than_any(make_wheel, monkeypatch):
    monkeypatch.setattr(archive_module, "MAX_MEMBERS", 2)
    assert refused(*make_wheel({})) == "it has 3 members"


@pytest.mark.parametrize("at_once", [archive_module._AT_ONCE, 0])
@pytest.mark.parametrize("size", [0, 10, 999, 1001, 50_000])
def test_a_member_of_another_size_than_the_directory_says(tmp_path, monkeypatch, size, at_once):
    """Of a larger one no more than a byte too much is inflated, by either library."""
    monkeypatch.setattr(archive_module, "_AT_ONCE", at_once)
    data = bytearray(wheel_bytes({"demo/a": b"x" * 1000}))
    # The size in the central directory's first entry, after its signature and 20 bytes.
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path = tmp_path / "w"
    path.write_bytes(data)
    assert refused(path, wheel_of(bytes(data))) == "'demo/a' is not what the directory says"


def test_a_member_that_is_not_compressed_as_it_says(tmp_path):
    data = bytearray(wheel_bytes({"demo/a": b"x" * 1000}))
    # Block type 3 is none; the member's bytes begin after its local header of 30 bytes and its name.
    data[data.index(b"PK\3\4") + 30 + len("demo/a")] = 0b111
    path = tmp_path / "w"
    path.write_bytes(data)
    assert refused(path, wheel_of(bytes(data))).startswith("'demo/a' cannot be inflated: Error -3")


@pytest.mark.parametrize("at_once", [archive_module._AT_ONCE, 0])
def test_both_libraries_read_an_honest_one(make_wheel, monkeypatch, at_once):
    monkeypatch.setattr(archive_module, "_AT_ONCE", at_once)
    data = random.Random(1).randbytes(1000) * 400
    (entry,) = (
        entry for entry in link(*make_wheel({"demo/a": data, "demo/nothing": b""})) if entry.path.endswith("/a")
    )
    assert entry.content.read() == data


def test_a_member_with_other_bytes(tmp_path):
    data = wheel_bytes({})
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
    stored = bytearray(stream.getvalue())
    at = stored.index(b"Metadata-Version")
    stored[at] ^= 1
    path = tmp_path / "w"
    path.write_bytes(stored)
    assert refused(path, wheel_of(bytes(stored))) == "'demo-1.0.dist-info/METADATA' is not what the directory says"


def test_encrypted_and_oddly_compressed_members(tmp_path):
    data = bytearray(wheel_bytes({"demo/a": b"x"}))
    at = data.index(b"PK\1\2")
    for offset, value, said in ((8, 1, "is encrypted"), (10, 99, "is compressed by method 99")):
        changed = bytearray(data)
        changed[at + offset] = value
        path = tmp_path / "w"
        path.write_bytes(changed)
        assert refused(path, wheel_of(bytes(changed))) == f"'demo/a' {said}"


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\5\6" + bytes(18)])
def test_not_a_wheel_at_all(tmp_path, data):
    path = tmp_path / "w"
    path.write_bytes(data)
    expected = "it has no .dist-info folder" if data.startswith(b"PK") else "File is not a zip file"
    assert refused(path, wheel_of(data)) == expected


def test_a_truncated_wheel(tmp_path):
    data = wheel_bytes({"demo/a": b"x" * 5000})
    path = tmp_path / "w"
    path.write_bytes(data[: len(data) // 2])
    assert refused(path, wheel_of(data)) == "File is not a zip file"


def test_a_listed_path_is_checked_as_well(make_wheel):
    row = record_row("../../../../etc/evil", b"x")
    made = make_wheel({}, record=lambda text: text + row)
    assert refused(*made) == "RECORD lists '../../../../etc/evil', which is not there"


def test_a_setuid_bit_is_not_taken_over(make_wheel):
    member = zipfile.ZipInfo("demo/tool")
    member.external_attr = 0o104755 << 16
    info = "demo-1.0.dist-info"
    path, wheel = make_wheel({}, extra=((member, b"x"),), record=lambda text: record_row("demo/tool", b"x") + text)
    modes = {entry.path.rpartition("/")[2]: entry.mode for entry in link(path, wheel) if info not in entry.path}
    assert modes == {"tool": 0o755}


def test_letters_that_differ_by_case_are_two_files(make_wheel):
    """Layers are unpacked where case matters; neither hides the other."""
    paths = {
        entry.path.rpartition("site-packages/")[2]
        for entry in link(*make_wheel({"demo/A.py": b"1", "demo/a.py": b"2"}))
    }
    assert {"demo/A.py", "demo/a.py"} <= paths


def test_a_name_that_is_no_utf8(make_wheel):
    path, _ = make_wheel({"demo/abcd.py": b"x"})
    data = path.read_bytes().replace(b"demo/abcd.py", b"demo/\xff\xfe\xfd.py ")
    path.write_bytes(data)
    assert "RECORD" in refused(path, wheel_of(data))


def test_a_directory_that_points_out_of_the_file(make_wheel):
    path, _ = make_wheel({"demo/a.py": b"x"})
    data = path.read_bytes()[40:]
    path.write_bytes(data)
    assert "the directory says" in refused(path, wheel_of(data)) or "points out" in refused(path, wheel_of(data))

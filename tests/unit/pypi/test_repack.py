"""Wheels written anew: equal files give equal bytes, whatever the backend left to chance."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from pypi_support import record_row, wheel_bytes, wheel_of

from helioimages.core.errors import HelioError
from helioimages.pypi.repack import first_difference, plan, write
from helioimages.pypi.wheel import link

TAG = "linux_x86_64"
INFO = "demo-1.0.dist-info"
FILES = {"demo/a.py": b"x = 1\n", "demo-1.0.data/scripts/run": b"#!python\n", "demo/z/__init__.py": b""}


def made(folder: Path, files: dict[str, bytes] = FILES, *, name: str = "demo-1.0-py3-none-any.whl", **options) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(wheel_bytes(files, **options))
    return folder / name


def written(path: Path) -> bytes:
    out = io.BytesIO()
    write(plan(path, TAG), out)
    return out.getvalue()


def test_order_times_modes_and_what_tells_of_the_build_do_not_matter(tmp_path):
    first = written(made(tmp_path / "one"))
    left = dict.fromkeys((f"{INFO}/direct_url.json", f"{INFO}/INSTALLER", f"{INFO}/REQUESTED"), b"here")
    left |= {"demo/__pycache__/a.cpython-313.pyc": b"code"}
    late = zipfile.ZipInfo("demo/late.txt", (2026, 1, 2, 3, 4, 5))
    files = dict(reversed(FILES.items())) | left
    assert written(made(tmp_path / "two", files)) == first
    assert written(made(tmp_path / "three", extra=((late, b"late"),))) != first


def test_the_archive_is_stored_dated_and_in_order(tmp_path):
    path = made(tmp_path, executable=("demo-1.0.data/scripts/run",))
    data = written(path)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        rows = [
            (member.filename, member.external_attr >> 16, member.date_time, member.compress_type)
            for member in archive.infolist()
        ]
        record = archive.read(f"{INFO}/RECORD").decode()
        contents = {name: archive.read(name) for name in archive.namelist()}
    time = (1980, 1, 1, 0, 0, 0)
    assert rows == [
        ("demo/a.py", 0o100644, time, zipfile.ZIP_STORED),
        ("demo/z/__init__.py", 0o100644, time, zipfile.ZIP_STORED),
        ("demo-1.0.data/scripts/run", 0o100755, time, zipfile.ZIP_STORED),
        (f"{INFO}/METADATA", 0o100644, time, zipfile.ZIP_STORED),
        (f"{INFO}/WHEEL", 0o100644, time, zipfile.ZIP_STORED),
        (f"{INFO}/RECORD", 0o100644, time, zipfile.ZIP_STORED),
    ]
    del contents[f"{INFO}/RECORD"]
    assert record == "".join(record_row(name, text) for name, text in contents.items()) + f"{INFO}/RECORD,,\n"
    again = tmp_path / hashlib.sha256(data).hexdigest()
    again.write_bytes(data)
    assert {entry.path.rpartition("/")[2] for entry in link(again, wheel_of(data))} >= {"a.py", "run", "RECORD"}


def test_compiled_files_give_the_platforms_tag(tmp_path):
    planned = plan(made(tmp_path, FILES | {"demo/fast.so": b"\x7fELF..."}), TAG)
    assert planned.file_name == f"demo-1.0-py3-none-{TAG}.whl"
    wheel = {name: data for name, _, data in planned.files}[f"{INFO}/WHEEL"].decode()
    assert wheel.splitlines()[2:] == ["Root-Is-Purelib: false", f"Tag: py3-none-{TAG}"]
    name = f"demo-1.0-cp313-cp313-{TAG}.whl"
    assert plan(made(tmp_path / "own", FILES | {"demo/fast.so": b"\x7fELF..."}, name=name), TAG).file_name == name


def test_a_wheel_without_compiled_files_keeps_its_name(tmp_path):
    planned = plan(made(tmp_path), TAG)
    assert planned.file_name == "demo-1.0-py3-none-any.whl"
    assert b"Root-Is-Purelib: true" in {name: data for name, _, data in planned.files}[f"{INFO}/WHEEL"]


@pytest.mark.parametrize(
    ("files", "name", "detail"),
    [
        (
            {"other-1.0.dist-info/METADATA": b""},
            "demo-1.0-py3-none-any.whl",
            "expected one .dist-info folder not 2: demo-1.0.dist-info, other-1.0.dist-info",
        ),
        ({}, "demo.whl", "Invalid wheel filename (wrong number of parts): 'demo'"),
    ],
)
def test_what_is_no_wheel(tmp_path, files, name, detail):
    with pytest.raises(HelioError) as caught:
        plan(made(tmp_path, files, name=name), TAG)
    assert (caught.value.message, caught.value.detail) == (f"`{name}` is not a valid wheel", detail)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, ""),
        ({"demo/a.py": b"x = 2\n"}, "demo/a.py differs at byte 4 of 6"),
        ({"demo/a.py": b"x = 1\ny"}, "demo/a.py differs at byte 6 of 6"),
        ({"demo/b.py": b""}, "demo/b.py is new"),
    ],
)
def test_the_first_difference_is_told(tmp_path, other, said):
    first, second = made(tmp_path / "one"), made(tmp_path / "two", FILES | other, record=lambda _: "")
    first = made(tmp_path / "one", record=lambda _: "")
    assert first_difference(first, second) == said
    if said.endswith("is new"):
        assert first_difference(second, first) == "demo/b.py is missing"


def test_another_mode_is_a_difference(tmp_path):
    first, second = made(tmp_path / "one"), made(tmp_path / "two", executable=("demo/a.py",))
    assert first_difference(first, second) == "demo/a.py is executable on one side only"

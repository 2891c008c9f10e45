"""Wheels whose metadata lie: RECORD, names, folders, entry points."""

from __future__ import annotations

import dataclasses

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.pypi.wheel import link

INFO = "demo-1.0.dist-info"


def refused(path, wheel) -> str:
    with pytest.raises(HelioError) as caught:
        link(path, wheel)
    assert caught.value.stage is Stage.LINK
    assert caught.value.message == f"`{wheel.file_name}` is not a valid wheel"
    assert caught.value.hint == "do not use it; lock another version"
    return caught.value.detail


def without(name: str):
    return lambda text: "".join(line for line in text.splitlines(True) if not line.startswith(f"{name},"))


FILES = {"demo/a.py": b"good"}


@pytest.mark.parametrize(
    ("record", "detail"),
    [
        (lambda text: text + "demo/b.py,sha256=x,1\n", "RECORD lists 'demo/b.py', which is not there"),
        (lambda text: text + "demo/a.py,,\n", "RECORD lists 'demo/a.py' twice"),
        (
            lambda text: text.replace("demo/a.py,sha256=", "demo/a.py,sha256=A"),
            "RECORD gives another hash of 'demo/a.py'",
        ),
        (lambda text: text.replace(",4\n", ",5\n"), "RECORD says that 'demo/a.py' has 5 bytes, it has 4"),
        (
            lambda text: without("demo/a.py")(text) + "demo/a.py,,\n",
            "RECORD gives no strong hash of 'demo/a.py'",
        ),
        (
            lambda text: without("demo/a.py")(text) + "demo/a.py,md5=x,4\n",
            "RECORD gives no strong hash of 'demo/a.py'",
        ),
        (lambda text: text + "one,two\n", "Row Index 4: expected 3 elements, got 2"),
        (lambda text: text.replace(",4\n", ",many\n"), "`size` cannot be non-integer"),
    ],
)
def test_a_record_that_lies(make_wheel, record, detail):
    assert refused(*make_wheel(FILES, record=record)) == detail


def test_two_dist_infos(make_wheel):
    made = make_wheel({"other-2.0.dist-info/METADATA": b"Name: other\nVersion: 2.0\n"})
    assert refused(*made) == "expected one .dist-info folder not 2: demo-1.0.dist-info, other-2.0.dist-info"


def test_a_dist_info_in_other_letters(make_wheel):
    made = make_wheel({"demo-1.0.DIST-INFO/METADATA": b"Name: demo\nVersion: 9\n"})
    assert refused(*made) == "expected one .dist-info folder not 2: demo-1.0.DIST-INFO, demo-1.0.dist-info"


def test_the_metadata_of_another_package(make_wheel):
    made = make_wheel({f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: numpy\nVersion: 9.0\n"})
    assert refused(*made) == "its METADATA is of numpy 9.0"


def test_the_data_folder_of_another_package(make_wheel):
    made = make_wheel({"numpy-9.0.data/scripts/python": b"#!python\n"})
    assert refused(*made) == "expected the folder demo-1.0.data not numpy-9.0.data"


def test_an_unknown_scheme(make_wheel):
    made = make_wheel({"demo-1.0.data/etc/passwd": b"x"})
    assert "demo-1.0.data/etc/passwd is not contained in a valid .data subdirectory" in refused(*made)


def test_a_wheel_of_another_format(make_wheel):
    made = make_wheel({f"{INFO}/WHEEL": b"Wheel-Version: 2.0\nRoot-Is-Purelib: true\n"})
    assert "Incompatible Wheel-Version 2.0" in refused(*made)


def test_no_wheel_version(make_wheel):
    made = make_wheel({f"{INFO}/WHEEL": b"Root-Is-Purelib: true\n"})
    assert refused(*made) == f"{INFO}/WHEEL does not say its Wheel-Version, expected 1.0"


def test_a_variant_of_a_wheel_is_refused_by_name(make_wheel):
    """Spec: PEP 825. It would be for one machine's processor, and no tool says whether this one has it."""
    path, wheel = make_wheel({"demo/a.py": b"1"})
    variant = dataclasses.replace(wheel, file_name=wheel.file_name.replace(".whl", "-x86_64_v3.whl"))
    assert refused(path, variant) == "it is the variant `x86_64_v3` of a wheel, which no image holds (PEP 825)"


def test_errors_name_the_wheel_and_no_object(make_wheel):
    made = make_wheel({"demo-1.0.data/etc/passwd": b"x"})
    detail = refused(*made)
    assert "0x" not in detail and "demo-1.0-py3-none-any.whl" in detail


def test_two_files_that_become_one(make_wheel):
    made = make_wheel({"demo/a.py": b"1", "demo-1.0.data/purelib/demo/a.py": b"2"})
    assert refused(*made) == "two of its files become srv/conda/envs/notebook/lib/python3.13/site-packages/demo/a.py"


@pytest.mark.parametrize(
    ("entry_points", "detail"),
    [
        ("[console_scripts]\n../../evil = demo:main\n", "entry_points.txt names a script '../../evil'"),
        ("[console_scripts]\ndemo = demo; import os\n", "entry_points.txt cannot be understood"),
        ("[console_scripts]\ndemo = demo\n", "entry_points.txt cannot be understood"),
    ],
)
def test_entry_points_that_are_no_names(make_wheel, entry_points, detail):
    assert refused(*make_wheel({}, entry_points=entry_points)) == detail


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("no section\n", "File contains no section headers."),
        (
            "[console_scripts]\na = b:c\na = d:e\n",
            "While reading from '<string>' [line  3]: option 'a' in section 'console_scripts' already exists",
        ),
    ],
)
def test_entry_points_that_cannot_be_read(make_wheel, text, detail):
    assert refused(*make_wheel({}, entry_points=text)) == f"entry_points.txt cannot be read: {detail}"


def test_metadata_that_is_not_text(make_wheel):
    made = make_wheel({f"{INFO}/METADATA": b"Name: \xff\xfe\n"})
    assert refused(*made).startswith("'utf-8' codec can't decode byte 0xff")


def test_no_metadata(make_wheel):
    path, wheel = make_wheel({})
    path.write_bytes(path.read_bytes().replace(b"METADATA", b"METADATE"))
    assert refused(path, wheel) == f"it has no {INFO}/METADATA"

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.pylock import Pylock

from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.pypi.lock import PyPILock, Sdist, Wheel, dump, parse

HEX = "ab" * 32
LOCK = PyPILock(
    python="3.13",
    platform=Platform.of("linux/amd64"),
    content_hash="0" * 64,
    wheels=(
        Wheel(
            name="apexpy",
            version="2.1.1",
            file_name="apexpy-2.1.1-cp313-cp313-linux_x86_64.whl",
            sha256="12" * 32,
            size=7,
            built=True,
        ),
        Wheel(
            name="numpy",
            version="2.4.6",
            file_name="numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl",
            sha256=HEX,
            size=16_000_000,
            uploaded=1_790_000_000,
        ),
    ),
    sdists=(Sdist(name="apexpy", version="2.1.1", file_name="apexpy-2.1.1.tar.gz", sha256="cd" * 32, size=9),),
)
TEXT = f"""\
# Written by `buildimages lock`; do not edit. Files are named without a host: the configured index has them.
lock-version = "1.0"
created-by = "helioimages"
requires-python = "==3.13.*"

[tool.helioimages]
python = "3.13"
platform = "linux/amd64"
content-hash = "{"0" * 64}"

[[packages]]
name = "apexpy"
version = "2.1.1"
sdist = {{ path = "apexpy-2.1.1.tar.gz", size = 9, hashes = {{ sha256 = "{"cd" * 32}" }} }}
tool.helioimages.built-wheel = {{ path = "apexpy-2.1.1-cp313-cp313-linux_x86_64.whl", size = 7, hashes = {{ \
sha256 = "{"12" * 32}" }} }}

[[packages]]
name = "numpy"
version = "2.4.6"
wheels = [{{ path = "numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl", size = 16000000, \
upload-time = 2026-09-21T14:13:20Z, hashes = {{ sha256 = "{HEX}" }} }}]
"""


def test_the_text():
    assert dump(LOCK) == TEXT
    assert parse(TEXT, "pylock.toml") == LOCK
    assert LOCK.timestamp == 1_790_000_000
    assert LOCK.unbuilt == ()


def test_the_reference_parser_reads_it():
    read = Pylock.from_dict(tomllib.loads(TEXT))
    assert [(package.name, str(package.version)) for package in read.packages] == [
        ("apexpy", "2.1.1"),
        ("numpy", "2.4.6"),
    ]
    wheel = read.packages[1].wheels[0]
    assert (wheel.filename, wheel.size, dict(wheel.hashes), wheel.url) == (
        "numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl",
        16_000_000,
        {"sha256": HEX},
        None,
    )


def test_a_source_without_its_wheel_is_unbuilt():
    lock = PyPILock(
        python="3.13",
        platform=Platform.of("linux/amd64"),
        content_hash="0" * 64,
        wheels=LOCK.wheels[1:],
        sdists=LOCK.sdists,
    )
    assert lock.unbuilt == LOCK.sdists
    assert parse(dump(lock), "x") == lock


names = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@settings(deadline=None)
@given(st.dictionaries(names, st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 31)), max_size=8))
def test_locks_round_trip(packages):
    wheels = tuple(
        Wheel(name=n, version="1.0", file_name=f"{n}-1.0-py3-none-any.whl", sha256=HEX, size=size, uploaded=time)
        for n, (size, time) in sorted(packages.items())
    )
    lock = PyPILock(python="3.13", platform=Platform.of("linux/arm64"), content_hash="1" * 64, wheels=wheels)
    assert parse(dump(lock), "x") == lock


@pytest.mark.parametrize(
    ("old", "new", "where", "detail"),
    [
        ("size = 9", "size = true", "packages[0].sdist.size", "Unexpected type bool (expected int)"),
        ("size = 9", "size = 9, url = 'https://h/x'", "packages[0].sdist.url", "this key is not understood"),
        ('lock-version = "1.0"', 'lock-version = "2.0"', "lock-version", "pylock version 2.0 is not supported"),
        ('name = "numpy"', 'name = "NumPy"', "packages[1].name", "Name 'NumPy' is not normalized"),
        (
            f'"{HEX}"',
            '"ab"',
            "packages[1].wheels[0].hashes",
            "expected one sha256 of 64 hexadecimal digits, not {'sha256': 'ab'}",
        ),
        (
            'path = "apexpy-2.1.1.tar.gz"',
            'path = "../apexpy-2.1.1.tar.gz"',
            "packages[0].sdist.path",
            "expected a file name not '../apexpy-2.1.1.tar.gz'",
        ),
        ("built-wheel", "bilt-wheel", "packages[0].tool.helioimages.built-wheel", "expected this key, found nothing"),
        ('platform = "linux/amd64"', "", "tool.helioimages.platform", "expected this key, found nothing"),
        ("requires-python", "markers = 'x'\nrequires-python", "markers", "this key is not understood"),
    ],
)
def test_a_wrong_lock_names_the_key(old, new, where, detail):
    with pytest.raises(HelioError) as caught:
        parse(TEXT.replace(old, new, 1), "environments/x/pylock.toml")
    assert str(caught.value) == (
        "cannot read `environments/x/pylock.toml`\n"
        f"  in environments/x/pylock.toml at {where}\n"
        f"  {detail}\n"
        "\n"
        "hint: run `buildimages lock`"
    )


def test_a_package_twice_is_refused():
    row = TEXT[TEXT.rindex("[[packages]]") :]
    with pytest.raises(HelioError) as caught:
        parse(f"{TEXT}\n{row}", "pylock.toml")
    assert (caught.value.where, caught.value.detail) == ("pylock.toml at packages", "`numpy` is there twice")


@pytest.mark.parametrize(
    ("old", "where"),
    [
        ('platform = "linux/amd64"\n', "tool.helioimages.requires-python"),
        ('name = "numpy"\n', "packages[1].requires-python"),
    ],
)
def test_a_key_that_only_others_understand_is_refused(old, where):
    with pytest.raises(HelioError) as caught:
        parse(TEXT.replace(old, old + 'requires-python = ">=3.13"\n'), "pylock.toml")
    assert (caught.value.where, caught.value.detail) == (f"pylock.toml at {where}", "this key is not understood")


def test_a_variant_of_a_wheel_is_refused_by_name():
    """Spec: PEP 825."""
    with pytest.raises(HelioError) as caught:
        parse(TEXT.replace("manylinux_2_27_x86_64.whl", "manylinux_2_27_x86_64-x86_64_v3.whl"), "pylock.toml")
    assert caught.value.where == "pylock.toml at packages[1].wheels[0]"
    assert caught.value.detail == (
        "expected a wheel for every machine, e.g. numpy-2.4.6-cp313-cp313-manylinux_2_27_x86_64.whl, "
        "not the variant `x86_64_v3` of it (PEP 825)"
    )

"""Names of one thing on conda's and PyPI's side."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from helioimages.conda import names


@pytest.mark.parametrize(
    ("conda", "pypi"),
    [
        ("python-graphviz", "graphviz"),
        ("pytorch", "torch"),
        ("dask-core", "dask"),
        ("matplotlib-base", "matplotlib"),
        ("msgpack-python", "msgpack"),
        ("pytables", "tables"),
        ("py-opencv", "opencv-python-headless"),
        ("tensorflow-base", "tensorflow"),
        ("python-tzdata", "tzdata"),
        ("brotli-python", "brotli"),
        ("python-duckdb", "duckdb"),
        ("pyqt", "pyqt5"),
        ("ray-core", "ray"),
        ("importlib_metadata", "importlib-metadata"),
        ("ruamel.yaml", "ruamel-yaml"),
        ("numpy", "numpy"),
    ],
)
def test_what_conda_forge_names_otherwise(conda: str, pypi: str) -> None:
    assert pypi in names.distributions(conda)


@pytest.mark.parametrize("name", ["graphviz", "nodejs", "r-base", "libgdal", "openssh", "ray-default"])
def test_what_is_no_distribution(name: str) -> None:
    assert names.distributions(name) == ()
    assert names.resembled(name) is None


def test_a_channel_of_its_own_may_name_a_distribution_like_a_library() -> None:
    assert names.distributions("libheliothing", needs_python=True) == ("libheliothing",)
    assert names.distributions("libheliothing") == ()


def test_python_dateutil_is_no_dateutil() -> None:
    assert names.distributions("python-dateutil") == ("python-dateutil",)
    assert names.resembled("python-dateutil") is None


def test_who_says_it_first() -> None:
    purls = ("pkg:pypi/Thing", "pkg:cran/thing")
    assert names.distributions("pytorch", purls) == ("thing",)
    assert names.distributions("pytorch", ("pkg:generic/torch",)) == ()
    assert names.distributions("pytorch", purls, {"pytorch": "Other_One"}) == ("other-one",)
    assert names.distributions("pytorch", purls, {"pytorch": "none"}) == ()


@pytest.mark.parametrize(
    ("conda", "guess"),
    [
        ("python-heliothing", "heliothing"),
        ("py-heliothing", "heliothing"),
        ("heliothing-python", "heliothing"),
        ("heliothing-base", "heliothing"),
        ("python-heliothing-core", "heliothing"),
        ("heliothing", None),
        ("python", None),
    ],
)
def test_what_only_resembles(conda: str, guess: str | None) -> None:
    assert names.resembled(conda) == guess
    assert names.resembled(conda, ("pkg:pypi/x",)) is None
    assert names.resembled(conda, (), {conda: "none"}) is None


def test_the_map_tells_where_it_is_from() -> None:
    known = names.known()
    assert known.source.startswith("prefix-dev/parselmouth (BSD-3-Clause)")
    assert len(known.commit) == 40
    assert known.date == "2026-08-19"
    assert len(known.names) > 1400
    assert len(known.others) > 5000
    assert not known.names.keys() & known.others


def test_what_is_kept_of_a_map() -> None:
    mapping: dict[str, Sequence[str] | None] = {
        "numpy": ["numpy"],
        "pytorch": ["torch"],
        "Some_Thing": ["some-thing"],
        "libz": None,
        "libhelio": ["libhelio"],
        "graphviz": None,
        "python-c-part": None,
        "py-opencv": ["opencv_python_headless", "opencv-python"],
        "ray-core": ["ray", "aiohttp"],
        "tools-suite": ["one", "two"],
        "python-dateutil": ["python-dateutil"],
    }
    kept = {
        "libhelio": ["libhelio"],
        "py-opencv": ["opencv-python", "opencv-python-headless"],
        "python-dateutil": ["python-dateutil"],
        "pytorch": ["torch"],
        "ray-core": ["ray"],
        "tools-suite": ["one", "two"],
    }
    others = ["graphviz", "python-c-part"]
    assert names.derive(mapping) == (kept, others)
    text = names.document(mapping, source="s", commit="c", date="d")
    document = {"source": "s", "commit": "c", "date": "d", "names": kept, "others": [" ".join(others)]}
    assert json.loads(text) == document

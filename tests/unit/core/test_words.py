"""Sizes and plurals: one function each, which nothing goes round."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.core.words import count, human_size, plural

PACKAGE = Path(__file__).parents[3] / "tools" / "helioimages"
UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1024, "1.02 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (37_300_000, "37.3 MB"),
        (107_000_000, "107 MB"),
        (2_134_000_000, "2.13 GB"),
        (10 << 30, "10.7 GB"),
        (4_000 * 10**12, "4,000 TB"),
    ],
)
def test_a_size_has_three_digits_and_a_decimal_unit(number, said):
    assert human_size(number) == said


@given(st.integers(0, 10**15))
def test_what_is_said_is_near(number):
    value, unit = human_size(number).split()
    assert float(value.replace(",", "")) * UNITS[unit] == pytest.approx(number, rel=0.0051)


def test_one_is_not_many():
    assert [count(number, "advisory") for number in (0, 1, 1204)] == ["0 advisories", "1 advisory", "1,204 advisories"]
    assert [plural(2, noun) for noun in ("layer", "try", "key", "more layer")] == [
        "layers",
        "tries",
        "keys",
        "more layers",
    ]
    assert (plural(1, "CPU"), plural(0.5, "CPU"), plural(16.5, "CPU")) == ("CPU", "CPUs", "CPUs")


#: A number of bytes that is scaled in the text itself, and a choice between one and many.
OWN = re.compile(
    r"/ ?(1e[369]|2 ?\*\* ?[1-4]0)[:)}]|>> [1-4]0\}|[\"']s?[\"'] if [^\"']* [=!>]=? 1|== 1 else [\"']s[\"']"
)


def test_nothing_else_says_sizes_or_plurals_in_its_own_way():
    texts = [path for suffix in ("py", "j2", "html") for path in PACKAGE.rglob(f"*.{suffix}")]
    assert len(texts) > 300
    assert {path for path in texts if OWN.search(path.read_text("utf-8"))} == set()

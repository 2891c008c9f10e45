from __future__ import annotations

import pytest
from debian.debian_support import NativeVersion
from hypothesis import given
from hypothesis import strategies as st

from helioimages.debian import version


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0~rc1-1", "1.0-1"),
        ("9.9", "1:0.1"),
        ("1.0-1", "1.0-1+b1"),
        ("1.0-1~deb13u1", "1.0-1"),
        ("1.0-9", "1.0-10"),
        ("1.0a", "1.0+"),
        ("3.5.1-1", "3.5.1-1+deb13u1"),
    ],
)
def test_the_order_of_versions(lower, higher):
    assert version.compare(lower, higher) < 0 < version.compare(higher, lower)


def test_what_is_equal():
    assert version.compare("1.0", "1.0-0") == 0 == version.compare("0:1.00", "1.0")


def test_a_rebuilt_binary_is_of_its_source():
    assert version.of_source("5.2.37-2+b5") == "5.2.37-2"
    assert version.of_source("13.8+deb13u7") == "13.8+deb13u7"


part = st.text("0123456789aZ.+~", min_size=1, max_size=8).map(lambda text: "1" + text)
versions = st.builds(
    lambda epoch, upstream, revision: (f"{epoch}:" if epoch else "") + upstream + (f"-{revision}" if revision else ""),
    st.sampled_from([0, 0, 1, 2]),
    part,
    st.one_of(st.just(""), part),
)


@given(versions, versions)
def test_the_order_is_dpkgs(left, right):
    ours, theirs = version.compare(left, right), NativeVersion(left)._compare(NativeVersion(right))
    assert (ours > 0) - (ours < 0) == (theirs > 0) - (theirs < 0)

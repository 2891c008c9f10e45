from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from helioimages.core.package import Package
from helioimages.locks import ecosystems
from helioimages.locks.diff import Change, Held, diff, held_back, silent_downgrades, table


def locked(**versions):
    return [Package(name=name, version=version, kind="wheel", sha256=version) for name, version in versions.items()]


def test_what_changed_by_kind_and_name():
    old = locked(a="1.0", b="2.0", c="3.0", d="1.0", e="1.0")
    new = [
        *locked(a="1.1", b="1.9", d="1.0", f="7"),
        Package(name="e", version="1.0", kind="wheel", sha256="other"),
    ]
    assert [str(change) for change in diff(old, new)] == [
        "downgraded b 2.0 -> 1.9",
        "removed    c 3.0",
        "upgraded   a 1.0 -> 1.1",
        "added      f 7",
        "rebuilt    e 1.0",
    ]


def test_a_package_that_moves_between_conda_and_pypi_is_one():
    old = [Package(name="typing_extensions", version="4.0", kind="conda", sha256="1")]
    new = [Package(name="typing-extensions", version="4.1", kind="wheel", sha256="2")]
    assert diff(old, new) == (Change(kind="upgraded", name="typing-extensions", old="4.0", new="4.1"),)


versions = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1.0", "1.1", "2.0"]))


@given(versions, versions)
def test_a_diff_turns_the_old_into_the_new(old, new):
    changes = diff(locked(**old), locked(**new))
    result = dict(old)
    for change in changes:
        if change.kind == "removed":
            assert result.pop(change.name) == change.old
        else:
            assert result.get(change.name, "") == change.old
            result[change.name] = change.new
    assert result == new
    assert diff(locked(**old), locked(**old)) == ()


@pytest.mark.parametrize(
    ("kind", "old", "new", "word"),
    [
        ("wheel", "1.9", "1.10", "upgraded"),
        ("wheel", "1.10", "1.9", "downgraded"),
        ("wheel", "1.0rc1", "1.0", "upgraded"),
        ("wheel", "1.0", "1.0.0", "rebuilt"),
        # Older than PEP 440: before all that PEP 440 reads, and in an order of its own.
        ("wheel", "2004d-beta9", "2004d-beta10", "upgraded"),
        ("wheel", "2004d-beta009", "2004d-beta10", "upgraded"),
        ("wheel", "not-one", "0.1", "upgraded"),
        ("conda", "2026f", "2026g", "upgraded"),
        ("conda", "9e", "9f", "upgraded"),
        ("conda", "1.1.1w", "3.0.0", "upgraded"),
        ("conda", "1.0.1", "1.0.1a", "downgraded"),
        ("debian", "13.8+deb13u9", "13.8+deb13u10", "upgraded"),
        ("debian", "5.2.37-2+b9", "5.2.37-2+b10", "upgraded"),
        ("debian", "1:9.9p1-3", "1:10.0p1-7", "upgraded"),
        ("debian", "1.0-1", "1.0~rc1-1", "downgraded"),
        ("debian", "9", "1:0.1", "upgraded"),
    ],
)
def test_each_ecosystem_has_its_own_order(kind, old, new, word):
    (change,) = diff([Package(kind=kind, name="x", version=old)], [Package(kind=kind, name="x", version=new)])
    assert change.kind == word
    assert len(silent_downgrades([change], ())) == (word == "downgraded")


def test_names_that_differ_in_a_point_are_two_debian_packages():
    old = [Package(kind="debian", name="liba2.0", version="1"), Package(kind="debian", name="liba2-0", version="2")]
    assert [(change.kind, change.name) for change in diff(old, old[:1])] == [("removed", "liba2-0")]


texts = st.text("019aZrcpostdev.+-_~:!*", max_size=7)


@given(
    st.sampled_from([ecosystem.kind for ecosystem in ecosystems.ECOSYSTEMS]), st.lists(texts, min_size=3, max_size=3)
)
def test_versions_of_a_kind_are_in_one_total_order(kind, versions):
    """Whatever stands where a version should: nothing raises, and no three versions go round in a circle."""
    for order in (ecosystems.order, ecosystems.common_order):
        first, second, third = (order(kind, version) for version in versions)
        assert (first < second) + (first == second) + (second < first) == 1
        assert not (first <= second and second <= third) or first <= third
        assert (first == second) == (second == first)


def test_downgrades_are_silent_unless_asked():
    changes = diff(locked(a="2", b="2"), locked(a="1", b="1"))
    assert silent_downgrades(changes, {"B"}) == (Change(kind="downgraded", name="a", old="2", new="1"),)
    assert silent_downgrades(changes, {"a", "b"}) == ()


def test_who_holds_back():
    held = held_back(
        {"boto3": "1.40", "six": "1.17", "ujson": "5.13"},
        {"boto3": "1.44", "six": "1.17", "ujson": "6.0"},
        {
            "environments/base": [Requirement("ujson<6"), Requirement("boto3")],
            "aiobotocore 2.26": [Requirement("Boto3<1.41,>=1.40")],
        },
    )
    assert held == (
        Held(name="boto3", version="1.40", newest="1.44", by=("aiobotocore 2.26 (Boto3<1.41,>=1.40)",)),
        Held(name="ujson", version="5.13", newest="6.0", by=("environments/base (ujson<6)",)),
    )
    assert str(held[1]) == "held back  ujson 5.13 (newest 6.0) by environments/base (ujson<6)"
    (alone,) = held_back({"x": "1"}, {"x": "2"}, {})
    assert str(alone) == "held back  x 1 (newest 2) by the current lock or the solution as a whole"


def test_the_table_is_aligned():
    rows = [Package(name="zlib", version="1.3", kind="conda"), Package(name="dask", version="2026.1", kind="wheel")]
    assert table(rows) == "dask  2026.1  wheel\nzlib  1.3     conda\n"
    assert table([]) == ""

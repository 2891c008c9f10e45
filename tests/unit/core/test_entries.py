from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.core.entries import Entry, Kind, check_path, directory, file, merge, symlink
from helioimages.core.errors import HelioError

part = st.text("abc", min_size=1, max_size=2)
path = st.lists(part, min_size=1, max_size=4).map("/".join)


@given(st.lists(path, unique=True, max_size=12), st.randoms())
def test_order_does_not_matter_and_parents_come_first(paths, random):
    # A path that is a parent of another one can't be a file: keep the leaves.
    leaves = [p for p in paths if not any(q.startswith(p + "/") for q in paths)]
    entries = [file(p, p.encode()) for p in leaves]
    merged = merge(entries)
    random.shuffle(entries)
    assert [e.path for e in merge(entries)] == [e.path for e in merged]
    seen = {""}
    for entry in merged:
        assert entry.path.rpartition("/")[0] in seen
        seen.add(entry.path)
    assert {e.path for e in merged if e.kind is Kind.FILE} == set(leaves)


@pytest.mark.parametrize("bad", ["", "/etc/x", "a/../b", "..", "a//b", "a/", "./a", "a\0b", "a/.wh.b", ".wh..wh..opq"])
def test_paths_that_leave_the_layer_are_refused(bad):
    with pytest.raises(HelioError) as caught:
        check_path(bad, "evil-1.0")
    assert caught.value.message == f"`evil-1.0` has a path that may not be in a layer: {bad!r}"


def test_a_clash_names_both():
    with pytest.raises(HelioError) as caught:
        merge([file("a/b", b"1", origin="one-1"), file("a/b", b"2", origin="two-2")])
    assert caught.value.message == "`one-1` and `two-2` both bring a/b"


def test_equal_files_fold():
    merged = merge([file("a/b", b"", origin="one-1"), file("a/b", b"", origin="two-2")])
    assert [e.path for e in merged] == ["a", "a/b"]


@pytest.mark.parametrize("other", [file("a/b", b"1", mode=0o755), symlink("a/b", "c"), directory("a/b")])
def test_almost_equal_is_a_clash(other):
    with pytest.raises(HelioError, match="both bring a/b"):
        merge([file("a/b", b"1"), other])


def test_a_file_where_a_directory_must_be():
    with pytest.raises(HelioError) as caught:
        merge([file("a", b"", origin="one-1"), file("a/b", b"", origin="two-2")])
    assert caught.value.message == "`two-2` brings a/b, but a of `one-1` is a file"


def test_hard_links_come_last_and_stay_inside():
    link = Entry(path="a", kind=Kind.HARDLINK, target="z", origin="one-1")
    assert [e.path for e in merge([link, file("z", b"1")])] == ["z", "a"]
    with pytest.raises(HelioError, match="which is not a file of the same layer"):
        merge([link])


def test_a_hard_link_names_a_file():
    link = Entry(path="a", kind=Kind.HARDLINK, target="z", origin="one-1")
    for other in (directory("z"), symlink("z", "y")):
        with pytest.raises(HelioError) as caught:
            merge([link, other])
        assert caught.value.message == "`one-1` links a to z, which is not a file of the same layer"


def test_the_order_is_of_folders_not_of_text():
    """A folder's files stay together; part of the format: another order is another digest."""
    merged = merge([file("a-b", b""), file("a/z", b""), file("a.c", b"")])
    assert [entry.path for entry in merged] == ["a", "a/z", "a-b", "a.c"]


def test_files_of_one_length_are_compared_to_the_end():
    with pytest.raises(HelioError, match="both bring a"):
        merge([file("a", b"12"), file("a", b"13")])

from __future__ import annotations

import datetime

import pytest

from helioimages.core.errors import HelioError
from helioimages.spec import tags

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
DAY = datetime.date(2026, 3, 5)


def test_the_first_image_gets_all_three():
    plan = tags.plan(digest=A, day=DAY, lock=C, existing={})
    assert plan == tags.TagPlan(
        wanted=("2026.03.05", "lock-cccccccccccc", "latest"), missing=("2026.03.05", "lock-cccccccccccc", "latest")
    )


def test_nothing_changed_means_nothing_to_do():
    existing = {"2026.03.05": A, "lock-cccccccccccc": A, "latest": A}
    assert tags.plan(digest=A, day=DAY, lock=C, existing=existing).missing == ()


def test_latest_moves_and_the_others_do_not():
    existing = {"2026.03.05": A, "lock-cccccccccccc": A, "latest": A}
    plan = tags.plan(digest=B, day=DAY, lock=C, existing=existing)
    assert plan.wanted == plan.missing == ("2026.03.05-2", "latest")
    assert plan.kept == (("lock-cccccccccccc", A),)


@pytest.mark.parametrize(
    ("existing", "tag"),
    [
        ({}, "2026.03.05"),
        ({"2026.03.05": B}, "2026.03.05-2"),
        ({"2026.03.05": B, "2026.03.05-2": C}, "2026.03.05-3"),
        ({"2026.03.05": B, "2026.03.05-2": A}, "2026.03.05-2"),
        ({"2026.03.04": A, "2026.03.05": B}, "2026.03.05-2"),
    ],
)
def test_dated(existing, tag):
    assert tags.dated(digest=A, day=DAY, existing=existing) == tag


@pytest.mark.parametrize("tag", ["2026.03.05", "2026.03.05-2", "2026.03.05-11", "lock-0123456789ab"])
def test_what_is_immutable(tag):
    assert tags.is_immutable(tag)
    tags.check_move(tag, old=None, new=A, repository="r")
    tags.check_move(tag, old=A, new=A, repository="r")
    with pytest.raises(HelioError) as caught:
        tags.check_move(tag, old=B, new=A, repository="host.x/base")
    assert str(caught.value) == (
        f"`{tag}` is immutable and names another image\n"
        "  in host.x/base\n"
        f"  expected {A} not {B}\n\n"
        "hint: hubs pin this tag; publish under the next free one"
    )


@pytest.mark.parametrize(
    "tag", ["latest", "2026.3.5", "2026.03.05-0", "2026.03.05-x", "lock-xyz", "v2026.03.05", "lock-0123456789abc"]
)
def test_what_may_move(tag):
    assert not tags.is_immutable(tag)
    tags.check_move(tag, old=B, new=A, repository="r")


def test_what_is_no_lock():
    with pytest.raises(HelioError) as caught:
        tags.of_lock("abc")
    assert str(caught.value) == "`abc` cannot name a lock tag\n  expected sha256:<64 hex digits>"


def test_newest_first():
    given = ("2026.03.05", "latest", "2026.03.05-10", "2025.12.31", "2026.03.05-9", "lock-0123456789ab", "2026.03.05-2")
    assert tags.newest_first(given) == (
        "2026.03.05-10",
        "2026.03.05-9",
        "2026.03.05-2",
        "2026.03.05",
        "2025.12.31",
    )


def test_an_image_of_an_earlier_day_keeps_its_lock_tag():
    existing = {"2026.03.04": A, "lock-cccccccccccc": A, "latest": B}
    assert tags.plan(digest=A, day=DAY, lock=C, existing=existing) == tags.TagPlan(
        wanted=("2026.03.05", "lock-cccccccccccc", "latest"), missing=("2026.03.05", "latest")
    )

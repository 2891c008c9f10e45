from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.machine.checkout import load_yanks
from helioimages.spec import yanks as yanked

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FILE = "images/helio/yanked.toml"
GOOD = f"""
[[yanked]]
tag = "2026.09.01"
digest = "{A}"
reason = "opens a shell"
date = 2026-09-14
replacement = "2026.09.14"
aliases = ["CVE-2026-12345"]

[[yanked]]
tag = "2026.09.02-2"
level = "advisory"
reason = "slow"
date = 2026-09-15
"""


def test_an_entry_is_read_whole():
    first, second = yanked.parse(GOOD, "helio", FILE)
    assert first == yanked.Yank(
        image="helio",
        tag="2026.09.01",
        digest=A,
        reason="opens a shell",
        date=datetime.date(2026, 9, 14),
        replacement="2026.09.14",
        aliases=("CVE-2026-12345",),
    )
    assert (second.name, second.level) == ("2026.09.02-2", "advisory")


def row(**changes: str) -> str:
    values = {"tag": '"2026.09.01"', "reason": '"bad"', "date": "2026-09-14"} | changes
    return "[[yanked]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value)


@pytest.mark.parametrize(
    ("text", "key", "detail"),
    [
        (row(tag=""), "yanked[0]", "expected `tag`, `digest` or both, found neither"),
        (row(tag='"latest"'), "yanked[0].tag", "expected a dated or lock tag, not 'latest'"),
        (row(replacement='"latest"'), "yanked[0].replacement", "expected a dated or lock tag, not 'latest'"),
        (row(digest='"sha256:12"'), "yanked[0].digest", "expected sha256:<64 hex digits>, not 'sha256:12'"),
        (row(reason='" "'), "yanked[0].reason", "expected why, found an empty text"),
        (row(reason=""), "yanked[0].reason", "expected this key, found nothing"),
        (row(date='"2026-09-14"'), "yanked[0].date", "expected a date, not a string: '2026-09-14'"),
        (
            row(date="2026-09-14T00:00:00Z"),
            "yanked[0].date",
            "expected a date without a time, not 2026-09-14 00:00:00+00:00",
        ),
        (row(level='"mild"'), "yanked[0].level", "expected one of yanked, advisory, not 'mild'"),
        (row() + row(), "yanked[1]", "`2026.09.01` is yanked twice"),
        (
            row(replacement='"2026.09.02"') + row(tag='"2026.09.02"'),
            "yanked[0].replacement",
            "expected a tag that is not yanked itself, not '2026.09.02'",
        ),
    ],
)
def test_what_is_wrong_is_named(text, key, detail):
    with pytest.raises(HelioError) as caught:
        yanked.parse(text, "helio", FILE)
    assert str(caught.value) == f"cannot read `{FILE}`\n  in {FILE} at {key}\n  {detail}"


def test_an_unknown_key():
    with pytest.raises(HelioError) as caught:
        yanked.parse(row(why='"x"'), "helio", FILE)
    assert str(caught.value) == (
        f"cannot read `{FILE}`\n  in {FILE} at yanked[0].why\n  this key is not understood\n\n"
        f"hint: see docs/reference.md for the keys of {FILE}"
    )


def test_a_checkout(tmp_path: Path):
    for image in ("base", "helio"):
        (tmp_path / "images" / image).mkdir(parents=True)
    (tmp_path / FILE).write_text(GOOD)
    assert list(load_yanks(tmp_path)) == ["helio"]
    (tmp_path / FILE).write_bytes(b"\xff")
    with pytest.raises(HelioError) as caught:
        load_yanks(tmp_path)
    assert caught.value.where == FILE


def test_a_yank_holds_for_every_name_of_the_image():
    yanks = yanked.parse(row(), "helio", FILE)
    digests = {"2026.09.01": A, "lock-0123456789ab": A, "latest": A, "2026.09.02": B}
    assert yanked.offered(yanks, digests) == {"2026.09.02": B}
    assert yanked.offered(yanked.parse(GOOD, "helio", FILE), {"2026.09.02-2": B}) == {"2026.09.02-2": B}


def test_an_image_is_found_by_tag_or_digest():
    yanks = yanked.parse(GOOD, "helio", FILE)
    assert yanked.find(yanks, digest=A) == yanks[0]
    assert yanked.find(yanks, tags=("latest", "2026.09.02-2")) == yanks[1]
    assert yanked.find(yanks, tags=("2026.09.02-2",), digest=A) == yanks[0]
    assert yanked.find(yanks, tags=("latest",), digest=B) is None


def test_one_digest_twice_is_refused():
    entries = "".join(
        f'[[yanked]]\ntag = "2026.09.0{day}"\ndigest = "{A}"\nreason = "x"\ndate = 2026-09-14\n' for day in (1, 2)
    )
    with pytest.raises(HelioError) as caught:
        yanked.parse(entries, "helio", FILE)
    assert caught.value.detail == "`2026.09.02` is yanked twice"
    assert caught.value.where == f"{FILE} at yanked[1]"


def test_a_replacement_may_have_an_advisory():
    text = GOOD.replace('"2026.09.14"', '"2026.09.02-2"')
    assert yanked.parse(text, "helio", FILE)[0].replacement == "2026.09.02-2"

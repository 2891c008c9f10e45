"""What the compare page shows is what `delta` says, for each two builds that it can show."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from pathlib import Path

import pytest
from catalogue_support import catalogue, entry, page

from helioimages.catalogue import comparison
from helioimages.catalogue import site as catalogue_site
from helioimages.catalogue.comparison import comparisons
from helioimages.catalogue.delta import delta, summary
from helioimages.core.package import Package
from helioimages.core.platform import Platform
from helioimages.publish.contents import NOTHING, Contents
from helioimages.spec.yanks import Yank

APP = Path(catalogue_site.__file__).with_name("templates") / "app.js"
ARM = Platform.of("linux/arm64")
#: Versions of which no plain text order is right, of packages that are one and of packages that are two.
VERSIONS = {
    "wheel": ("1.10", "1.9", "1.0rc1", "1.0", "1.0.0", "not-one", "1!0.1"),
    "conda": ("9e", "9f", "1.0.1a", "1.0.1", "1.10"),
    "debian": ("13.8+deb13u9", "13.8+deb13u10", "1:9.9p1", "1:10.0p1", "1.0~rc1"),
}


def shown(data: dict, at: int) -> tuple[list, list]:
    """Return layers and changes of a row as the page finds them: nothing is sorted, nothing is compared."""

    def holds(runs: list[int]) -> bool:
        return any(first <= at <= last for first, last in zip(runs[::2], runs[1::2], strict=True))

    return (
        [(name, size) for name, size, *runs in data["pull"] if holds(runs)],
        [
            (word, name, before, now, kind)
            for word, name, kind, now, rows, _ in data["changes"]
            for before, *runs in rows
            if holds(runs)
        ],
    )


def check(made) -> int:
    """Compare each delta of a site with `delta`, and return how many there are."""
    entries = {entry.id: entry for entry in made.entries}
    number = 0
    for new, data in comparisons(made):
        for at, row in enumerate(json.loads(json.dumps(data))["from"]):
            old = entries[row[0]]
            want = delta(old.side(), new.side())
            layers, changes = shown(data, at)
            assert row == [
                old.id,
                f"{old.image} {old.tag}",
                want.pull_bytes,
                len(want.pull),
                sum(layer.size for layer in want.unpack),
                len(want.unpack),
                len(want.shared),
                summary(want.changes) if want.known else "",
                list(want.partial),
            ]
            assert sorted(layers) == sorted((layer.name, layer.size) for layer in want.pull)
            assert [size for _, size in layers] == sorted((layer.size for layer in want.pull), reverse=True)
            assert [change[:4] for change in changes] == [
                (change.kind, change.name, change.old, change.new) for change in want.changes
            ]
            number += 1
    return number


def test_each_two_builds_of_an_image_and_the_newest_of_others():
    history = entry(
        day=61,
        contents=Contents(packages=(Package(kind="wheel", name="x", version="1"),), source="history", complete=False),
    )
    bare = entry(day=60, contents=NOTHING)
    helio = page("helio", *(entry(day=day) for day in range(0, 40, 8)), bare, history)
    base = page("base", *(entry("base", day) for day in (1, 9)))
    # Each of 7 from 7 and the newest base, each of 2 from 2 and the newest helio.
    assert check(catalogue(helio, base)) == 7 * 8 + 2 * 3


@pytest.mark.parametrize("other", [None, "wheel", "debian"])
def test_words_are_the_orders_of_versions(other):
    every = [Package(kind=kind, name="x", version=version) for kind, mine in VERSIONS.items() for version in mine]
    rows = [
        entry(
            day=day,
            contents=Contents(
                packages=(
                    package,
                    *([Package(kind=other, name="x", version=f"{day}")] if other not in (None, package.kind) else ()),
                ),
                source="sbom",
                complete=True,
            ),
        )
        for day, package in enumerate(every)
    ]
    assert check(catalogue(page("helio", *rows))) == len(rows) ** 2


def test_builds_of_one_platform_are_compared():
    rows = [entry(day=day) for day in range(3)]
    arm = [dataclasses.replace(entry(day=day, digest=f"sha256:{day}{'a' * 63}"), platform=ARM) for day in (1, 2)]
    made = catalogue(page("helio", *rows, *arm), page("base", entry("base", 1)))
    assert {new.id: len(data["from"]) for new, data in comparisons(made)} == {
        **{row.id: 4 for row in rows},
        **{row.id: 2 for row in arm},
        made.images[1].entries[0].id: 2,
    }


def test_a_yanked_build_is_not_what_another_image_is_compared_with():
    yank = Yank(image="base", tag="x", reason="odd", date=datetime.date(2026, 9, 1))
    new, old = entry("base", 9, advisory=yank), entry("base", 1)
    made = catalogue(page("helio", entry()), page("base", new, old))
    data_by_id = {new.id: data for new, data in comparisons(made)}
    assert [row[0] for row in data_by_id[entry().id]["from"]] == [entry().id, old.id]
    assert data_by_id[new.id]["yanked"] and not data_by_id[old.id]["yanked"]


def test_what_a_site_holds_is_bounded(tmp_path, monkeypatch):
    """Of a hundred builds the newest are compared, and the page is told of which it has no file."""
    monkeypatch.setattr(comparison, "COMPARED", 5)
    made = catalogue(page("helio", *(entry(day=day) for day in range(9))))
    assert check(made) == 25
    with catalogue_site.writing(tmp_path / "site") as site:
        site.write(made)
    newest = {entry.id for entry in made.images[0].entries[:5]}
    assert {path.stem for path in (tmp_path / "site" / "data" / "deltas").iterdir()} == newest
    options = re.findall(r'<option value="([^"]+)"([^>]*)>', (tmp_path / "site" / "compare.html").read_text())
    assert {name for name, more in options if "data-older" not in more} == newest
    assert len(options) == 18


def test_a_year_of_weekly_builds_of_a_large_image_is_some_megabytes():
    """Each week forty of nine hundred packages are upgraded, and a third of the layers are others."""
    rows = []
    for week in range(20):
        listed = tuple(
            Package(kind="wheel", name=f"package-{number:03}", version=f"1.{(week + number) // 22}.0")
            for number in range(900)
        )
        rows.append(entry(day=week * 7, contents=Contents(packages=listed, source="sbom", complete=True)))
    sizes = [len(json.dumps(data, separators=(",", ":"))) for _, data in comparisons(catalogue(page("helio", *rows)))]
    assert len(sizes) == 20 and max(sizes) < 100_000


def test_the_page_sorts_no_delta():
    """`app.js` shows: it sorts rows of one table by their numbers, and what a search found by how well it fits."""
    assert len(re.findall(r"\bsort\(|localeCompare", APP.read_text())) == 2

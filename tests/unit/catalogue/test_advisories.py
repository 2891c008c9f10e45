from __future__ import annotations

import json

import pytest
from catalogue_support import catalogue, entry, page, tag_of

from helioimages.catalogue import advisories
from helioimages.catalogue.model import CatalogueEntry
from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.publish.contents import Contents


def build(day: int, *versions: str, complete: bool = True) -> CatalogueEntry:
    """Return a build with packages `a`, `b`, … in these versions; an empty one is not there."""
    packages = tuple(
        Package(kind="wheel", name=name, version=version)
        for name, version in zip("abc", versions, strict=False)
        if version
    )
    return entry(day=day, contents=Contents(packages=packages, source="list", complete=complete))


def audit(*findings: tuple[str, str, str, str], unasked: tuple[str, str] = ("", ""), ignored: bool = False):
    """Return an audit that knows faults (name, version, id, severity), and looked at all but one package."""
    rows = [
        {"kind": "wheel", "name": name, "version": version, "ids": ["GHSA-9", cve], "severity": severity}
        | {"summary": "bad", "fixed": [], "ignored": ignored}
        for name, version, cve, severity in findings
    ]
    asked = [["wheel", name, str(version)] for name in "abc" for version in range(9) if (name, str(version)) != unasked]
    return advisories.parse(json.dumps({"newest": "", "asked": asked, "findings": rows}), "audit.json")


def mended(known: advisories.KnownFaults) -> list[tuple[str, str]]:
    return [(row.fault.ids[0], row.mended_in.tag if row.mended_in else "") for row in known.rows]


def test_the_first_later_build_without_it_mends_a_fault():
    builds = [build(0, "1"), build(1, "1"), build(2, "2"), build(3, "2")]
    known = advisories.of(catalogue(page("helio", *builds)), audit(("a", "1", "CVE-1", "high")))
    assert [mended(known[made.id]) for made in builds] == [[("CVE-1", tag_of(2))]] * 2 + [[], []]
    assert [known[made.id].worst for made in builds] == ["high", "high", "", ""]


def test_a_build_that_has_it_again_mends_nothing():
    builds = [build(0, "1"), build(1, "2"), build(2, "1"), build(3, "3")]
    known = advisories.of(catalogue(page("helio", *builds)), audit(("a", "1", "CVE-1", "high")))
    assert mended(known[builds[0].id]) == [("CVE-1", tag_of(3))]


def test_what_nobody_looked_at_or_listed_mends_nothing():
    builds = [build(0, "1"), build(1, "2")]
    told = audit(("a", "1", "CVE-1", "high"), unasked=("a", "2"))
    known = advisories.of(catalogue(page("helio", *builds)), told)
    assert mended(known[builds[0].id]) == [("CVE-1", "")]
    assert (known[builds[1].id].unasked, known[builds[0].id].unasked) == (1, 0)
    builds[1] = build(1, "", complete=False)
    known = advisories.of(catalogue(page("helio", *builds)), audit(("a", "1", "CVE-1", "high")))
    assert mended(known[builds[0].id]) == [("CVE-1", "")]


def test_the_worst_first_and_what_is_accepted_is_not_counted():
    made = build(0, "1", "1", "1")
    rows = (("a", "1", "CVE-1", "low"), ("b", "1", "CVE-2", "critical"), ("c", "1", "CVE-3", "unknown"))
    known = advisories.of(catalogue(page("helio", made)), audit(*rows))[made.id]
    assert [row.fault.severity for row in known.rows] == ["critical", "unknown", "low"]
    assert (known.worst, len(known.counted)) == ("critical", 3)
    known = advisories.of(catalogue(page("helio", made)), audit(*rows, ignored=True))[made.id]
    assert (known.worst, len(known.counted), len(known.rows)) == ("", 0, 3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"severity": "bad"}, "severity\n  expected one of critical, high, moderate, unknown, low not 'bad'"),
        ({"ids": []}, "ids\n  expected a name not none"),
    ],
)
def test_another_file(changes: dict, told: str):
    row = {"kind": "wheel", "name": "a", "version": "1", "ids": ["CVE-1"], "severity": "low", "summary": "bad"}
    document = {"findings": [row | {"fixed": [], "ignored": False} | changes], "newest": "", "asked": []}
    with pytest.raises(HelioError) as caught:
        advisories.parse(json.dumps(document), "x.json")
    assert str(caught.value) == (
        f"`x.json` is not an audit\n  in x.json at findings[0].{told}\n\n"
        "hint: write it with `buildimages audit --catalogue catalogue.json --json`"
    )

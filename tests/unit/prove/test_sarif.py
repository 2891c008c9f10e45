"""What an audit finds, as code hosts read it: one rule a fault, one result a package, at the lock's line."""

from __future__ import annotations

import pytest

from helioimages.prove import sarif
from helioimages.prove.audit import AuditReport, Finding

LOCK = '[[packages]]\nname = "alpha"\nversion = "1"\n\n[[packages]]\nname = "demo-x"\n'


def finding(**changes) -> Finding:
    values = {
        "kind": "wheel",
        "name": "demo-x",
        "version": "1",
        "images": ("base", "helio"),
        "file": "environments/base/pylock.toml",
        "ids": ("PYSEC-1", "CVE-2026-1"),
        "severity": "critical",
        "score": 9.8,
        "summary": "bad",
        "fixed": ("2",),
    }
    return Finding(**values | changes)


def run(*findings: Finding):
    report = AuditReport(packages=2, advisories=3, newest="", findings=findings)
    document = sarif.document(report, {"environments/base/pylock.toml": LOCK}.__getitem__)
    assert (document["version"], document["$schema"]) == ("2.1.0", sarif.SCHEMA)
    (sarif_run,) = document["runs"]
    return sarif_run


def test_a_finding_has_the_name_of_its_cve_and_the_line_of_its_lock():
    told = run(finding())
    (rule,), (result,) = told["tool"]["driver"]["rules"], told["results"]
    assert rule["id"] == result["ruleId"] == "CVE-2026-1"
    assert rule["helpUri"] == "https://osv.dev/vulnerability/PYSEC-1"
    assert rule["properties"]["security-severity"] == "9.8"
    assert result["level"] == "error"
    assert result["message"]["text"] == "base, helio have demo-x 1 (wheel): bad; fixed in 2"
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "environments/base/pylock.toml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 6},
    }
    assert "suppressions" not in result


def test_one_fault_of_two_packages_is_one_rule_and_two_alerts():
    told = run(finding(), finding(name="alpha", images=("base",), fixed=()))
    assert len(told["tool"]["driver"]["rules"]) == 1
    first, second = told["results"]
    assert first["partialFingerprints"] != second["partialFingerprints"]
    assert second["message"]["text"] == "base has alpha 1 (wheel): bad; no fixed version is known"
    # Another version of the lock is the same alert.
    assert run(finding(version="1.1"))["results"][0]["partialFingerprints"] == first["partialFingerprints"]


@pytest.mark.parametrize(
    ("severity", "level", "score"),
    [("high", "error", "8.0"), ("moderate", "warning", "5.5"), ("unknown", "warning", "5.5"), ("low", "note", "2.0")],
)
def test_a_severity_without_a_score_is_in_the_middle_of_its_band(severity, level, score):
    told = run(finding(severity=severity, score=None, summary=""))
    assert told["results"][0]["level"] == level
    (rule,) = told["tool"]["driver"]["rules"]
    assert rule["properties"]["security-severity"] == score
    assert rule["shortDescription"]["text"] == "CVE-2026-1"


def test_what_was_accepted_is_suppressed():
    assert run(finding(ignored=True))["results"][0]["suppressions"][0]["kind"] == "external"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a = 1\nname = "zlib"\n', 2),
        ("package:\n- name: zlib\n  version: 1\n", 2),
        ('{\n "packages": [\n  {"architecture": "amd64",\n   "name": "zlib",\n', 4),
        ('name = "zlib-ng"\n', 1),
        ("", 1),
    ],
)
def test_lines_of_every_kind_of_lock(text, line):
    assert sarif.line_of("zlib", text) == line

"""Findings of an audit as SARIF, which code hosts show beside the lines that they concern.

Spec: SARIF 2.1.0 (OASIS), and what GitHub reads of it: ``security-severity``, ``partialFingerprints``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .. import __version__
from ..core.digest import key_of
from .audit import AuditReport, Finding

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: Where a record is shown, by any of its names.
_RECORD = "https://osv.dev/vulnerability/"
_LEVELS = {"critical": "error", "high": "error", "moderate": "warning", "low": "note"}
#: CVSS of a severity that no vector tells: the middle of its band. Spec: CVSS v3.1 section 5.
_SCORES = {"critical": 9.5, "high": 8.0, "moderate": 5.5, "low": 2.0}


def document(report: AuditReport, read: Callable[[str], str]) -> Mapping[str, Any]:
    """Return the log of one run, in the order of the report.

    Args:
        read: gives the text of a lock file, named as findings do.
    """
    texts = {file: read(file) for file in {finding.file for finding in report.findings}}
    rules = {finding.known_as: _rule(finding) for finding in reversed(report.findings)}
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "helioimages audit", "version": __version__, "rules": list(rules.values())}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, texts[finding.file]) for finding in report.findings],
            }
        ],
    }


def _rule(finding: Finding) -> Mapping[str, Any]:
    summary = finding.summary or finding.known_as
    score = finding.score if finding.score is not None else _SCORES[finding.counts_as]
    return {
        "id": finding.known_as,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "helpUri": _RECORD + finding.ids[0],
        "help": {"text": f"{summary}\nRecords: {', '.join(finding.ids)}"},
        "properties": {"security-severity": f"{score:.1f}", "tags": ["security", "vulnerability"]},
    }


def _result(finding: Finding, text: str) -> Mapping[str, Any]:
    fixed = f"fixed in {', '.join(finding.fixed)}" if finding.fixed else "no fixed version is known"
    has = "have" if len(finding.images) > 1 else "has"
    result: dict[str, Any] = {
        "ruleId": finding.known_as,
        "level": _LEVELS[finding.counts_as],
        "message": {
            "text": f"{', '.join(finding.images)} {has} {finding.name} {finding.version} ({finding.kind}): "
            f"{finding.summary or finding.known_as}; {fixed}"
        },
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": finding.file, "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": line_of(finding.name, text)},
                }
            }
        ],
        # The same fault of the same package stays the same alert when the lock's lines move.
        "partialFingerprints": {"fault/v1": key_of([finding.known_as, finding.kind, finding.name, finding.file])},
    }
    if finding.ignored:
        result["suppressions"] = [{"kind": "external", "justification": "accepted with --ignore"}]
    return result


def line_of(name: str, text: str) -> int:
    r"""Return the line on which a lock names a package, from 1; 1 if it is named otherwise.

    >>> line_of("numpy", 'x = 1\nname = "numpy"\n'), line_of("zlib", "- name: zlib\n"), line_of("a", "b")
    (2, 1, 1)
    """
    match = re.search(rf"(?m)^[\s\"'-]*name[\"'\s]*[:=][\s\"']*{re.escape(name)}[\"',\s]*$", text)
    return text.count("\n", 0, match.start()) + 1 if match else 1

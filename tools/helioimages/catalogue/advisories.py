"""What is known of the faults in each build: of one audit, and for the builds that it looked at. Pure.

The catalogue asks nobody: `buildimages audit --catalogue FILE --json` writes what it is told here. A package that the
audit did not look at is counted, not taken for a good one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import HelioError, Stage
from .model import Catalogue, CatalogueEntry

#: Severities as audits name them, the worst first; one that nobody rated stands where `prove.osv` counts it.
SEVERITIES = ("critical", "high", "moderate", "unknown", "low")
_Key = tuple[str, str, str]
#: The faults of a build by package and names, whatever its versions.
_Signs = frozenset[tuple[str, str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of one version of a package.

    Attributes:
        ids: the name that people know first.
        fixed: versions that mend it, as advisories tell.
        ignored: somebody accepted it.
    """

    kind: str
    name: str
    version: str
    ids: tuple[str, ...]
    severity: str
    summary: str
    fixed: tuple[str, ...]
    ignored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """An audit's answer.

    Attributes:
        newest: when the newest advisory was changed: how fresh the answer is.
        faults: by kind, name and version of the package.
        asked: every package that was looked at.
    """

    newest: str
    faults: Mapping[_Key, tuple[Fault, ...]]
    asked: frozenset[_Key]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """A fault of one build; ``mended_in`` is the first later build without it, None where there is none yet."""

    fault: Fault
    mended_in: CatalogueEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFaults:
    """What an audit says of one build, the worst first; ``unasked`` packages of it were not looked at."""

    rows: tuple[FaultRow, ...]
    unasked: int

    @property
    def counted(self) -> tuple[FaultRow, ...]:
        """The faults that nobody accepted."""
        return tuple(row for row in self.rows if not row.fault.ignored)

    @property
    def worst(self) -> str:
        """The worst severity of those that count, empty if there is none."""
        return next((row.fault.severity for row in self.counted), "")


def parse(text: str, where: str) -> Audit:
    """Read what `audit --json` wrote.

    Raises:
        HelioError: it is something else.
    """
    try:
        document = json.loads(text)
        faults: dict[_Key, list[Fault]] = {}
        for row in document["findings"]:
            fault = _fault(row)
            faults.setdefault((fault.kind, fault.name, fault.version), []).append(fault)
        asked = frozenset((str(kind), str(name), str(version)) for kind, name, version in document["asked"])
        return Audit(
            newest=str(document["newest"]), faults={key: tuple(rows) for key, rows in faults.items()}, asked=asked
        )
    except (ValueError, KeyError, TypeError) as error:
        raise HelioError(
            Stage.USAGE,
            "this is not an audit",
            where=where,
            detail=f"{type(error).__name__}: {error}",
            hint="write it with `buildimages audit --catalogue catalogue.json --json`",
        ) from error


def of(catalogue: Catalogue, audit: Audit) -> dict[str, KnownFaults]:
    """Return what is known of each build, by its id."""
    known: dict[str, KnownFaults] = {}
    for image in catalogue.images:
        # Newest first: what was seen before a build is later than it.
        later: list[tuple[CatalogueEntry, _Signs]] = []
        for entry in image.entries:
            faults = _faults(entry, audit)
            signs = frozenset((fault.kind, fault.name, fault.ids) for fault in faults)
            mine = [row for row in later if row[0].platform == entry.platform and not row[0].yanked]
            rows = tuple(FaultRow(fault=fault, mended_in=_mended(fault, mine)) for fault in faults)
            held = {(package.kind, package.name, package.version) for package in entry.contents.packages}
            known[entry.id] = KnownFaults(rows=rows, unasked=len(held - audit.asked))
            if entry.contents.complete and not held - audit.asked:
                later.append((entry, signs))
    return known


def _faults(entry: CatalogueEntry, audit: Audit) -> tuple[Fault, ...]:
    rows = [
        fault
        for package in entry.contents.packages
        for fault in audit.faults.get((package.kind, package.name, package.version), ())
    ]
    return tuple(sorted(rows, key=lambda fault: (SEVERITIES.index(fault.severity), fault.name, fault.ids)))


def _mended(fault: Fault, later: list[tuple[CatalogueEntry, _Signs]]) -> CatalogueEntry | None:
    """Return the oldest build since which none has the fault."""
    mended = None
    for entry, signs in later:
        if (fault.kind, fault.name, fault.ids) in signs:
            break
        mended = entry
    return mended


def _fault(row: Mapping[str, Any]) -> Fault:
    severity = str(row["severity"])
    if severity not in SEVERITIES:
        raise ValueError(f"expected one of {', '.join(SEVERITIES)} not {severity!r}")
    ids = tuple(str(name) for name in row["ids"])
    return Fault(
        kind=str(row["kind"]),
        name=str(row["name"]),
        version=str(row["version"]),
        # A CVE's number is what people look for.
        ids=tuple(sorted(ids, key=lambda name: not name.startswith("CVE-"))),
        severity=severity,
        summary=str(row["summary"]),
        fixed=tuple(str(version) for version in row["fixed"]),
        ignored=row["ignored"] is True,
    )

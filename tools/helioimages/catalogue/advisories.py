"""What is known of the faults in each build: of one audit, and for the builds that it looked at. Pure.

The catalogue asks nobody: `buildimages audit --catalogue FILE --json` writes what it is told here. A package that the
audit did not look at is counted, not taken for a good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.errors import Stage
from ..core.reading import Form, Shape, Table, load_json
from .model import Catalogue, CatalogueEntry

#: Severities as audits name them, the worst first; one that nobody rated stands where `prove.osv` counts it.
SEVERITIES = ("critical", "high", "moderate", "unknown", "low")
_SEVERITY = Shape.of("|".join(SEVERITIES), f"one of {', '.join(SEVERITIES)}")
_FORM = Form(
    stage=Stage.USAGE,
    message="`{file}` is not an audit",
    hint="write it with `buildimages audit --catalogue catalogue.json --json`",
    comma=False,
    json=True,
)
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


def parse(text: str | bytes, file: str) -> Audit:
    """Read what `audit --json` wrote.

    Args:
        file: its name, for messages.

    Raises:
        HelioError: it is something else.
    """
    top = load_json(text, file, _FORM)
    faults: dict[_Key, list[Fault]] = {}
    for table in top.tables("findings", required=True):
        fault = _fault(table)
        faults.setdefault((fault.kind, fault.name, fault.version), []).append(fault)
    return Audit(
        newest=top.text("newest"),
        faults={key: tuple(rows) for key, rows in faults.items()},
        asked=frozenset(top.rows("asked", str, str, str)),
    )


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


def _fault(table: Table) -> Fault:
    ids = table.strings("ids", required=True)
    if not ids:
        raise table.wrong("ids", "a name", "none")
    return Fault(
        kind=table.text("kind"),
        name=table.text("name"),
        version=table.text("version"),
        # A CVE's number is what people look for.
        ids=tuple(sorted(ids, key=lambda name: not name.startswith("CVE-"))),
        severity=table.text("severity", shape=_SEVERITY),
        summary=table.text("summary"),
        fixed=table.strings("fixed", required=True),
        ignored=table.flag("ignored"),
    )

"""Advisories in OSV's format: read strictly, matched purely.

A record says which versions of which packages it is about; `affects` answers for one package. What a record means is
OSV's own algorithm ("Evaluation"), with each ecosystem's order of versions.

Spec: Open Source Vulnerability format 1.7, https://ossf.github.io/osv-schema/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from cvss import CVSS2, CVSS3, CVSS4, CVSSError

from ..core.errors import Stage
from ..core.package import Advised
from ..core.reading import Form, Table, load_json
from ..locks import ecosystems

#: Severities, mildest first; an advisory that tells none counts as UNKNOWN_AS.
LEVELS = ("low", "moderate", "high", "critical")
UNKNOWN_AS = "moderate"
_RANKS = ("unknown", *LEVELS)
_WORDS = {"low": "low", "moderate": "moderate", "medium": "moderate", "high": "high", "critical": "critical"}
#: Exporters write null for what a record lacks.
_FORM = Form(stage=Stage.USAGE, null_is_absent=True)
#: A distribution's word that a fault does not matter in its package, whatever its score is elsewhere. Spec: Debian's
#: security tracker, "Severity levels": no security support is needed; Ubuntu's CVE priorities, "negligible".
_HARMLESS = ("unimportant", "negligible")
_EVENTS = ("introduced", "fixed", "last_affected", "limit")
# No advisory that people wrote comes near; a file that does is an attack on whoever sorts it.
_MOST_EVENTS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One list of events, as ``(event, version)`` pairs in the record's order."""

    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One package of a record.

    Attributes:
        ecosystem: without its release, e.g. ``PyPI``, ``Debian``.
        release: what follows the colon, e.g. ``13``; empty for all.
        severities: as in `Advisory`; they replace the record's own for this package.
    """

    ecosystem: str
    release: str
    name: str
    ranges: tuple[Range, ...]
    versions: tuple[str, ...]
    severities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One record.

    Attributes:
        aliases: other names of the same fault, e.g. ``CVE-2026-1``.
        severities: CVSS vectors and words, as the record has them.
        modified: RFC 3339, as in the record.
    """

    id: str
    aliases: tuple[str, ...]
    summary: str
    modified: str
    withdrawn: bool
    severities: tuple[str, ...]
    affected: tuple[Affected, ...]


def parse(data: bytes | str, where: str) -> Advisory:
    """Read one record. Keys that the format does not name are allowed, as the format says.

    Raises:
        HelioError: not JSON, or a key is not what the format says.
    """
    top = load_json(data, where, _FORM)
    affected = tuple(package for table in top.tables("affected") if (package := _affected(table)) is not None)
    return Advisory(
        id=top.text("id"),
        aliases=(*top.strings("aliases"), *top.strings("upstream")),
        summary=top.text("summary", "") or top.text("details", "").strip().partition("\n")[0],
        modified=top.text("modified"),
        withdrawn=bool(top.text("withdrawn", "")),
        severities=_severities(top),
        affected=affected,
    )


def _affected(table: Table) -> Affected | None:
    """Return one package's part, or None for one that is known by its commits only."""
    ranges = []
    for row in table.tables("ranges"):
        kind = row.text("type")
        events = []
        for event in row.tables("events", required=True):
            events += [(name, event.text(name)) for name in _EVENTS if name in event.names()]
        if len(events) > _MOST_EVENTS:
            raise row.error("events", f"expected at most {_MOST_EVENTS:,} events, not {len(events):,}")
        if kind in ("ECOSYSTEM", "SEMVER"):
            ranges.append(Range(events=tuple(events)))
        elif kind != "GIT":
            raise row.error("type", f"expected GIT, SEMVER or ECOSYSTEM, not {kind!r}")
    versions = table.strings("versions")
    severities = _severities(table)
    package = table.table_or_none("package")
    if package is None:
        return None
    ecosystem, _, release = package.text("ecosystem").partition(":")
    return Affected(
        ecosystem=ecosystem,
        release=release,
        name=package.text("name"),
        ranges=tuple(ranges),
        versions=versions,
        severities=severities,
    )


def _severities(table: Table) -> tuple[str, ...]:
    scores = [row.text("score") for row in table.tables("severity")]
    # GitHub and Debian tell it in words, each in a key of its own; their shape is not OSV's to say.
    for name, key in (("database_specific", "severity"), ("ecosystem_specific", "urgency")):
        extra: Any = table.take(name, dict, {}).get(key)
        if isinstance(extra, str):
            scores.append(extra)
    return tuple(scores)


def affects(affected: Affected, asked: Advised) -> bool:
    """Say whether a package at a version is among those that a record is about.

    Raises:
        ValueError: a version cannot be ordered by its ecosystem's rules.
    """
    ecosystem = ecosystems.of_advisories(affected.ecosystem)
    if (
        ecosystem is None
        or affected.ecosystem not in asked.ecosystems
        or (affected.release and affected.release != asked.release)
    ):
        return False
    if ecosystem.normal(affected.name) != ecosystem.normal(asked.name):
        return False
    key: Callable[[str], Any] = ecosystem.key
    version = key(asked.version)
    if asked.version in affected.versions or any(_equal(text, version, key) for text in affected.versions):
        return True
    return any(_in_range(each, version, key) for each in affected.ranges)


def fixes(affected: Affected) -> tuple[str, ...]:
    """Return the versions that mend a package, as the record tells them."""
    return tuple(
        dict.fromkeys(version for each in affected.ranges for event, version in each.events if event == "fixed")
    )


def _in_range(span: Range, version: Any, key: Callable[[str], Any]) -> bool:
    # Spec: "Evaluation": limits first, then the events in the order of their versions.
    limits = [text for event, text in span.events if event == "limit"]
    if limits and not any(text == "*" or version < key(text) for text in limits):
        return False
    vulnerable: bool = any(event == "introduced" and text == "0" for event, text in span.events)
    rest = [(key(text), event) for event, text in span.events if event != "limit" and (event, text) != _ALWAYS]
    rest.sort(key=lambda pair: pair[0])
    for at, event in rest:
        if event == "introduced":
            vulnerable = vulnerable or version >= at
        elif (event == "fixed" and version >= at) or (event == "last_affected" and version > at):
            vulnerable = False
    return vulnerable


_ALWAYS = ("introduced", "0")


def _equal(text: str, version: Any, key: Callable[[str], Any]) -> bool:
    # Lists of versions hold old ones that no rule orders; they are no version of ours.
    try:
        return bool(key(text) == version)
    except ValueError:
        return False


def rate_of(advisory: Advisory, affected: Affected) -> tuple[str, float | None]:
    """Return the level and the score of a fault in one package, as `rate` does.

    What the record says of the package counts before what it says of the fault; a word that rates nothing ("not yet
    assigned") says nothing.
    """
    if any(_word(text) in _HARMLESS for text in affected.severities):
        return LEVELS[0], None
    rated = rate(affected.severities)
    return rate(advisory.severities) if rated[0] == "unknown" else rated


def rate(severities: Iterable[str]) -> tuple[str, float | None]:
    """Return the severest level of vectors and words, and its CVSS score; ``("unknown", None)`` if none tells.

    >>> rate(["CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "LOW"])
    ('critical', 9.8)
    """
    numbers = [(_score(text), text) for text in severities]
    return severest(
        (_level(number), number) if number is not None else (_WORDS.get(_word(text), "unknown"), None)
        for number, text in numbers
    )


def severest(severities: Iterable[tuple[str, float | None]]) -> tuple[str, float | None]:
    """Return the severest of levels, and the highest of their scores."""
    rows = list(severities)
    level = max((level for level, _ in rows), key=_RANKS.index, default="unknown")
    return level, max((score for _, score in rows if score is not None), default=None)


def at_least(level: str, threshold: str) -> bool:
    """Say whether a level reaches another; ``unknown`` is below all."""
    return _RANKS.index(level) >= _RANKS.index(threshold)


def _word(text: str) -> str:
    # Debian marks what it worked out itself with stars.
    return text.strip("* ").lower()


def _score(vector: str) -> float | None:
    kind = CVSS4 if vector.startswith("CVSS:4") else CVSS3 if vector.startswith("CVSS:3") else CVSS2
    try:
        return float(kind(vector).base_score)
    except (CVSSError, ValueError):
        return None


def _level(score: float) -> str:
    # Spec: CVSS v3.1 section 5, "Qualitative Severity Rating Scale".
    return "low" if score < 4 else "moderate" if score < 7 else "high" if score < 9 else "critical"

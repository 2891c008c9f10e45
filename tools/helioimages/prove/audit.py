"""Audit: the locks of images against advisories in OSV's format, offline.

Every locked package is looked up under the name its ecosystem's advisories use: a wheel as itself, a Debian package as
its source, a conda package in conda's databases and, where it is a Python package, in PyPI's too. Records of one fault
(a CVE, its GHSA and its PYSEC) become one finding.
"""

from __future__ import annotations

import functools
import io
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from ..core import archives
from ..core.errors import HelioError, Stage
from ..core.http import ask, reason, untrusted
from ..core.package import Advised, Package
from ..core.platform import Subdir
from ..core.progress import step
from ..core.reading import Form, Shape, load_json
from ..core.words import count
from ..locks import ecosystems
from ..locks.read import Locks
from ..machine.store import Store
from . import osv
from .osv import Advisory

#: Where OSV publishes its databases, one zip an ecosystem.
OSV_SOURCE = "https://osv-vulnerabilities.storage.googleapis.com"
# A record is a few kilobytes; the largest kernel records reach megabytes.
_RECORD_BYTES = 32 << 20
#: Characters of a summary, so that a line fits a terminal of 80 columns.
_SUMMARY = 74
_KINDS = tuple(ecosystem.kind for ecosystem in ecosystems.ECOSYSTEMS)
_KIND = Shape.of("|".join(_KINDS), f"one of {', '.join(_KINDS)}")
_CATALOGUE = Form(
    stage=Stage.USAGE,
    message="`{file}` is not a catalogue",
    hint="give the catalogue.json that `buildimages catalogue` wrote",
    comma=False,
    json=True,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedPackage:
    """One package to ask the advisories about: ``images`` have it; ``file`` is the first lock that names it."""

    package: Package
    file: str
    images: tuple[str, ...]

    @property
    def advised(self) -> Advised:
        """What advisories call it."""
        return ecosystems.of(self.package.kind).advised(self.package)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault of one locked package.

    Attributes:
        ids: the record's id first, then its other names, sorted.
        severity: one of `osv.LEVELS`, or ``unknown``.
        score: CVSS, 0 to 10; None if no vector tells it.
        fixed: versions that mend it, as the records tell.
        ignored: the reason why it does not count, empty if it does.
    """

    kind: str
    name: str
    version: str
    images: tuple[str, ...]
    file: str
    ids: tuple[str, ...]
    severity: str
    score: float | None
    summary: str
    fixed: tuple[str, ...]
    ignored: bool = False

    @property
    def known_as(self) -> str:
        """The name that people know a fault by: its CVE's where it has one."""
        return next((name for name in self.ids if name.startswith("CVE-")), self.ids[0])

    @property
    def counts_as(self) -> str:
        """The severity with ``unknown`` read as `osv.UNKNOWN_AS`."""
        return osv.UNKNOWN_AS if self.severity == "unknown" else self.severity


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What an audit found.

    Attributes:
        packages, advisories: how many were looked at.
        newest: when the newest record was modified: how fresh the database is.
        findings: the severest first.
        unread: records with versions that their ecosystem cannot order; not evaluated.
        asked: kind, name and version of each package that was looked at.
    """

    packages: int
    advisories: int
    newest: str
    findings: tuple[Finding, ...]
    unread: tuple[str, ...] = ()
    asked: tuple[tuple[str, str, str], ...] = ()

    def failing(self, threshold: str) -> tuple[Finding, ...]:
        """Return the findings at or above a severity that nobody accepted."""
        return tuple(
            finding for finding in self.findings if not finding.ignored and osv.at_least(finding.counts_as, threshold)
        )

    def lines(self) -> list[str]:
        """Return the table for people: what to do about each, and below it its names, images and summary."""
        head = ("severity", "package", "version", "fixed in")
        rows = [
            (
                f"{finding.severity} {finding.score:.1f}" if finding.score is not None else finding.severity,
                f"{finding.name} ({finding.kind})",
                finding.version,
                ", ".join(finding.fixed[:2]) or "-",
            )
            for finding in self.findings
        ]
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        first, *others = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (head, *rows)
        )
        table = [first]
        for row, finding in zip(others, self.findings, strict=True):
            names = " ".join(dict.fromkeys((finding.known_as, finding.ids[0])))
            summary = ("accepted: " if finding.ignored else "") + finding.summary
            table += [
                row,
                f"    {names}, in {', '.join(finding.images)}",
                *([f"    {textwrap.shorten(summary, _SUMMARY, placeholder=' …')}"] if summary else []),
            ]
        asked = f"{count(self.packages, 'package')}, {count(self.advisories, 'advisory')}"
        last = f"{asked} (newest {self.newest or 'none'}): {count(len(self.findings), 'finding')}"
        notes = [f"not evaluated: {line}" for line in self.unread]
        return [*(line.rstrip() for line in (table if rows else [])), *notes, last]


def packages(locks_by_image: Mapping[str, Locks], platform: Subdir) -> tuple[AuditedPackage, ...]:
    """Return the packages of images, each once, with all the images that have it.

    Args:
        locks_by_image: image -> its locks.
        platform: conda's word, e.g. ``linux-64``; a conda lock may be for several.
    """
    held: dict[tuple[str, str, str], tuple[Package, str, list[str]]] = {}
    for image, lock in locks_by_image.items():
        here = {package.file_name for package in lock.conda.for_platform(platform)}
        for package in lock.packages:
            if package.kind == "conda" and package.file_name not in here:
                continue
            file = lock.files[ecosystems.of(package.kind).part]
            held.setdefault((package.kind, package.name, package.version), (package, file, []))[2].append(image)
    return tuple(
        AuditedPackage(package=package, file=file, images=tuple(images)) for package, file, images in held.values()
    )


def of_catalogue(text: str | bytes, file: str, locks_by_image: Mapping[str, Locks]) -> tuple[AuditedPackage, ...]:
    """Return the packages of every build in a catalogue.json.

    Args:
        file: its name, for messages.
        locks_by_image: they say of which source a Debian package is made, which a catalogue does not; a Debian package
            that they do not know is left out.

    Raises:
        HelioError: it is not a catalogue.
    """
    known = {(package.kind, package.name): package for lock in locks_by_image.values() for package in lock.packages}
    top = load_json(text, file, _CATALOGUE)
    top.version("version", 1)
    rows = [
        Package(kind=table.text("kind", shape=_KIND), name=table.text("name"), version=table.text("version"))
        for table in top.tables("packages", required=True)
    ]
    builds: dict[int, list[str]] = {}
    for image in top.tables("images", required=True):
        name = image.text("name")
        for entry in image.tables("entries", required=True):
            tags, digest = entry.strings("tags", required=True), entry.text("digest")
            build = f"{name}:{tags[0] if tags else digest[7:19]}"
            for place in entry.table("packages", required=True).wholes("rows", minimum=0, maximum=len(rows) - 1):
                builds.setdefault(place, []).append(build)
    asked = []
    for at, row in enumerate(rows):
        same = known.get((row.kind, row.name), row)
        if row.kind == "debian" and same is row:
            continue
        package = replace(same, version=row.version)
        asked.append(AuditedPackage(package=package, file=Path(file).name, images=tuple(builds.get(at, ()))))
    return tuple(asked)


def audit(
    asked: Sequence[AuditedPackage], advisories: Iterable[Advisory], *, ignore: Sequence[str] = ()
) -> AuditReport:
    """Match packages with advisories.

    Args:
        ignore: identifiers of faults that somebody accepted; shown, not counted.
    """
    by_name: dict[str, list[tuple[AuditedPackage, Advised]]] = {}
    for question in asked:
        known = question.advised
        by_name.setdefault(_plain(known.name), []).append((question, known))
    hits: dict[AuditedPackage, list[tuple[Advisory, osv.Affected]]] = {}
    unread: dict[str, None] = {}
    count, newest = 0, ""
    for advisory in advisories:
        count, newest = count + 1, max(newest, advisory.modified)
        if advisory.withdrawn:
            continue
        for affected in advisory.affected:
            for question, known in by_name.get(_plain(affected.name), ()):
                try:
                    if osv.affects(affected, known):
                        hits.setdefault(question, []).append((advisory, affected))
                except ValueError as error:
                    unread[f"{advisory.id} for {question.package.name} {question.package.version}: {error}"] = None
    findings = [finding for question, rows in hits.items() for finding in _findings(question, rows, set(ignore))]
    findings.sort(
        key=lambda finding: (
            -osv.LEVELS.index(finding.counts_as),
            -(finding.score or 0),
            finding.name,
            finding.kind,
            finding.ids,
        )
    )
    return AuditReport(
        packages=len(asked),
        advisories=count,
        newest=newest,
        findings=tuple(findings),
        unread=tuple(unread),
        asked=tuple(sorted((audited.package.kind, audited.package.name, audited.package.version) for audited in asked)),
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _findings(
    asked: AuditedPackage, rows: Sequence[tuple[Advisory, osv.Affected]], ignore: set[str]
) -> Iterator[Finding]:
    """Yield one finding a fault: records that share a name are about one."""
    groups: list[tuple[set[str], list[tuple[Advisory, osv.Affected]]]] = []
    for row in rows:
        names, members = {row[0].id, *row[0].aliases}, [row]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names |= group[0]
            members = group[1] + members
        groups.append((names, members))
    for names, members in groups:
        level, score = osv.severest(osv.rate_of(advisory, affected) for advisory, affected in members)
        first = members[0][0]
        yield Finding(
            kind=asked.package.kind,
            name=asked.package.name,
            version=asked.package.version,
            images=asked.images,
            file=asked.file,
            ids=(first.id, *sorted(names - {first.id})),
            severity=level,
            score=score,
            summary=" ".join(next((advisory.summary for advisory, _ in members if advisory.summary), "").split()),
            fixed=tuple(dict.fromkeys(version for _, affected in members for version in osv.fixes(affected))),
            ignored=bool(names & ignore),
        )


def load(path: Path) -> Iterator[Advisory]:
    """Yield the records of a folder of JSON files (at any depth), of a zip of them, or of a folder of such zips.

    Raises:
        HelioError: there is no record, or one cannot be read.
    """
    if not path.exists():
        raise HelioError(
            Stage.USAGE,
            f"there are no advisories at `{path}`",
            hint=f"download all.zip of an ecosystem from {OSV_SOURCE}, or run with --fetch",
        )
    count = 0
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    for file in files:
        if not file.is_file():
            continue
        if file.suffix == ".json":
            count += 1
            yield osv.parse(_bounded(file.stat().st_size, file.read_bytes, file.name), file.name)
        elif file.suffix == ".zip" or file == path:
            for document in _zipped(file):
                count += 1
                yield document
    if not count:
        raise HelioError(
            Stage.USAGE, f"there are no advisories at `{path}`", detail="expected files *.json or *.zip, found none"
        )


def _zipped(file: Path) -> Iterator[Advisory]:
    try:
        with archives.reading(), zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".json"):
                    where = f"{file.name}:{member.filename}"

                    def read(member: zipfile.ZipInfo = member) -> bytes:
                        with archive.open(member) as stream:
                            return stream.read(_RECORD_BYTES + 1)

                    yield osv.parse(_bounded(member.file_size, read, where), where)
    except (archives.ArchiveError, OSError) as error:
        raise HelioError(
            Stage.USAGE, f"cannot read advisories `{file.name}`", where=str(file), detail=str(error)
        ) from error


def _bounded(size: int, read: Callable[[], bytes], where: str) -> bytes:
    data = read() if size <= _RECORD_BYTES else None
    if data is None or len(data) > _RECORD_BYTES:
        raise HelioError(
            Stage.USAGE,
            f"cannot read advisory `{where}`",
            where=where,
            detail=f"expected at most {_RECORD_BYTES:,} bytes not {size:,}",
        )
    return data


def _said(error: Exception) -> str:
    if isinstance(error, archives.ArchiveError):
        return str(error)
    return reason(error) if untrusted(error) else f"{type(error).__name__}: {error}"


def fetch(store: Store, ecosystems: Sequence[str], *, source: str = OSV_SOURCE, timeout_s: float = 60) -> Path:
    """Download OSV's databases of ecosystems, one zip each, and return their folder.

    Raises:
        HelioError: the network does not allow it.
    """
    folder = store.root / "cache" / "osv"
    for ecosystem in ecosystems:
        url = f"{source.rstrip('/')}/{ecosystem}/all.zip"
        try:
            with (
                step(f"advisories of {ecosystem}"),
                ask(functools.partial(requests.get, url, timeout=timeout_s)) as response,
            ):
                response.raise_for_status()
                data = response.content
            with archives.reading():
                zipfile.ZipFile(io.BytesIO(data)).close()
        except (requests.RequestException, archives.ArchiveError) as error:
            raise HelioError(
                Stage.FETCH,
                f"cannot fetch the advisories of `{ecosystem}`",
                where=url,
                detail=_said(error),
                hint="download the file where the network allows it, and give its folder with --advisories",
            ) from error
        name = f"{ecosystem.replace(':', '-').replace('/', '-')}.zip"
        with store.writing(folder / name) as file:
            file.write(data)
    return folder

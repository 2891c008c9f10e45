"""Audit: the locks of images against advisories in OSV's format, offline.

Every locked package is looked up under the name its ecosystem's advisories use: a wheel as itself, a Debian package as
its source, a conda package in conda's databases and, where it is a Python package, in PyPI's too. Records of one fault
(a CVE, its GHSA and its PYSEC) become one finding.
"""

from __future__ import annotations

import functools
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import requests

from ..core.errors import HelioError, Stage
from ..core.http import ask
from ..debian.version import of_source
from ..locks.read import Locks
from ..machine.store import Store
from . import osv
from .osv import Advisory, Component

#: Where OSV publishes its databases, one zip an ecosystem.
OSV_SOURCE = "https://osv-vulnerabilities.storage.googleapis.com"
#: Ecosystems whose names and versions are those of conda packages (upstream's own).
CONDA_ECOSYSTEMS = ("conda", "conda-forge", "Bitnami", "OSS-Fuzz")
#: Debian's release by suite, as OSV writes it.
DEBIAN_RELEASES = {"bookworm": "12", "trixie": "13", "forky": "14", "duke": "15"}
# A record is a few kilobytes; the largest kernel records reach megabytes.
_RECORD_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """One package of some locks: ``kind`` is wheel, conda or deb; ``images`` have it; ``file`` is the first lock."""

    kind: str
    name: str
    version: str
    file: str
    images: tuple[str, ...]
    component: Component


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
    """

    packages: int
    advisories: int
    newest: str
    findings: tuple[Finding, ...]
    unread: tuple[str, ...] = ()

    def failing(self, threshold: str) -> tuple[Finding, ...]:
        """Return the findings at or above a severity that nobody accepted."""
        return tuple(one for one in self.findings if not one.ignored and osv.at_least(one.counts_as, threshold))

    def lines(self) -> list[str]:
        """Return the table for people."""
        head = ("severity", "package", "version", "fixed in", "advisory", "images", "summary")
        rows = [
            (
                f"{one.severity} {one.score:.1f}" if one.score is not None else one.severity,
                f"{one.name} ({one.kind})",
                one.version,
                ", ".join(one.fixed[:2]) or "-",
                one.ids[0] + (f" +{len(one.ids) - 1}" if len(one.ids) > 1 else ""),
                ", ".join(one.images),
                ("accepted: " if one.ignored else "") + one.summary[:80],
            )
            for one in self.findings
        ]
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        table = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in (head, *rows)]
        count = f"{len(self.findings)} findings" if len(self.findings) != 1 else "1 finding"
        last = f"{self.packages} packages, {self.advisories} advisories (newest {self.newest or 'none'}): {count}"
        notes = [f"not evaluated: {line}" for line in self.unread]
        return [*(line.rstrip() for line in (table if rows else [])), *notes, last]


def components(found: Mapping[str, Locks], platform: str) -> tuple[Locked, ...]:
    """Return the packages of images, each once, with all the images that have it.

    Args:
        found: image -> its locks.
        platform: conda's word, e.g. ``linux-64``.
    """
    held: dict[tuple[str, str, str], tuple[str, Component, list[str]]] = {}

    def add(image: str, kind: str, name: str, file: str, component: Component) -> None:
        held.setdefault((kind, name, component.version), (file, component, []))[2].append(image)

    for image, lock in found.items():
        for wheel in lock.pypi.wheels:
            one = Component(ecosystems=("PyPI",), release="", name=wheel.name, version=wheel.version)
            add(image, "wheel", wheel.name, lock.files["pypi"], one)
        for package in lock.conda.for_platform(platform):
            python = ("PyPI",) if any(spec.split()[0] == "python" for spec in package.depends if spec.strip()) else ()
            names = CONDA_ECOSYSTEMS + python
            one = Component(ecosystems=names, release="", name=package.name, version=package.version)
            add(image, "conda", package.name, lock.files["conda"], one)
        release = DEBIAN_RELEASES.get(lock.apt.suite, lock.apt.suite)
        for deb in lock.apt.packages:
            # The pool's folder is the source package, which Debian's advisories name.
            source = PurePosixPath(deb.file_name).parent.name
            one = Component(ecosystems=("Debian",), release=release, name=source, version=of_source(deb.version))
            add(image, "deb", deb.name, lock.files["apt"], one)
    return tuple(
        Locked(kind=kind, name=name, version=version, file=file, images=tuple(images), component=component)
        for (kind, name, version), (file, component, images) in held.items()
    )


def audit(packages: Sequence[Locked], advisories: Iterable[Advisory], *, ignore: Sequence[str] = ()) -> AuditReport:
    """Match packages with advisories.

    Args:
        ignore: identifiers of faults that somebody accepted; shown, not counted.
    """
    by_name: dict[str, list[Locked]] = {}
    for package in packages:
        by_name.setdefault(_plain(package.component.name), []).append(package)
    hits: dict[Locked, list[tuple[Advisory, osv.Affected]]] = {}
    unread: dict[str, None] = {}
    count, newest = 0, ""
    for advisory in advisories:
        count, newest = count + 1, max(newest, advisory.modified)
        if advisory.withdrawn:
            continue
        for affected in advisory.affected:
            for package in by_name.get(_plain(affected.name), ()):
                try:
                    if osv.affects(affected, package.component):
                        hits.setdefault(package, []).append((advisory, affected))
                except ValueError as error:
                    unread[f"{advisory.id} for {package.name} {package.version}: {error}"] = None
    found = [one for package, rows in hits.items() for one in _findings(package, rows, set(ignore))]
    found.sort(key=lambda one: (-osv.LEVELS.index(one.counts_as), -(one.score or 0), one.name, one.kind, one.ids))
    return AuditReport(
        packages=len(packages), advisories=count, newest=newest, findings=tuple(found), unread=tuple(unread)
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _findings(package: Locked, rows: Sequence[tuple[Advisory, osv.Affected]], ignore: set[str]) -> Iterator[Finding]:
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
        severities = [text for advisory, affected in members for text in affected.severities or advisory.severities]
        level, score = osv.rate(severities)
        first = members[0][0]
        yield Finding(
            kind=package.kind,
            name=package.name,
            version=package.version,
            images=package.images,
            file=package.file,
            ids=(first.id, *sorted(names - {first.id})),
            severity=level,
            score=score,
            summary=" ".join(next((one.summary for one, _ in members if one.summary), "").split()),
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
            for one in _zipped(file):
                count += 1
                yield one
    if not count:
        raise HelioError(
            Stage.USAGE, f"there are no advisories at `{path}`", detail="expected files *.json or *.zip, found none"
        )


def _zipped(file: Path) -> Iterator[Advisory]:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".json"):
                    where = f"{file.name}:{member.filename}"

                    def read(member: zipfile.ZipInfo = member) -> bytes:
                        with archive.open(member) as stream:
                            return stream.read(_RECORD_BYTES + 1)

                    yield osv.parse(_bounded(member.file_size, read, where), where)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, zlib.error) as error:
        raise HelioError(
            Stage.USAGE, f"cannot read advisories `{file.name}`", where=str(file), detail=str(error)
        ) from error


def _bounded(size: int, read, where: str) -> bytes:
    data = read() if size <= _RECORD_BYTES else None
    if data is None or len(data) > _RECORD_BYTES:
        raise HelioError(
            Stage.USAGE,
            f"cannot read advisory `{where}`",
            where=where,
            detail=f"expected at most {_RECORD_BYTES:,} bytes not {size:,}",
        )
    return data


def fetch(store: Store, ecosystems: Sequence[str], *, source: str = OSV_SOURCE, timeout_s: float = 60) -> Path:
    """Download OSV's databases of ecosystems, one zip each, and return their folder.

    Raises:
        HelioError: the network does not allow it.
    """
    folder = store.root / "cache" / "osv"
    for ecosystem in ecosystems:
        url = f"{source.rstrip('/')}/{ecosystem}/all.zip"
        try:
            with ask(functools.partial(requests.get, url, timeout=timeout_s)) as response:
                response.raise_for_status()
                data = response.content
            zipfile.ZipFile(io.BytesIO(data)).close()
        except (requests.RequestException, zipfile.BadZipFile) as error:
            raise HelioError(
                Stage.FETCH,
                f"cannot fetch the advisories of `{ecosystem}`",
                where=url,
                detail=f"{type(error).__name__}: {error}",
                hint="download the file where the network allows it, and give its folder with --advisories",
            ) from error
        name = f"{ecosystem.replace(':', '-').replace('/', '-')}.zip"
        with store.writing(folder / name) as file:
            file.write(data)
    return folder

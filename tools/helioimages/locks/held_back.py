"""Which locked packages have a newer version on the index, and whose requirement keeps it out."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.parser import HeaderParser
from operator import itemgetter
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from ..core import archives
from ..core.platform import Platform
from ..machine.store import Store
from ..pypi import markers
from ..pypi.choose import supported_tags
from ..pypi.index import IndexFile, PackageIndex
from ..pypi.lock import PyPILock, Wheel
from ..spec.environment import EnvironmentSpec
from .diff import Held, held_back
from .ecosystems import order

#: How a requirement begins. Spec: PEP 508, "Names".
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kin:
    """Whom an environment shares its packages with.

    Attributes:
        line: the environment and its ancestors, the oldest first.
        inherited: the parent's lock; what it has is told of the parent.
        children: the locks of environments that contain this one, and so have a say.
    """

    line: Sequence[EnvironmentSpec]
    inherited: PyPILock | None = None
    children: Sequence[PyPILock] = ()


def held(
    lock: PyPILock, kin: Kin, index: PackageIndex, store: Store, *, exclude_newer: datetime | None = None
) -> tuple[Held, ...]:
    """Return the packages whose newest version was not taken.

    Who keeps one back is told of the environment files and of wheels that are in the store; it is known for all once
    they were fetched.

    Raises:
        HelioError: the index cannot be asked.
    """
    theirs = {item.name for item in kin.inherited.files} if kin.inherited else set()
    items = [item for item in lock.files if item.name not in theirs]
    pages = index.many(tuple(dict.fromkeys(item.name for item in items)))
    glibc = tuple(int(part) for part in kin.line[-1].virtual_packages["__glibc"].split("."))
    limit = int(exclude_newer.timestamp()) if exclude_newer else None
    tops = {}
    for name, files in pages.items():
        top = newest(files, lock.python, lock.platform, glibc, limit)
        if top is not None:
            tops[name] = str(top)
    locked = {item.name: item.version for item in items}
    behind = {name for name, top in tops.items() if order("wheel", locked[name]) < order("wheel", top)}
    requirements: dict[str, Sequence[Requirement]] = {
        f"environments/{environment.name}": tuple(
            Requirement(text) for text in (*environment.pypi, *environment.constraints)
        )
        for environment in kin.line
    }
    for wheel in (*(record for child in kin.children for record in child.wheels), *lock.wheels):
        requirements[f"{wheel.name} {wheel.version}"] = requires(store, wheel, lock, of=behind)
    return held_back(locked, tops, requirements)


def newest(
    files: Sequence[IndexFile], python: str, platform: Platform, glibc: tuple[int, ...], limit: int | None = None
) -> Version | None:
    """Return the newest version that the platform could install, pre-releases and withdrawn files aside.

    Args:
        limit: seconds since 1970 UTC; files uploaded later do not exist.
    """
    tags = supported_tags(python, platform, (glibc[0], glibc[1]))
    # A page has thousands of files of some hundred versions, and the newest ones decide.
    named: dict[str, list[IndexFile]] = {}
    for file in files:
        if not (file.yanked or (limit is not None and file.uploaded > limit)):
            named.setdefault(_version_in(file.name), []).append(file)
    versions: list[tuple[Version, list[IndexFile]]] = []
    for text, those in named.items():
        with contextlib.suppress(InvalidVersion):
            versions.append((Version(text), those))
    for version, those in sorted(versions, key=itemgetter(0), reverse=True):
        if not version.is_prerelease and any(_fits(file, python, tags) for file in those):
            return version
    return None


def _version_in(name: str) -> str:
    """Return what a file's name says where a version is; PEP 427 and PEP 625 say where."""
    if name.endswith(".whl"):
        return name.split("-", 2)[1] if "-" in name else ""
    return name.removesuffix(".zip").removesuffix(".gz").removesuffix(".tar").rpartition("-")[2]


def _fits(file: IndexFile, python: str, tags: Container[Tag]) -> bool:
    try:
        if file.name.endswith(".whl"):
            *_, of_wheel = parse_wheel_filename(file.name)
            if not any(tag in tags for tag in of_wheel):
                return False
        else:
            parse_sdist_filename(file.name)
        return python + ".99" in SpecifierSet(file.requires_python)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
        return False


def requires(
    store: Store, wheel: Wheel, lock: PyPILock, extras: Iterable[str] = (), *, of: Container[str] | None = None
) -> tuple[Requirement, ...]:
    """Return what a wheel in the store requires on the image; nothing if it is not there.

    Args:
        extras: of the wheel, that are asked for, too.
        of: the distributions that matter; None is all.
    """
    rows = store.recall("requires", wheel.sha256)
    path = store.artefact(wheel.sha256)
    if rows is None:
        if not path.exists():
            return ()
        rows = _read(path)
        store.remember("requires", wheel.sha256, rows)
    values = markers.environment(lock.python, lock.platform)
    wanted = ("", *extras)
    requirements = []
    for row in rows:
        # Reading a requirement takes longer than all else, and few matter.
        if of is not None and (name := _NAME.match(row)) and canonicalize_name(name[0]) not in of:
            continue
        try:
            requirement = Requirement(row)
        except InvalidRequirement:
            continue
        if any(markers.holds(requirement.marker, values, extra) for extra in wanted):
            requirements.append(requirement)
    return tuple(requirements)


def knows(store: Store, wheel: Wheel) -> bool:
    """Say whether `requires` knows what a wheel asks for: it is or was in the store."""
    return store.recall("requires", wheel.sha256) is not None or store.artefact(wheel.sha256).exists()


def _read(path: Path) -> list[str]:
    try:
        with archives.reading(), zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.count("/") == 1 and name.endswith(".dist-info/METADATA"):
                    text = archive.read(name).decode("utf-8", "replace")
                    return HeaderParser().parsestr(text, headersonly=True).get_all("Requires-Dist") or []
    except archives.ArchiveError:
        pass
    return []

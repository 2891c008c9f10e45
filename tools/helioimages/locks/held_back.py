"""Which locked packages have a newer version on the index, and whose requirement keeps it out."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import cast

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from ..core.platform import Platform
from ..machine.store import Store
from ..pypi.choose import supported_tags
from ..pypi.index import IndexFile, PackageIndex
from ..pypi.lock import PyPILock, Wheel
from ..spec.environment import EnvironmentSpec
from .diff import Held, held_back


def held(
    lock: PyPILock,
    line: Sequence[EnvironmentSpec],
    index: PackageIndex,
    store: Store,
    *,
    children: Sequence[PyPILock] = (),
    exclude_newer: datetime | None = None,
) -> tuple[Held, ...]:
    """Return the packages whose newest version was not taken.

    Who keeps one back is told of the environment files and of wheels that are in the store; it is known for all once
    they were fetched.

    Args:
        line: the environment and its ancestors, the oldest first.
        children: the locks of environments that contain this one, and so have a say.

    Raises:
        HelioError: the index cannot be asked.
    """
    items = lock.files
    pages = index.many(tuple(dict.fromkeys(item.name for item in items)))
    glibc = tuple(int(part) for part in line[-1].virtual_packages["__glibc"].split("."))
    limit = int(exclude_newer.timestamp()) if exclude_newer else None
    tops = {}
    for name, files in pages.items():
        top = newest(files, lock.python, lock.platform, glibc, limit)
        if top is not None:
            tops[name] = str(top)
    requirements: dict[str, Sequence[Requirement]] = {
        f"environments/{environment.name}": tuple(
            Requirement(text) for text in (*environment.pypi, *environment.constraints)
        )
        for environment in line
    }
    for wheel in (*(record for child in children for record in child.wheels), *lock.wheels):
        requirements[f"{wheel.name} {wheel.version}"] = requires(store, wheel, lock)
    return held_back({item.name: item.version for item in items}, tops, requirements)


def newest(
    files: Sequence[IndexFile], python: str, platform: Platform, glibc: tuple[int, ...], limit: int | None = None
) -> Version | None:
    """Return the newest version that the platform could install, pre-releases and withdrawn files aside.

    Args:
        limit: seconds since 1970 UTC; files uploaded later do not exist.
    """
    tags = supported_tags(python, platform, (glibc[0], glibc[1]))
    best: Version | None = None
    for file in files:
        if file.yanked or (limit is not None and file.uploaded > limit):
            continue
        try:
            if file.name.endswith(".whl"):
                _, version, _, of_wheel = parse_wheel_filename(file.name)
                if not any(tag in tags for tag in of_wheel):
                    continue
            else:
                _, version = parse_sdist_filename(file.name)
            fits = python + ".99" in SpecifierSet(file.requires_python)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
            continue
        if fits and not version.is_prerelease and (best is None or version > best):
            best = version
    return best


def requires(store: Store, wheel: Wheel, lock: PyPILock, extras: Iterable[str] = ()) -> tuple[Requirement, ...]:
    """Return what a wheel in the store requires on the image; nothing if it is not there.

    Args:
        extras: of the wheel, that are asked for, too.
    """
    rows = store.recall("requires", wheel.sha256)
    path = store.artefact(wheel.sha256)
    if rows is None:
        if not path.exists():
            return ()
        rows = _read(path)
        store.remember("requires", wheel.sha256, rows)
    environment: dict[str, str] = dict(cast(Mapping[str, str], default_environment())) | {
        "python_version": lock.python,
        "python_full_version": f"{lock.python}.0",
        "platform_machine": lock.platform.machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "implementation_name": "cpython",
    }
    wanted = ("", *extras)
    requirements = []
    for row in rows:
        try:
            requirement = Requirement(row)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or any(marker.evaluate(environment | {"extra": extra}) for extra in wanted):
            requirements.append(requirement)
    return tuple(requirements)


def knows(store: Store, wheel: Wheel) -> bool:
    """Say whether `requires` knows what a wheel asks for: it is or was in the store."""
    return store.recall("requires", wheel.sha256) is not None or store.artefact(wheel.sha256).exists()


def _read(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.count("/") == 1 and name.endswith(".dist-info/METADATA"):
                    text = archive.read(name).decode("utf-8", "replace")
                    return HeaderParser().parsestr(text, headersonly=True).get_all("Requires-Dist") or []
    except zipfile.BadZipFile:
        pass
    return []

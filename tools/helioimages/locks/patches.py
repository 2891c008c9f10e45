"""The patches of a lock: what environment.yml names, pinned by version and content."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from packaging.version import InvalidVersion, Version

from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.package import Patch
from ..pypi.lock import PyPILock
from ..spec.environment import EnvironmentSpec, PatchSpec


def with_patches(root: Path, line: Iterable[EnvironmentSpec], lock: PyPILock) -> PyPILock:
    """Return a lock whose wheels have the patches that an environment and its ancestors name, and no others.

    Args:
        line: the ancestors first.

    Raises:
        HelioError: a patch has no file, or is for a package or a version that the lock does not have.
    """
    versions = {wheel.name: wheel.version for wheel in lock.files}
    patches_by_wheel: dict[str, list[Patch]] = {}
    for environment in line:
        for at, spec in enumerate(environment.patches):
            folder = f"environments/{environment.name}"
            where = f"{folder}/environment.yml at x-helioimages.patches[{at}]"
            _check(spec, versions.get(spec.package), where)
            path = f"{folder}/{spec.file}"
            if not (root / path).is_file():
                raise HelioError(Stage.SPEC, f"there is no `{path}`", where=f"{where}.file")
            sha256 = of_file(root / path).removeprefix("sha256:")
            patch = Patch(path=path, sha256=sha256, reason=spec.reason, upstream=spec.upstream)
            patches_by_wheel.setdefault(spec.package, []).append(patch)
    wheels = (dataclasses.replace(wheel, patches=tuple(patches_by_wheel.get(wheel.name, ()))) for wheel in lock.wheels)
    return dataclasses.replace(lock, wheels=tuple(wheels))


def _check(spec: PatchSpec, version: str | None, where: str) -> None:
    if version is None:
        raise HelioError(
            Stage.LOCK,
            f"a patch is for `{spec.package}`, which is no PyPI package of the environment",
            where=f"{where}.package",
            hint="remove it, or ask for the package in the `pip` list",
        )
    try:
        same = Version(version) == Version(spec.version)
    except InvalidVersion:
        same = version == spec.version
    if not same:
        raise HelioError(
            Stage.LOCK,
            f"a patch is for another version of `{spec.package}`",
            where=f"{where}.version",
            detail=f"expected {version}, which the environment has, not {spec.version}",
            hint=f"look whether {spec.upstream} is solved in {version}: then remove the patch, else make it anew",
        )

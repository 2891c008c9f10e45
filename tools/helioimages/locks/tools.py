"""The tools that source-only packages are built with: ``build-lock.toml``.

They are locked once and stay: a tool is added where ``build.<name>.requires`` of environment.yml names one that is not
there, and replaced where the index withdrew it.
"""

from __future__ import annotations

from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..conda.lock import CondaLock
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import say
from ..pypi import lock as pypi_lock
from ..pypi.index import PackageIndex
from ..pypi.lock import PyPILock
from ..pypi.resolve import Request, resolve
from ..spec.environment import EnvironmentSpec
from . import file_names
from .pypi import glibc, python_version
from .state import LockRun, read_text
from .withdrawn import files_of, withdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTools:
    """Build tools before and now."""

    before: PyPILock
    now: PyPILock


def lock_tools(run: LockRun, environment: EnvironmentSpec, conda: CondaLock, index: PackageIndex) -> BuildTools | None:
    """Return an environment's build tools without what the index withdrew, and with those that environment.yml names.

    All other tools keep their versions. What was built with the old ones is to be built anew, for a tool may be used as
    soon as it is there. None where they stay as they are.

    Raises:
        HelioError: the index cannot be asked, or has no tools that fit each other.
    """
    file = f"environments/{environment.name}/{file_names.of(file_names.BUILD_LOCK, run.platform)}"
    text = read_text(run.root / file)
    tools = pypi_lock.parse(text, file) if text is not None else _none(environment, conda, run.platform, file)
    if tools is None or tools.platform != run.platform:
        return None
    lost = withdrawn(files_of(tools), index)
    away = lost.names(yanked="yanked" in run.update)
    added = _added(environment, tools)
    if not away and not added:
        return None
    for requirement in added:
        say(f"    {environment.name}: environment.yml names the build tool {requirement}, which is not locked yet")
    for item in lost.deleted:
        say(f"warning: the package index no longer has the build tool {item.file_name}; another one is taken")
    request = Request(
        where=file,
        requirements=tuple(sorted({wheel.name for wheel in tools.wheels} | set(added))),
        python=python_version(conda, file),
        platform=run.platform,
        glibc=glibc(environment),
        current=tools,
        upgrade=tuple(sorted(away)),
        exclude_newer=run.exclude_newer,
        content_hash=tools.content_hash,
    )
    resolved = resolve(request, index.sizes)
    if resolved.sdists:
        raise HelioError(
            Stage.LOCK,
            f"the package index has no wheel of the build tool `{resolved.sdists[0].name}`",
            where=file,
            detail=f"expected a wheel of {resolved.sdists[0].name} {resolved.sdists[0].version}, found its source",
            hint="take the tool out of the file by hand, or name an index that has it",
        )
    return BuildTools(before=tools, now=resolved)


def _added(environment: EnvironmentSpec, tools: PyPILock) -> tuple[str, ...]:
    """Return the requirements of builds whose tool is not locked; one that has another version says so in the build."""
    locked = {wheel.name for wheel in tools.wheels}
    asked = dict.fromkeys(text for build in environment.build.values() for text in build.requires)
    return tuple(text for text in asked if canonicalize_name(Requirement(text).name) not in locked)


def _none(environment: EnvironmentSpec, conda: CondaLock, platform: Platform, file: str) -> PyPILock | None:
    """Return a lock of no tools yet, where environment.yml asks for some."""
    if not any(build.requires for build in environment.build.values()):
        return None
    return PyPILock(
        python=".".join(python_version(conda, file).split(".")[:2]), platform=platform, content_hash="0" * 64, wheels=()
    )

"""The tools that source-only packages are built with: ``build-lock.toml``, renewed where the index withdrew one."""

from __future__ import annotations

from dataclasses import dataclass

from ..conda.lock import CondaLock
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..pypi import lock as pypi_lock
from ..pypi.index import Index
from ..pypi.lock import PyPILock
from ..pypi.resolve import Request, resolve
from ..spec.environment import EnvironmentSpec
from . import file_names
from .pypi import glibc, python_version
from .state import Run, read_text
from .withdrawn import files_of, withdrawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Build tools before and now."""

    before: PyPILock
    now: PyPILock


def lock_tools(run: Run, environment: EnvironmentSpec, conda: CondaLock, index: Index) -> Tools | None:
    """Return an environment's build tools without what the index withdrew; None where they stay as they are.

    All other tools keep their versions. What was built with the old ones is to be built anew.

    Raises:
        HelioError: the index cannot be asked, or has no tools that fit each other.
    """
    file = f"environments/{environment.name}/{file_names.of(file_names.BUILD_LOCK, run.platform)}"
    text = read_text(run.root / file)
    tools = pypi_lock.parse(text, file) if text is not None else None
    if tools is None or tools.platform != run.platform:
        return None
    lost = withdrawn(files_of(tools), index)
    away = lost.names(yanked="yanked" in run.update)
    if not away:
        return None
    for item in lost.deleted:
        say(f"warning: the package index no longer has the build tool {item.file_name}; another one is taken")
    request = Request(
        where=file,
        requirements=tuple(sorted({wheel.name for wheel in tools.wheels})),
        python=python_version(conda, file),
        platform=run.platform,
        glibc=glibc(environment),
        current=tools,
        upgrade=tuple(sorted(away)),
        exclude_newer=run.exclude_newer,
        content_hash=tools.content_hash,
    )
    found = resolve(request, index.sizes)
    if found.sdists:
        raise HelioError(
            Stage.LOCK,
            f"the package index has no wheel of the build tool `{found.sdists[0].name}`",
            where=file,
            detail=f"expected a wheel of {found.sdists[0].name} {found.sdists[0].version}, found its source",
            hint="take the tool out of the file by hand, or name an index that has it",
        )
    return Tools(before=tools, now=found)

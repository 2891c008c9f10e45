"""What an environment leaves out though packages ask for it: who asks, whether anybody does, and what children keep.

A child leaves out what its parent does, unless something of its own needs it: an image for GPUs on top of one without
CUDA has CUDA's libraries, though it has every package of its parent that does without.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Mapping, Sequence

from ..core.errors import HelioError, Stage
from ..core.package import Without
from ..pypi.lock import PyPILock
from ..pypi.resolve import Request, askers, versions
from ..spec.environment import EnvironmentSpec
from .state import where_of


def inherited(line: Sequence[EnvironmentSpec], request: Request) -> frozenset[str]:
    """Return what an environment leaves out since an ancestor does, less what its own `pip` list comes to need.

    Args:
        line: the environment and its ancestors, the oldest first.
        request: of the environment.
    """
    left: frozenset[str] = frozenset()
    for above, environment in itertools.pairwise(line):
        left |= above.without.keys()
        if left and environment.pypi:
            own = dataclasses.replace(request, requirements=environment.pypi, excluded=frozenset())
            left -= (versions(own) or {}).keys()
    return left


def checked(environment: EnvironmentSpec, request: Request) -> dict[str, tuple[str, ...]]:
    """Return distribution -> who asks for it, of what an environment leaves out.

    Args:
        request: of the environment, with what its ancestors leave out only.

    Raises:
        HelioError: nobody asks for it, or the parent environment has it.
    """
    askers_by_name = askers(request)
    if askers_by_name is None:
        # Nothing fits with it, and without it something may: the resolution tells.
        return {}
    parents = {item.name for item in request.inherited.files} if request.inherited else set()
    for name in environment.without:
        where = f"{where_of(environment)} at x-helioimages.without.{name}"
        if name in parents:
            raise HelioError(
                Stage.LOCK,
                f"`{name}` is in the parent environment `{environment.parent}`, and cannot be left out",
                where=where,
                hint="leave it out there, or remove the line",
            )
        if name not in askers_by_name:
            near = difflib.get_close_matches(name, askers_by_name, n=1)
            raise HelioError(
                Stage.LOCK,
                f"no package asks for `{name}`",
                where=where,
                detail="expected a distribution that would be locked without this line",
                hint=f"did you mean `{near[0]}`?" if near else "remove the line",
            )
    return {name: askers_by_name[name] for name in environment.without}


def recorded(
    environment: EnvironmentSpec, asked: Mapping[str, tuple[str, ...]], parent: PyPILock | None, lock: PyPILock
) -> PyPILock:
    """Return a lock whose wheels say what they ask for and the image leaves out; the parent's say what they say there.

    Args:
        asked: of `checked`.
    """
    above = {wheel.name: wheel.without for wheel in parent.wheels} if parent else {}
    wheels = []
    for wheel in lock.wheels:
        mine = tuple(
            Without(name=name, reason=environment.without[name])
            for name, who in sorted(asked.items())
            if wheel.name in who
        )
        wheels.append(dataclasses.replace(wheel, without=above.get(wheel.name, mine)))
    return dataclasses.replace(lock, wheels=tuple(wheels))

"""CUDA in an environment: which version its packages bring, and what driver that asks of a node. Pure.

NVIDIA's packages on PyPI say their CUDA in the name (``nvidia-cudnn-cu13``) or, from 13 on, in the runtime's version
alone. Two majors in one environment are two copies of every library, and which of them a process loads is the order of
its imports: such a lock is refused.

Spec: NVIDIA, "CUDA Compatibility", Minor Version Compatibility, table 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..core.errors import HelioError, Stage

_NAMED = re.compile(r"^.+-(?:cu|cuda)(?P<major>\d\d)x?(?:-.+)?$|^.+-cuda(?P<jax>\d\d)-.+$")
_RUNTIME = re.compile(r"^nvidia-cuda-runtime(-cu\d\d)?$")
#: CUDA major -> the oldest driver branch that runs all of its minors. No package says it; the table above does.
_DRIVERS = {11: "450", 12: "525", 13: "580"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuda:
    """The CUDA of an environment.

    Attributes:
        version: of the runtime library, ``13.2``.
        driver: the oldest NVIDIA driver that runs it, ``580``.
    """

    version: str
    driver: str

    def labels(self) -> dict[str, str]:
        """Return the labels of an image that has it."""
        return {"io.helioimages.cuda": self.version, "io.helioimages.cuda.driver": self.driver}


def find(packages: Iterable[tuple[str, str]], *, declared: str | None, where: str) -> Cuda | None:
    """Return the CUDA that packages bring, None if there is no runtime library among them.

    Args:
        packages: name and version of each.
        declared: the environment's virtual package ``__cuda``, what is asked of a node's driver; None if it has none.
        where: the environment's file, for errors.

    Raises:
        HelioError: packages are for two CUDA majors, or for another one than ``declared``, or the major is so new that
            its driver is not known here.
    """
    majors: dict[int, list[str]] = {}
    runtime = ""
    for name, version in packages:
        if _RUNTIME.match(name):
            runtime = ".".join(version.split(".")[:2])
            majors.setdefault(int(version.split(".")[0]), []).append(name)
        elif match := _NAMED.match(name):
            majors.setdefault(int(match["major"] or match["jax"]), []).append(name)
    if len(majors) > 1:
        raise HelioError(
            Stage.LOCK,
            "packages for more than one CUDA major",
            where=where,
            detail="\n".join(f"CUDA {major}: {', '.join(sorted(names))}" for major, names in sorted(majors.items())),
            hint="ask for a newer version of what drags the other one in, or leave it out",
        )
    if not runtime:
        return None
    (major,) = majors
    if declared is None or int(declared.split(".")[0]) != major:
        raise HelioError(
            Stage.LOCK,
            f"the packages bring CUDA {runtime}",
            where=f"{where} at x-helioimages.virtual-packages.__cuda",
            detail=f"expected a version of CUDA {major}, "
            + (f"not {declared!r}" if declared else "found nothing of the kind"),
            hint=f'write `__cuda: "{major}.0"`',
        )
    if major not in _DRIVERS:
        raise HelioError(
            Stage.LOCK,
            f"the oldest driver for CUDA {major} is not known",
            where=where,
            detail=f"expected one of CUDA {', '.join(map(str, _DRIVERS))}, not {major}",
            hint="add it to tools/helioimages/locks/cuda.py, from NVIDIA's table of minor version compatibility",
        )
    return Cuda(version=runtime, driver=_DRIVERS[major])

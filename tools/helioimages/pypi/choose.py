"""Choose the one file of a release that a platform installs, by wheel tags. Pure.

Wheel variants are never chosen: what fits a GPU or a processor is asked of one machine, and an image is for all.

Spec: PyPA "Platform compatibility tags"; PEP 600 (manylinux); PEP 825 (wheel variants).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import BuildTag, InvalidWheelFilename, parse_wheel_filename

from ..core.platform import Platform

#: A wheel's name and, behind its tags, the label of a variant. A build tag begins with a digit, a Python's tag never.
_VARIANT = re.compile(r"([^-]+-[^-]+(?:-[0-9][^-]*)?-[^-0-9][^-]*-[^-]+-[^-]+)-([0-9a-z_.]+)\.whl")
#: The names that manylinux had before PEP 600, by glibc minor version; the oldest ones never had arm64.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


def platform_tags(platform: Platform, glibc: tuple[int, int]) -> Iterator[str]:
    """Yield the platform tags that run, the best first.

    >>> list(platform_tags(Platform.of("linux/arm64"), (2, 18)))
    ['manylinux_2_18_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64', 'linux_aarch64']
    """
    processor = platform.machine
    oldest = 5 if processor == "x86_64" else 17
    for minor in range(glibc[1], oldest - 1, -1):
        yield f"manylinux_2_{minor}_{processor}"
        if minor in _LEGACY:
            yield f"{_LEGACY[minor]}_{processor}"
    yield f"linux_{processor}"


@lru_cache
def supported_tags(python_version: str, platform: Platform, glibc: tuple[int, int]) -> dict[Tag, int]:
    """Return tag -> rank, 0 the best, in the order that installers use.

    Args:
        python_version: ``3.13`` or ``3.13.5``.
    """
    version = tuple(int(part) for part in python_version.split(".")[:2])
    platforms = tuple(platform_tags(platform, glibc))
    tags = [
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, interpreter=f"cp{version[0]}{version[1]}", platforms=platforms),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def best(names: Iterable[str], tags: dict[Tag, int]) -> str | None:
    """Return the wheel that an installer takes, or None; names that are not wheels' are passed over."""
    ranked: list[tuple[int, tuple[int, BuildTag], str]] = []
    for name in names:
        try:
            _, _, build, of_wheel = parse_wheel_filename(name)
        except InvalidWheelFilename:
            continue
        ranks = [tags[tag] for tag in of_wheel if tag in tags]
        if ranks:
            # Between equal tags the higher build number wins, and none is lower than any.
            ranked.append((-min(ranks), (len(build), build), name))
    return max(ranked)[2] if ranked else None


def variant_of(name: str) -> tuple[str, str] | None:
    """Return the plain name of a wheel variant and its label; None of every other file.

    >>> variant_of("torch-2.9-cp313-cp313-manylinux_2_28_x86_64-cu130.whl")
    ('torch-2.9-cp313-cp313-manylinux_2_28_x86_64.whl', 'cu130')
    >>> variant_of("torch-2.9-1-cp313-cp313-linux_x86_64.whl") is None
    True
    """
    match = _VARIANT.fullmatch(name)
    try:
        if match:
            parse_wheel_filename(f"{match[1]}.whl")
            return f"{match[1]}.whl", match[2]
    except InvalidWheelFilename:
        pass
    return None

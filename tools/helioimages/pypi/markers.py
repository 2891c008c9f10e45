"""Whether a requirement is for an image: its markers are compared with the image's values, never this machine's.

Spec: PyPA "Dependency specifiers", section "Environment Markers".
"""

from __future__ import annotations

from collections.abc import Mapping

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName

from ..core.platform import Platform

#: What comparing raises where a marker has no meaning, e.g. ``os_name ~= "posix"``.
MEANINGLESS = (UndefinedComparison, UndefinedEnvironmentName)


def environment(python: str, platform: Platform) -> Mapping[str, str]:
    """Return the values of an image, but ``extra``.

    Args:
        python: a version, e.g. ``3.13`` or ``3.13.5``.
    """
    whole = python if python.count(".") > 1 else f"{python}.0"
    return {
        "implementation_name": "cpython",
        "implementation_version": whole,
        "os_name": "posix",
        "platform_machine": platform.machine,
        "platform_python_implementation": "CPython",
        # Of the node that runs the image: nobody knows it before.
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": whole,
        "python_version": ".".join(whole.split(".")[:2]),
        "sys_platform": "linux",
    }


def holds(marker: Marker | None, values: Mapping[str, str], extra: str = "") -> bool:
    """Say whether a requirement with this marker is asked for; one without meaning never holds, as uv has it.

    Args:
        marker: None holds always.
        values: of `environment`.

    >>> from ..core.platform import FIRST
    >>> values = environment("3.13", FIRST)
    >>> [holds(Marker(text), values) for text in ('python_version < "3.12"', 'os_name == "posix"', 'os_name ~= "a"')]
    [False, True, False]
    """
    try:
        return marker is None or marker.evaluate({**values, "extra": extra})
    except MEANINGLESS:
        return False

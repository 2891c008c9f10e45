"""NVIDIA GPUs for containers: whether an engine has some, and how each engine is asked for them.

docker answers a request by NVIDIA's runtime, or gives devices by their CDI names. podman knows CDI alone; below 5.4 its
API takes either request and gives nothing, so it is refused here. Its own client has always asked by CDI.

Spec: Docker Engine API, "ContainerCreate", DeviceRequests; CNCF, "Container Device Interface" (``vendor/class=name``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docker.types import DeviceRequest

from ..core.errors import HelioError, Stage

#: As people say that they want none where they would get some.
NONE = "none"
_KIND = "nvidia.com/gpu"
#: The first podman whose API gives devices by their CDI names.
_CDI_BY_API = (5, 4)
#: Where CDI's descriptions are, and what a loaded driver of NVIDIA's leaves (the second: in Windows' Linux).
_SPECS = (Path("/etc/cdi"), Path("/var/run/cdi"))
_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/dxg"))


def check(gpus: str | None) -> None:
    """Refuse what is neither ``all``, ``none`` nor a number.

    Raises:
        HelioError: it is something else.
    """
    if gpus is None or gpus in ("all", NONE) or (gpus.isdecimal() and int(gpus)):
        return
    raise HelioError(
        Stage.USAGE, f"`--gpus {gpus}` is not understood", detail=f"expected `all`, `none` or a number, not {gpus!r}"
    )


def requests(client: Any, gpus: str | None) -> list[DeviceRequest]:
    """Return what asks an engine for GPUs.

    Args:
        client: a Docker SDK client.
        gpus: how many, a number or ``all``; None or ``none`` asks for none, and the engine for nothing.

    Raises:
        HelioError: it is not a number of GPUs, or the engine would give none without a word.
    """
    check(gpus)
    if gpus is None or gpus == NONE:
        return []
    version = client.version()
    if is_podman(version):
        if _release(version) < _CDI_BY_API:
            raise HelioError(
                Stage.ENGINE,
                f"podman {version.get('Version', '')} gives no GPU through its API (`--gpus {gpus}`)",
                detail="expected podman 5.4 or newer",
                hint=f"`buildimages run --shell` gives one here too, and so does `podman run --device {_KIND}=all`",
            )
        return [_by_name(gpus)]
    told = client.info()
    if "nvidia" not in (told.get("Runtimes") or {}) and _discovered(told):
        return [_by_name(gpus)]
    return [DeviceRequest(count=-1 if gpus == "all" else int(gpus), capabilities=[["gpu"]])]


def words(client: Any, gpus: str | None, *, podman: bool) -> list[str]:
    """Return what the client of an engine is told at the command line.

    Args:
        client: a Docker SDK client.
        gpus: as in `requests`.
        podman: it is podman's own.

    Raises:
        HelioError: as `requests` does.
    """
    check(gpus)
    if gpus is None or gpus == NONE:
        return []
    if podman:
        return [word for name in names(gpus) for word in ("--device", name)]
    (request,) = requests(client, gpus)
    if request["Driver"] == "cdi":
        return [word for name in request["DeviceIDs"] for word in ("--device", name)]
    return ["--gpus", gpus]


def present(client: Any, address: str) -> str | None:
    """Return ``all`` where an engine has GPUs to give, else None. What is only likely is no GPU.

    Args:
        client: a Docker SDK client.
        address: where it listens: only an engine of this machine has this machine's files.
    """
    version, told = client.version(), client.info()
    here = address.startswith("unix://")
    if is_podman(version):
        return "all" if here and _release(version) >= _CDI_BY_API and _described() else None
    if _discovered(told):
        return "all"
    has_driver = any(path.exists() for path in _DRIVER) or not here
    return "all" if "nvidia" in (told.get("Runtimes") or {}) and has_driver else None


def names(gpus: str) -> tuple[str, ...]:
    """Return the CDI names of GPUs.

    >>> names("2")
    ('nvidia.com/gpu=0', 'nvidia.com/gpu=1')
    """
    return (f"{_KIND}=all",) if gpus == "all" else tuple(f"{_KIND}={index}" for index in range(int(gpus)))


def is_podman(version: Mapping[str, Any]) -> bool:
    """Say whether an engine's version is one of podman's."""
    parts: Sequence[Mapping[str, Any]] = version.get("Components") or ()
    return any("podman" in str(part.get("Name", "")).lower() for part in parts)


def _by_name(gpus: str) -> DeviceRequest:
    return DeviceRequest(driver="cdi", device_ids=list(names(gpus)))


def _release(version: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(version.get("Version", "")))[:2])


def _discovered(told: Mapping[str, Any]) -> bool:
    """Say whether docker found devices of CDI; it tells them from 28.2 on."""
    devices: Sequence[Mapping[str, Any]] = told.get("DiscoveredDevices") or ()
    return any(str(device.get("ID", "")).startswith(f"{_KIND}=") for device in devices)


def _described() -> bool:
    """Say whether a file of CDI describes NVIDIA's devices; they are JSON or YAML, and name their kind in a word."""
    files = [path for folder in _SPECS if folder.is_dir() for path in sorted(folder.iterdir())]
    return any(
        path.suffix in (".json", ".yaml", ".yml") and _KIND in path.read_text("utf-8", "replace")
        for path in files
        if path.is_file()
    )

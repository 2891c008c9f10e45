"""Containers that must not outlive us: each names the process that waits for it.

A process that is killed leaves its container, which may still work and take memory. Whoever makes the next one removes
those whose process is gone; another machine's, or another container's, on a shared engine are left alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Any

import docker.errors
import requests

from ..core.errors import HelioError, Stage
from ..machine import processes
from ..machine.processes import Background

_LABEL = "io.helioimages.owner"
#: The label of a container that people work in; it stays until they end it.
SERVED = {"io.helioimages.run": "1"}
#: docker's states of containers that run no more; podman's are among them.
_ENDED = ("exited", "dead")


def label() -> dict[str, str]:
    """Return the label of a container that this process waits for."""
    me = processes.find("owner", os.getpid())
    return {_LABEL: f"{_world()} {me.pid} {me.started}"}


def sweep(client: Any) -> None:
    """Remove containers whose process is gone.

    Args:
        client: a Docker SDK client.
    """
    with contextlib.suppress(docker.errors.APIError, requests.RequestException):
        for container in client.containers.list(all=True, filters={"label": _LABEL}, ignore_removed=True):
            with contextlib.suppress(docker.errors.APIError, ValueError):
                world, pid, started = container.labels[_LABEL].rsplit(" ", 2)
                if world == _world() and not _alive(int(pid), int(started)):
                    container.remove(force=True)


def served(client: Any, *, ended: bool, port: int | None = None) -> int:
    """Remove the containers that were started for people to work in, and return how many went.

    Args:
        client: a Docker SDK client.
        ended: only those that ended by themselves, or when the machine did.
        port: only the one that answers at this port of loopback.

    Raises:
        HelioError: the engine does not tell which there are.
    """
    filters: dict[str, object] = {"label": [f"{key}={value}" for key, value in SERVED.items()]}
    gone = 0
    try:
        containers = client.containers.list(all=True, filters=filters, ignore_removed=True)
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(Stage.ENGINE, "the engine lists no containers", detail=str(error)) from error
    for container in containers:
        # podman knows other states than docker, and refuses to look for one that it does not know.
        if ended and container.status not in _ENDED:
            continue
        if port is not None and str(port) not in _ports(container):
            continue
        with contextlib.suppress(docker.errors.APIError):
            container.remove(force=True)
            gone += 1
    return gone


def _ports(container: Any) -> set[str]:
    """Return the ports of this machine that lead to a container, also of one that ended."""
    bindings = container.attrs["HostConfig"]["PortBindings"] or {}
    return {bound["HostPort"] for bounds in bindings.values() for bound in bounds or ()}


def abandon(client: Any) -> None:
    """Remove this process's own containers: it was interrupted, and nobody waits for them any more.

    Args:
        client: a Docker SDK client.
    """
    with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
        mine = [f"{key}={value}" for key, value in label().items()]
        for container in client.containers.list(all=True, filters={"label": mine}, ignore_removed=True):
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True)


def _alive(pid: int, started: int) -> bool:
    return Background(name="owner", pid=pid, started=started).alive


def _world() -> str:
    """Return what numbers its processes by itself: a machine, or a container on it."""
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"

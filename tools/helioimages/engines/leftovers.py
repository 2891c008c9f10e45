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

from ..machine import processes
from ..machine.processes import Background

_LABEL = "io.helioimages.owner"


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

"""What lies beside the store's own content and `prune` leaves alone: the embedded registry's data, and an engine's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker.errors
import requests

from ..core.progress import step
from ..machine.store import Store
from . import own_engine
from .engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """One place.

    Attributes:
        size: bytes.
        remove: the command that frees them, and what is lost.
    """

    name: str
    size: int
    remove: str


def beside(store: Store, engine: Engine | None) -> Iterator[Beside]:
    """Yield what there is.

    Args:
        engine: the running one, None if there is none.
    """
    registry = store.root / "registry"
    if size := _size(registry):
        remove = f"buildimages down && rm -r {shlex.quote(str(registry))}   # what was published there is lost"
        yield Beside(name="embedded registry", size=size, remove=remove)
    if engine is None:
        if size := _size(store.root / "engine"):
            # Its folders are root's, and mounts may be below: the engine itself is to tidy them up.
            yield Beside(name="engine, which does not run", size=size, remove="buildimages up, then buildimages prune")
        return
    try:
        with step("the engine counts its layers"):
            layers = int(engine.client.df().get("LayersSize") or 0)
    except (docker.errors.DockerException, requests.RequestException):
        return
    if layers:
        whose = "this project's engine" if own_engine.running(store) else "engine"
        remove = (
            f"docker -H {engine.address} system prune --all   # images that no container uses; a run pulls them anew"
        )
        yield Beside(name=whose, size=layers, remove=remove)


def _size(folder: Path) -> int:
    """Return the bytes of a folder's files, as far as they can be seen, links not followed."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                continue
    return total

"""What `up` will need of this machine: each is tried, nothing is started or installed, and a lack has one command."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

from ..core import threads
from ..core.errors import HelioError
from ..core.http import reason
from ..core.words import human_size
from ..locks import mirror
from ..locks.apt import SUITE
from ..machine import host
from ..machine.store import Store
from ..pypi.resolve import places
from . import engine, registry_server

#: Bytes of disk for the images that are made without being named, from nothing; and to go on in a store that has them.
ROOM_NEW, ROOM_MORE = 25 * 10**9, 5 * 10**9
_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was tried.

    Attributes:
        found: what is there, for people; of a lack, what is wrong.
        mend: the command, or the sentence, that mends it; empty if nothing lacks.
        package: Debian's package that mends it; empty if none does.
    """

    name: str
    found: str
    mend: str = ""
    package: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing lacks."""
        return not (self.mend or self.package)


def checks(store: Store) -> tuple[Check, ...]:
    """Try everything; the slow ones, which ask servers, at once."""
    asked: tuple[Callable[[], Check], ...] = (_index, _mirror, lambda: _engine(store), lambda: _registry(store))
    with threads.pool(len(asked)) as pool:
        answers = tuple(pool.map(lambda ask: ask(), asked))
    programs = tuple(_program(need) for need in host.NEEDS if need.package not in ("docker.io", "docker-registry"))
    return (_disk(store), *programs, *answers)


def mend(answers: tuple[Check, ...]) -> tuple[str, ...]:
    """Return the commands that mend what lacks: one for all packages, then those of the others."""
    packages = [check.package for check in answers if check.package]
    install = [" ".join(host.command(host.with_helpers(packages)))] if packages else []
    return (*install, *(check.mend for check in answers if check.mend))


def _program(need: host.Need) -> Check:
    there = need.there()
    return Check(
        name=need.name, found="here" if there else f"missing: {need.why}", package="" if there else need.package
    )


def _disk(store: Store) -> Check:
    # The store's folder comes to be with the first run.
    place = next(path for path in (store.root, *store.root.parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        return unwritable(store.root, "read-only, or somebody else's")
    free = shutil.disk_usage(place).free
    wanted = ROOM_MORE if any((store.root / "blobs").glob("*/*")) else ROOM_NEW
    state = f"{human_size(free)} free for the store, {store.root}"
    if free >= wanted:
        return Check(name="disk", found=state)
    way = "buildimages prune" if wanted == ROOM_MORE else "export HELIOIMAGES_STORE=… with a folder on a larger disk"
    return Check(name="disk", found=f"{state}; expected {human_size(wanted)}", mend=way)


def unwritable(root: Path, why: str) -> Check:
    """Return the lack of a store that cannot be written."""
    return Check(
        name="disk",
        found=f"the store cannot be written, {root}: {why}",
        mend="export HELIOIMAGES_STORE=… with a folder that can be written",
    )


def _engine(store: Store) -> Check:
    name = "container engine"
    try:
        running = engine.running(store)
    except HelioError as error:
        return Check(name=name, found=f"{error.message} (DOCKER_HOST)", mend="unset DOCKER_HOST")
    if running is not None:
        return Check(name=name, found=f"{running.kind()}, at {running.address}")
    if host.dockerd():
        return Check(name=name, found="none runs; `up` starts one of this project's own")
    return Check(name=name, found="missing: builder and smoke notebooks", package="docker.io")


def _registry(store: Store) -> Check:
    name = "registry"
    if server := registry_server.running(store.root):
        return Check(name=name, found=f"this project's own, at {server.host}")
    if shutil.which("docker-registry"):
        return Check(name=name, found="none runs; `up` starts one of this project's own")
    return Check(name=name, found="missing: embedded registry", package="docker-registry")


def _index() -> Check:
    name, way = "package index", "export UV_DEFAULT_INDEX=… with the address of a package index"
    try:
        # The default one, which comes last: an extra index need not have what every full one has.
        indexes = places().indexes
    except HelioError as error:
        return Check(name=name, found=error.message, mend=way)
    if not indexes:
        return Check(name=name, found="none, only folders of files", mend=way)
    return _reached(name, indexes[-1], indexes[-1].rstrip("/") + "/pip/", way)


def _mirror() -> Check:
    name, way = "Debian mirror", "export HELIOIMAGES_DEBIAN_MIRROR=… with the address of one, ending in /debian"
    try:
        address = mirror.mirrors()["debian"]
    except HelioError as error:
        return Check(name=name, found=error.message, mend=way)
    return _reached(name, address, f"{address}/dists/{SUITE}/InRelease", way)


def _reached(name: str, address: str, page: str, way: str) -> Check:
    """Ask for a page that every server of the kind has."""
    parts = urlsplit(address)
    # Without a password that the configuration may have in it.
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.scheme == "file":
        there = Path(url2pathname(urlsplit(page).path)).exists()
        fault = "" if there else "not found"
    else:
        fault = _asked(page)
    return Check(name=name, found=f"{shown}: {fault}" if fault else shown, mend=way if fault else "")


def _asked(page: str) -> str:
    """Return why a page cannot be had; empty if it can."""
    try:
        with requests.get(page, timeout=_TIMEOUT_S, stream=True) as response:
            return "" if response.ok else f"{response.status_code} {response.reason}"
    except requests.RequestException as error:
        return reason(error)

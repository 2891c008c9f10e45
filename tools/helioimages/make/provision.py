"""Provision: bring every artefact that the locks name into the store, whatever it takes.

Wheels come from the configured index, .debs from the Debian mirror, conda packages of other
channels from where those are (see conda/channels.py). What
no index has is made: the local channel is compiled, source-only packages are built, both in the builder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from ..conda.channels import ChannelPlaces, read_places
from ..conda.lock import CondaPackage
from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.files import of_file
from ..core.platform import FIRST, Platform
from ..core.progress import say, stage
from ..core.words import count
from ..debian import lock as apt_lock
from ..debian.lock import AptLock
from ..locks import file_names, mirror
from ..locks.channels import conda_file
from ..locks.file_names import builder_lock
from ..locks.read import Locks
from ..locks.withdrawn import withdrawn
from ..machine.fetch import WantedFile, fetch_all
from ..machine.store import Store, has
from ..pypi import lock as pypi_lock
from ..pypi.index import PackageIndex
from ..pypi.lock import Sdist, Wheel
from . import channel
from .builder import Builder


def debs(store: Store, lock: AptLock, where: str, *, jobs: int) -> dict[str, Path]:
    """Fetch a Debian lock's packages.

    Returns:
        sha256 (hex) -> file.
    """
    return fetch_all(_debs(lock, where), store, jobs=jobs, label="Debian packages")


def builder(
    root: Path, store: Store, client: Callable[[], object], *, jobs: int, platform: Platform = FIRST
) -> Builder:
    """Return the builder of ``channel/apt-lock.json``; ``client`` gives a Docker SDK client when one is needed."""
    file = builder_lock(platform)
    try:
        lock = apt_lock.parse((root / file).read_text("utf-8"), file)
    except FileNotFoundError as error:
        raise HelioError(Stage.LOCK, f"`{file}` is missing", detail=f"it locks the builder for {platform}") from error
    return Builder(client(), store, lock, debs(store, lock, file, jobs=jobs), jobs=jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplies:
    """Where artefacts come from.

    Attributes:
        root: the checkout.
        index: gives the package index when a file must be fetched.
        builder: gives the builder when something must be made.
        platform: what it is for.
        jobs: downloads, or compilers, at once.
        abandon: called at an interrupt; ends what the builder began.
    """

    root: Path
    store: Store
    index: Callable[[], PackageIndex]
    builder: Callable[[], Builder]
    platform: Platform
    jobs: int
    abandon: Callable[[], None] = lambda: None


def packages(
    supplies: Supplies,
    locks: Sequence[Locks],
    needed: Container[str] | None = None,
    debian: Callable[[Mapping[str, Path]], None] = lambda _: None,
) -> dict[str, Path]:
    """Bring the artefacts of several images into the store; the local channel is compiled while others are fetched.

    Args:
        needed: the sha256 of what is wanted of them; None is all.
        debian: called with the .debs when they are here, before the others are.

    Returns:
        sha256 (hex) -> file, of every conda package, wheel, .deb and patch.

    Raises:
        HelioError: an artefact cannot be had or made, or what was made, or a patch, is not what a lock says.
    """
    items = [
        (wheel, f"{lock.files['pypi']} at packages[{i}]")
        for lock in locks
        for i, wheel in enumerate(lock.pypi.wheels)
        if not wheel.built and (needed is None or wheel.sha256 in needed)
    ]
    # Before anything is fetched or compiled: a source that is gone would be missed an hour later.
    _refuse_deleted(supplies.store, [*items, *_sources(supplies, locks, needed)], supplies.index)
    # First, since they are here or nowhere.
    paths = patches(supplies.root, supplies.store, locks)
    local = {
        package.sha256: (package, f"{lock.files['conda']} at package[{i}]")
        for lock in locks
        for i, package in enumerate(lock.conda.packages)
        if package.channel == "local" and (needed is None or package.sha256 in needed)
    }
    with threads.pool(1, end=supplies.abandon) as pool:
        channel_paths = pool.submit(_local_channel, supplies, local)
        wanted = [
            mirror.wanted(deb, f"{lock.files['apt']} at packages[{i}]")
            for lock in locks
            for i, deb in enumerate(lock.apt.packages)
            if needed is None or deb.sha256 in needed
        ]
        with _told_at_once(channel_paths):
            debs = fetch_all(wanted, supplies.store, jobs=supplies.jobs, label="Debian packages")
            debian(debs)
            wanted = [*_of_channels(locks, needed), *(_wheel(item, where, supplies.index) for item, where in items)]
            paths |= debs | fetch_all(wanted, supplies.store, jobs=supplies.jobs, label="packages")
        return paths | channel_paths.result()


@contextlib.contextmanager
def _told_at_once(beside: Future[dict[str, Path]]) -> Iterator[None]:
    """Say what failed in this block while something else goes on beside it, for minutes perhaps."""
    try:
        yield
    except HelioError as error:
        if not beside.done():
            say(f"warning: {error.message}; the local channel is compiled to its end first, so the next run has it")
        raise


def _of_channels(locks: Sequence[Locks], needed: Container[str] | None) -> list[WantedFile]:
    """Return what to fetch of conda channels."""
    items = [
        (package, f"{lock.files['conda']} at package[{i}]")
        for lock in locks
        for i, package in enumerate(lock.conda.packages)
        if package.channel != "local" and (needed is None or package.sha256 in needed)
    ]
    places = read_places() if items else ChannelPlaces()
    return [conda_file(package, where, places) for package, where in items]


def patches(root: Path, store: Store, locks: Iterable[Locks]) -> dict[str, Path]:
    """Take the patches that locks name out of the checkout into the store.

    Returns:
        sha256 (hex) -> file.

    Raises:
        HelioError: a patch is missing, or another one than was locked.
    """
    files: dict[str, Path] = {}
    for lock in locks:
        for at, wheel in enumerate(lock.pypi.wheels):
            for number, patch in enumerate(wheel.patches):
                if patch.sha256 in files:
                    continue
                file = root / patch.path
                there = of_file(file) if file.is_file() else ""
                if there != f"sha256:{patch.sha256}":
                    raise HelioError(
                        Stage.LOCK,
                        f"a patch of `{wheel.name}` is {'another one than was locked' if there else 'missing'}",
                        where=f"{lock.files['pypi']} at packages[{at}].tool.helioimages.patches[{number}]",
                        detail=f"expected {patch.path} of sha256:{patch.sha256}, not {there or 'nothing'}",
                        hint="review it, then run `buildimages lock`",
                    )
                files[store.put_artefact(file)] = store.artefact(patch.sha256)
    return files


def sdists(
    store: Store, records: Iterable[Sdist], where: str, index: Callable[[], PackageIndex], *, jobs: int
) -> dict[str, Path]:
    """Fetch source archives."""
    wanted = _of_index(store, [(sdist, f"{where} at packages `{sdist.name}`") for sdist in records], index)
    return fetch_all(wanted, store, jobs=jobs, label="source archives")


def wheels(
    store: Store, records: Iterable[Wheel], where: str, index: Callable[[], PackageIndex], *, jobs: int
) -> dict[str, Path]:
    """Fetch wheels."""
    wanted = _of_index(store, [(wheel, f"{where} at packages `{wheel.name}`") for wheel in records], index)
    return fetch_all(wanted, store, jobs=jobs, label="build tools")


def _local_channel(supplies: Supplies, needed: Mapping[str, tuple[CondaPackage, str]]) -> dict[str, Path]:
    """Return the locked packages of the local channel, compiling it if the store lacks one of them."""
    store = supplies.store
    paths = {sha256: store.artefact(sha256) for sha256 in needed}
    if all(has(paths[sha256], package.size) for sha256, (package, _) in needed.items()):
        return paths
    with stage("local channel from source"):
        folder = channel.build_channel(
            store, supplies.root, supplies.builder(), jobs=supplies.jobs, platform=supplies.platform
        )
    made = channel.artefact_paths(folder)
    for sha256, (package, where) in needed.items():
        if sha256 in made:
            # The channel's folder may be there without the store's own copy, or with a cut one.
            store.put_artefact(made[sha256])
        elif not has(paths[sha256], package.size):
            same_name = [path.name for path in made.values() if path.name.startswith(f"{package.name}-")]
            raise HelioError(
                Stage.BUILD,
                f"the local channel has another `{package.name}` than the lock",
                where=where,
                detail=f"expected {package.file_name} not {', '.join(same_name) or 'nothing'}",
                hint="the builder's packages or the recipes changed; run `buildimages lock`",
            )
    return paths


def _debs(lock: AptLock, where: str) -> list[WantedFile]:
    return [mirror.wanted(deb, f"{where} at packages[{index}]") for index, deb in enumerate(lock.packages)]


def _sources(
    supplies: Supplies, locks: Sequence[Locks], needed: Container[str] | None
) -> Iterator[tuple[Wheel | Sdist, str]]:
    """Yield what the wheels that are needed have to be built of and with, as `_refuse_deleted` wants it."""
    store = supplies.store
    for lock in locks:
        built = [wheel for wheel in lock.pypi.wheels if wheel.built and (needed is None or wheel.sha256 in needed)]
        if all(has(store.artefact(wheel.sha256), wheel.size) for wheel in built):
            continue
        yield from ((sdist, f"{lock.files['pypi']} at packages `{sdist.name}`") for sdist in lock.pypi.sdists)
        file = Path(lock.files["pypi"]).with_name(file_names.of(file_names.BUILD_LOCK, supplies.platform)).as_posix()
        # Whoever builds says that it is missing.
        if (supplies.root / file).exists():
            tools = pypi_lock.parse((supplies.root / file).read_text("utf-8"), file)
            yield from ((tool, f"{file} at packages `{tool.name}`") for tool in tools.wheels)


def _of_index(
    store: Store, items: Sequence[tuple[Wheel | Sdist, str]], index: Callable[[], PackageIndex]
) -> list[WantedFile]:
    """Return what to fetch of the package index: (file, where a lock names it) pairs.

    Raises:
        HelioError: as `_refuse_deleted` says.
    """
    _refuse_deleted(store, items, index)
    return [_wheel(item, where, index) for item, where in items]


def _refuse_deleted(
    store: Store, items: Sequence[tuple[Wheel | Sdist, str]], index: Callable[[], PackageIndex]
) -> None:
    """Refuse (file, where a lock names it) pairs of which the index deleted some that the store lacks.

    Raises:
        HelioError: all of them are named, and the command that renews their locks.
    """
    absent: dict[Wheel | Sdist, str] = {}
    for item, where in items:
        if not has(store.artefact(item.sha256), item.size):
            absent.setdefault(item, where)
    if absent and (deleted := withdrawn(absent, index()).deleted):
        raise HelioError(
            Stage.FETCH,
            f"the package index no longer has {count(len(deleted), 'locked file')}",
            where=", ".join(dict.fromkeys(absent[item].partition(" at ")[0] for item in deleted)),
            detail="\n".join(item.file_name for item in deleted),
            hint="run `buildimages lock`, which takes other versions of them; then test and commit",
        )


def _wheel(item: Wheel | Sdist, where: str, index: Callable[[], PackageIndex]) -> WantedFile:
    return WantedFile(
        name=item.file_name,
        sha256=item.sha256,
        size=item.size,
        where=where,
        urls=lambda: index().urls(item.name, item.file_name),
        hint=f"run `buildimages lock --update {item.name}`",
    )

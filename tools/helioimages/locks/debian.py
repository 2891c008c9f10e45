"""The Debian part of a lock: what apt chooses, kept as long as it can be had.

A child has its parent's packages. One that asks for nothing more has exactly those, and no archive is asked. Where a
child has no solution under its parent's packages, or its parent's can't be had any more, the whole family moves
together: parents and children are never of different moments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.platform import FIRST, Platform
from ..core.progress import say
from ..core.words import count, human_size
from ..debian import lock as debian_lock
from ..debian.lock import AptLock, Deb, settled
from ..machine.fetch import fetch_all
from ..machine.store import Store, has
from ..spec.image import ImageSpec
from . import apt, mirror
from .file_names import image_lock
from .mirror import missing
from .state import LockRun, read_text

#: Locks one image: its recipe, its parent's lock, and whether the whole family moves (nothing is kept then).
LockOne = Callable[[ImageSpec, AptLock | None, bool], AptLock]


def lock_images(
    run: LockRun, images: Mapping[str, ImageSpec], names: Sequence[str]
) -> dict[str, tuple[AptLock | None, AptLock]]:
    """Return image -> its Debian lock before and now."""
    before = {name: apt_of(run.root, name, run.platform) for name in names}

    def lock_image(image: ImageSpec, parent: AptLock | None, moving: bool) -> AptLock:
        if image.parent and parent is None:
            parent = apt_of(run.root, image.parent, run.platform, required=True)
        old = before[image.name]
        new = run.timed(f"images/{image.name}: Debian", _lock_debian, run, image, parent, old, moving)
        return settled(old, new)

    now = by_family([images[name] for name in names], lock_image)
    return {name: (before[name], now[name]) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a run changed in Debian parts that were there before.

    Attributes:
        images: those whose nodes pull Debian layers anew.
        packages: names of the packages that are new or another version.
        security: those of them that are in Debian's security archive.
        size: bytes of their files; a layer holds all of an image's own packages, so nodes pull more.
    """

    images: tuple[str, ...]
    packages: tuple[str, ...]
    security: tuple[str, ...]
    size: int

    def lines(self) -> tuple[str, ...]:
        """Return it for people."""
        fixes = f"; security fixes: {', '.join(self.security)}" if self.security else ""
        return (
            f"Debian: {count(len(self.packages), 'new file')}, {human_size(self.size)}{fixes}",
            f"Debian: nodes with {', '.join(self.images)} pull Debian layers anew; `delta` counts them when built",
        )


def moved(locks: Mapping[str, tuple[AptLock | None, AptLock]]) -> Moved | None:
    """Return what changed in images' Debian parts, each before and now; None if nothing did."""
    images: list[str] = []
    fresh: dict[str, Deb] = {}
    for name, (old, new) in locks.items():
        if old is not None and old.key != new.key:
            have = {deb.sha256 for deb in old.packages}
            images.append(name)
            fresh |= {deb.sha256: deb for deb in new.packages if deb.sha256 not in have}
    if not images:
        return None
    return Moved(
        images=tuple(images),
        packages=tuple(sorted({deb.name for deb in fresh.values()})),
        security=tuple(sorted({deb.name for deb in fresh.values() if deb.archive == "debian-security"})),
        size=sum(deb.size for deb in fresh.values()),
    )


def by_family(images: Sequence[ImageSpec], lock_one: LockOne) -> dict[str, AptLock]:
    """Lock images, and once more all of a family together where a child has no solution under its parent's packages.

    Args:
        images: parents before children; a parent that is not among them does not move.

    Raises:
        HelioError: there is no solution for an image, whatever its family has.
    """
    oldest: dict[str, str] = {}
    for image in images:
        oldest[image.name] = oldest.get(image.parent or "", image.name)
    moving: set[str] = set()
    while True:
        done: dict[str, AptLock] = {}
        for image in images:
            head = oldest[image.name]
            try:
                done[image.name] = lock_one(image, done.get(image.parent or ""), head in moving)
            except apt.NoSolution as error:
                if head == image.name or head in moving:
                    raise
                say(f"warning: {error.message} (`{image.name}`): `{head}` and its children move together")
                moving.add(head)
                break
        else:
            return done


def _lock_debian(
    run: LockRun, image: ImageSpec, parent: AptLock | None, before: AptLock | None, moving: bool
) -> AptLock:
    architecture = run.platform.debian
    if parent and parent.architecture != architecture:
        raise HelioError(
            Stage.LOCK,
            f"the Debian lock of `{image.parent}` is for another platform",
            detail=f"expected {architecture} not {parent.architecture}",
            hint=f"run `buildimages lock --platform {run.platform}`",
        )
    if (of_parent := apt.inherit(image.debian, parent)) is not None:
        return (
            before if before and (before.requested, before.key) == (of_parent.requested, of_parent.key) else of_parent
        )
    whole = moving or bool({"all", "debian"} & set(run.update))
    forgotten = set(run.update)
    # A parent's packages are the parent's business: they were looked for when it was locked.
    inherited = {deb.name for deb in parent.packages} if parent else set()
    own = [deb for deb in before.packages if deb.name not in inherited] if before and not whole else []
    gone = missing(own)
    kept = tuple(deb for deb in own if deb not in gone and deb.name not in forgotten)
    named = before is not None and forgotten & {deb.name for deb in before.packages}
    fits = before is not None and before.architecture == architecture and not (whole or named or gone)
    if before and fits and not stale_debian(image, parent, before):
        return before
    for deb in gone:
        say(f"warning: the mirror dropped {deb.name} {deb.version}; `{image.name}` is locked again")
    return apt.resolve(image.debian, architecture=architecture, parent=parent, prefer=kept, obtain=obtainer(run.store))


def obtainer(store: Store) -> apt.Obtain:
    """Return what gives apt the files of packages that the archive does not list: the store's, the mirror's."""

    def obtain(debs: Sequence[Deb]) -> dict[str, Path]:
        here = {deb.sha256: store.artefact(deb.sha256) for deb in debs}
        absent = [deb for deb in debs if not has(here[deb.sha256], deb.size)]
        gone = {deb.sha256 for deb in missing(absent)} if absent else set()
        wanted = [mirror.wanted(deb, "a Debian lock") for deb in absent if deb.sha256 not in gone]
        if wanted:
            fetch_all(wanted, store, label="Debian packages that the index forgot")
        return {sha256: path for sha256, path in here.items() if sha256 not in gone}

    return obtain


def stale_debian(image: ImageSpec, parent: AptLock | None, current: AptLock) -> str:
    """Return why an image's Debian lock is not of what is asked for now, or nothing."""
    if tuple(sorted(image.debian)) != current.requested:
        return "debian.packages of image.toml changed"
    mine = {deb.name: deb.sha256 for deb in current.packages}
    if parent and any(mine.get(deb.name) != deb.sha256 for deb in parent.packages):
        return f"the Debian packages of `{image.parent}` changed"
    return ""


def apt_of(root: Path, name: str, platform: Platform = FIRST, *, required: bool = False) -> AptLock | None:
    """Return an image's Debian lock; None if it has none and needs none.

    Raises:
        HelioError: it is required and missing, or cannot be read.
    """
    file = image_lock(name, platform)
    text = read_text(root / file)
    if text is None:
        if required:
            raise HelioError(Stage.LOCK, f"`{file}` is missing", hint=f"run `buildimages lock {name}` first")
        return None
    return debian_lock.parse(text, file)

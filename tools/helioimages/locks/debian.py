"""The Debian part of a lock: what apt chooses, kept while the mirror has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..debian import lock as debian_lock
from ..debian.lock import AptLock
from ..spec.image import ImageSpec
from . import apt
from .mirror import missing
from .state import Run, read_text


def lock_images(
    run: Run, images: Mapping[str, ImageSpec], names: Sequence[str]
) -> dict[str, tuple[AptLock | None, AptLock]]:
    """Return image -> its Debian lock before and now."""
    done: dict[str, tuple[AptLock | None, AptLock]] = {}
    for name in names:
        image = images[name]
        parent = None
        if image.parent:
            parent = done[image.parent][1] if image.parent in done else apt_of(run.root, image.parent, required=True)
        before = apt_of(run.root, name)
        now = run.timed(f"images/{name}: Debian", _lock_debian, run, image, parent, before)
        done[name] = (before, now)
    return done


def _lock_debian(run: Run, image: ImageSpec, parent: AptLock | None, before: AptLock | None) -> AptLock:
    architecture = Platform.of(run.platform).debian
    whole = bool({"all", "debian"} & set(run.update))
    forgotten = set(run.update)
    prefer = () if whole or before is None else before.packages
    if before is not None and before.architecture == architecture and not forgotten & {deb.name for deb in prefer}:
        fits = not whole and not stale_debian(image, parent, before)
        if fits and not missing(before.packages):
            return before
    inherited = {deb.name for deb in parent.packages} if parent else set()
    kept = tuple(deb for deb in prefer if deb.name not in inherited and deb.name not in forgotten)
    rest = {"architecture": architecture, "parent": parent}
    try:
        return apt.resolve(image.debian, **rest, prefer=kept)
    except HelioError as error:
        if error.stage is not Stage.LOCK or not kept:
            raise
        # Packages of one source move together: what is there now may be in the way of what is asked.
        return apt.resolve(image.debian, **rest)


def stale_debian(image: ImageSpec, parent: AptLock | None, current: AptLock) -> str:
    """Return why an image's Debian lock is not of what is asked for now, or nothing."""
    if tuple(sorted(image.debian)) != current.requested:
        return "debian.packages of image.toml changed"
    mine = {deb.name: deb.sha256 for deb in current.packages}
    if parent and any(mine.get(deb.name) != deb.sha256 for deb in parent.packages):
        return f"the Debian packages of `{image.parent}` changed"
    return ""


def apt_of(root: Path, name: str, *, required: bool = False) -> AptLock | None:
    file = f"images/{name}/apt-lock.json"
    text = read_text(root / file)
    if text is None:
        if required:
            raise HelioError(Stage.LOCK, f"`{file}` is missing", hint=f"run `buildimages lock {name}` first")
        return None
    return debian_lock.parse(text, file)

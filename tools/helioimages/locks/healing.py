"""Healing: a Debian mirror drops old packages (a point release, a security update); the locks follow, loudly.

Only packages that the store lacks are asked for, so a machine that has everything never notices. What is healed is
written to the lock files, whose ``healed`` says what took whose place; the image has it as a label. Strict callers
(publishing to a shared registry) refuse instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..core import files
from ..core.errors import HelioError, Stage
from ..debian.lock import AptLock, dump, parse
from ..machine.store import Store
from ..spec.image import ImageSpec
from . import apt, mirror

#: The Debian lock of the builder, relative to the checkout.
BUILDER_LOCK = "channel/apt-lock.json"


def heal(root: Path, store: Store, images: Iterable[ImageSpec], *, builder: bool, strict: bool) -> tuple[str, ...]:
    """Heal the Debian locks of images and of the builder.

    Args:
        images: parents before children.
        builder: the builder is needed too.
        strict: raise instead of healing.

    Returns:
        The lock files that were written, relative to the checkout.

    Raises:
        HelioError: strict, and packages are gone; or the archive has no solution any more.
    """
    healed: dict[str, AptLock] = {}
    current: dict[str, AptLock] = {}
    if builder:
        _one(root, store, BUILDER_LOCK, None, False, healed, strict)
    for image in images:
        file = f"images/{image.name}/apt-lock.json"
        parent = current.get(image.parent or "")
        parent_healed = f"images/{image.parent}/apt-lock.json" in healed
        current[image.name] = _one(root, store, file, parent, parent_healed, healed, strict)
    for file, lock in healed.items():
        files.write(root / file, dump(lock))
    return tuple(healed)


def _one(
    root: Path,
    store: Store,
    file: str,
    parent: AptLock | None,
    parent_healed: bool,
    healed: dict[str, AptLock],
    strict: bool,
) -> AptLock:
    """Return a lock as it is, or healed; a child of a healed parent is healed with it."""
    lock = parse((root / file).read_text("utf-8"), file)
    absent = [deb for deb in lock.packages if not store.artefact(deb.sha256).exists()]
    gone = mirror.missing(absent) if absent else ()
    if not gone and not parent_healed:
        return lock
    if strict and gone:
        lines = [f"{deb.name} {deb.version}" for deb in gone]
        raise HelioError(
            Stage.FETCH,
            f"the Debian mirror dropped {len(gone)} locked packages",
            where=file,
            detail="\n".join(lines[:20]),
            hint="run `buildimages lock`, test, commit, and publish again",
        )
    fresh = apt.heal(lock, gone, parent=parent)
    healed[file] = fresh
    return fresh

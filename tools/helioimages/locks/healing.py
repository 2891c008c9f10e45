"""Healing: a Debian mirror drops old packages (a point release, a security update); the locks follow, loudly.

Only packages that the store lacks are asked for, so a machine that has everything never notices. What is healed is
written to the lock files, whose ``healed`` says what changed, and the image has it as a label. Strict callers
(publishing to a shared registry) refuse instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..core import files
from ..core.errors import HelioError, Stage
from ..core.platform import FIRST, Platform
from ..core.progress import say
from ..core.words import count
from ..debian.lock import AptLock, Deb, changes, dump, parse
from ..machine.store import Store
from ..spec.image import ImageSpec
from . import apt, mirror
from .debian import by_family, obtainer
from .file_names import builder_lock, image_lock


def heal(
    root: Path, store: Store, images: Iterable[ImageSpec], *, builder: bool, strict: bool, platform: Platform = FIRST
) -> tuple[str, ...]:
    """Heal the Debian locks of images and of the builder.

    Args:
        images: parents before children.
        builder: the builder is needed too.
        strict: raise instead of healing.

    Returns:
        The lock files that were written, relative to the checkout; all of them, or none if one can't be healed.

    Raises:
        HelioError: strict, and packages are gone; or the archive has no solution any more.
    """
    images = tuple(images)
    named = {image.name: image_lock(image.name, platform) for image in images}
    builders = builder_lock(platform)
    current = {file: parse((root / file).read_text("utf-8"), file) for file in named.values()}
    if builder:
        current[builders] = parse((root / builders).read_text("utf-8"), builders)
    absent = {file: _absent(store, lock) for file, lock in current.items()}
    wanted = {deb.sha256: deb for lacks in absent.values() for deb in lacks}
    gone = {deb.sha256 for deb in mirror.missing(wanted.values())} if wanted else set()
    lost = {file: tuple(deb for deb in lacks if deb.sha256 in gone) for file, lacks in absent.items()}
    if not gone:
        return ()
    if strict:
        raise _refusal(lost)
    obtain = obtainer(store)

    def heal_image(image: ImageSpec, parent: AptLock | None, moving: bool) -> AptLock:
        file = named[image.name]
        lock, away = current[file], current[file].packages if moving else lost[file]
        if not away and (parent is None or parent == current[named[image.parent or ""]]):
            return lock
        with _placed(file, f"images/{image.name}/image.toml"):
            return apt.heal(lock, away, parent=parent, obtain=obtain)

    fresh = {named[name]: lock for name, lock in by_family(images, heal_image).items()}
    if builder and lost[builders]:
        with _placed(builders, builders):
            fresh[builders] = apt.heal(current[builders], lost[builders], obtain=obtain)
    healed = {file: lock for file, lock in fresh.items() if lock != current[file]}
    for file, lock in healed.items():
        why = f"the mirror dropped {len(lost[file])} of its packages" if lost[file] else "its parent's packages moved"
        say(f"warning: `{file}` is locked again: {why}")
        for line in changes(current[file], lock):
            say(f"  healed: {line}")
    for file, lock in healed.items():
        files.write(root / file, dump(lock))
    return tuple(healed)


@contextlib.contextmanager
def undone(root: Path, images: Iterable[ImageSpec], *, platform: Platform = FIRST) -> Iterator[None]:
    """Put the Debian locks back if what follows their healing fails: half of a healing is no lock of anything."""
    paths = [root / image_lock(image.name, platform) for image in images] + [root / builder_lock(platform)]
    before = {path: path.read_bytes() for path in paths if path.exists()}
    try:
        yield
    except BaseException:
        for path, data in before.items():
            if path.read_bytes() != data:
                files.write(path, data)
        raise


def _absent(store: Store, lock: AptLock) -> list[Deb]:
    return [deb for deb in lock.packages if not store.artefact(deb.sha256).exists()]


def _refusal(lost: Mapping[str, Sequence[Deb]]) -> HelioError:
    lines = dict.fromkeys(f"{deb.name} {deb.version}" for debs in lost.values() for deb in debs)
    shown = [*lines][:20] + ([f"and {len(lines) - 20} more"] if len(lines) > 20 else [])
    return HelioError(
        Stage.FETCH,
        f"the Debian mirror dropped {count(len(lines), 'locked package')}",
        where=", ".join(file for file, debs in lost.items() if debs),
        detail="\n".join(shown),
        hint="run `buildimages lock`, test, commit, and publish again",
    )


@contextlib.contextmanager
def _placed(file: str, asks: str) -> Iterator[None]:
    """Say which lock cannot be healed, and what renews it."""
    try:
        yield
    except apt.NoSolution:
        raise
    except HelioError as error:
        if error.stage is not Stage.LOCK:
            raise
        raise HelioError(
            error.stage,
            error.message,
            where=f"{file}, whose packages the mirror dropped",
            detail=error.detail,
            hint=f"{error.hint}; change what `{asks}` asks for, then run `buildimages lock`",
        ) from error

"""What plans are made from, read from the checkout: the locks, and the images' own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..core.entries import Content, Entry, Kind
from ..locks import read
from ..locks.checkout import Checkout
from ..locks.read import Locks
from .plan import ImagePlan, OwnFiles, PlanInputs, plan_images


def plans(checkout: Checkout, locks: Mapping[str, Locks]) -> dict[str, ImagePlan]:
    """Return the plans of images, in the order of ``locks``.

    Args:
        locks: of the images and of all their ancestors; see `Checkout.locks_of`.

    Raises:
        HelioError: as `plan_images` says.
    """
    inputs = PlanInputs(
        images=checkout.images,
        environments=checkout.environments,
        locks=locks,
        files={name: own_files(checkout.root / "images" / name / "files", name) for name in locks},
    )
    return plan_images(inputs, locks)


def plan_of(checkout: Checkout, name: str) -> ImagePlan:
    """Return the plan of one image as its locks are now, whatever platform they are for.

    Raises:
        HelioError: a lock is missing or malformed, or as `plan_images` says.
    """
    return plans(checkout, {ancestor: checkout.locks(ancestor) for ancestor in checkout.with_ancestors((name,))})[name]


def own_files(folder: Path, image: str) -> OwnFiles:
    """Read an image's own files: 0755 if executable, else 0644, whatever the umask of the clone."""
    own = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name, origin = path.relative_to(folder).as_posix(), f"images/{image}/files"
        if path.is_symlink():
            own.append(Entry(path=name, kind=Kind.SYMLINK, mode=0o777, target=str(path.readlink()), origin=origin))
        elif path.is_file():
            mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            content = Content(path.stat().st_size, path.read_bytes)
            own.append(Entry(path=name, kind=Kind.FILE, mode=mode, content=content, origin=origin))
    return OwnFiles(digest=read.files_digest(folder), entries=tuple(own))

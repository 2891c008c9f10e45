"""Tags: which names an image gets, and which may never move.

An image is tested by digest and tagged afterwards. It gets a dated tag (``2026.11.21``; the second image of a day gets
``2026.11.21-2``), a lock tag (``lock-`` and 12 digits of the lock's digest) and ``latest``. Hubs pin the first two, so
these never move; ``latest`` does. Pure: the registry's tags come in, a plan comes out.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.digest import is_digest
from ..core.errors import HelioError, Stage

LATEST = "latest"

_DATED = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})(?:-([1-9][0-9]*))?")
_LOCK = re.compile(r"lock-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TagPlan:
    """What to do with tags.

    Attributes:
        wanted: all tags the image shall have in the end, immutable ones first and ``latest`` last.
        missing: those of them the registry does not have on this image yet, in the same order.
        kept: ``(tag, digest)`` of a lock tag that names an earlier image of the same lock, and stays with it.
    """

    wanted: tuple[str, ...]
    missing: tuple[str, ...]
    kept: tuple[tuple[str, str], ...] = ()


def plan(*, digest: str, day: datetime.date, lock: str, existing: Mapping[str, str]) -> TagPlan:
    """Return the tags of an image.

    Args:
        digest: of its manifest.
        day: of the dated tag.
        lock: the lock's digest, ``sha256:…``.
        existing: digest by tag, as the registry has them.

    Raises:
        HelioError: ``lock`` is not a digest.
    """
    lock_tag = of_lock(lock)
    kept = existing.get(lock_tag, digest) != digest
    wanted = (dated(digest=digest, day=day, existing=existing), *(() if kept else (lock_tag,)), LATEST)
    return TagPlan(
        wanted=wanted,
        missing=tuple(tag for tag in wanted if existing.get(tag) != digest),
        kept=((lock_tag, existing[lock_tag]),) if kept else (),
    )


def dated(*, digest: str, day: datetime.date, existing: Mapping[str, str]) -> str:
    """Return the dated tag: the one the image has on that day, else the first free one.

    >>> dated(digest="sha256:b", day=datetime.date(2026, 11, 21), existing={"2026.11.21": "sha256:a"})
    '2026.11.21-2'
    """
    base = f"{day:%Y.%m.%d}"
    number, tag = 1, base
    while existing.get(tag, digest) != digest:
        number += 1
        tag = f"{base}-{number}"
    return tag


def of_lock(digest: str) -> str:
    """Return the lock tag, ``lock-<12 hex>``.

    Raises:
        HelioError: not a digest.
    """
    if not is_digest(digest):
        raise HelioError(Stage.PUBLISH, f"`{digest}` cannot name a lock tag", detail="expected sha256:<64 hex digits>")
    return f"lock-{digest.removeprefix('sha256:')[:12]}"


def is_immutable(tag: str) -> bool:
    """Say whether a tag, once it is there, must stay on its image."""
    return _DATED.fullmatch(tag) is not None or _LOCK.fullmatch(tag) is not None


def check_move(tag: str, *, old: str | None, new: str, repository: str) -> None:
    """Refuse to move an immutable tag.

    Args:
        old: the digest the tag has in the registry, None if it is not there.

    Raises:
        HelioError: the tag is immutable and names another image.
    """
    if old is not None and old != new and is_immutable(tag):
        raise HelioError(
            Stage.PUBLISH,
            f"`{tag}` is immutable and names another image",
            where=repository,
            detail=f"expected {new} not {old}",
            hint="hubs pin this tag; publish under the next free one",
        )


def newest_first(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dated tags among ``tags``, newest first; ``-10`` comes after ``-9``."""
    keys = {tag: tuple(int(part or 1) for part in match.groups()) for tag in tags if (match := _DATED.fullmatch(tag))}
    return tuple(sorted(keys, key=keys.__getitem__, reverse=True))

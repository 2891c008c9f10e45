"""Which locked files the package index deleted, replaced, or lists as yanked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..pypi.index import IndexFile, PackageIndex
from ..pypi.lock import PyPILock, Sdist, Wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """What an index says of locked files.

    Attributes:
        deleted: files that it no longer has, or has with other bytes: nobody can fetch them any more.
        yanked: files that it still has, though their authors ask not to use them. Spec: PEP 592.
    """

    deleted: tuple[Wheel | Sdist, ...] = ()
    yanked: tuple[Wheel | Sdist, ...] = ()

    def names(self, *, yanked: bool) -> frozenset[str]:
        """Return the packages of the deleted files, and of the yanked ones if those are to go as well."""
        return frozenset(item.name for item in (*self.deleted, *(self.yanked if yanked else ())))


def files_of(lock: PyPILock | None) -> tuple[Wheel | Sdist, ...]:
    """Return a lock's files that come from the index."""
    return (*(wheel for wheel in lock.wheels if not wheel.built), *lock.sdists) if lock else ()


def withdrawn(items: Iterable[Wheel | Sdist], index: PackageIndex) -> Withdrawn:
    """Ask the index for locked files.

    Raises:
        HelioError: the index cannot be asked.
    """
    items = tuple(dict.fromkeys(items))
    pages = index.many(tuple(dict.fromkeys(item.name for item in items)))
    deleted, yanked = [], []
    for item in items:
        file = _find(pages[item.name], item)
        if file is None:
            # A page that is kept here for a while says nothing of a loss.
            file = _find(index.files(item.name, fresh=True), item)
        if file is None:
            deleted.append(item)
        elif file.yanked:
            yanked.append(item)
    return Withdrawn(deleted=tuple(deleted), yanked=tuple(yanked))


def _find(files: Sequence[IndexFile], item: Wheel | Sdist) -> IndexFile | None:
    return next((file for file in files if file.name == item.file_name and file.sha256 in ("", item.sha256)), None)

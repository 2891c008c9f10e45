"""The Debian layer of an image: the whole root file system, or what a child's packages add to its parent's.

Whoever changes the bytes that come out here raises `plan.DEBIAN_FORMAT`.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..core import archives
from ..core.entries import Entry, file
from ..core.errors import HelioError, Stage
from ..debian import tree
from ..debian.lock import AptLock
from ..spec.image import UserSpec
from .rootfs import RootfsWorks, build_rootfs

#: The apt package's own example of its sources: the same bytes everywhere, and no mirror of the builder's.
_EXAMPLE = "./usr/share/doc/apt/examples/debian.sources"


def entries(works: RootfsWorks, lock: AptLock, parent: AptLock | None, user: UserSpec | None) -> tuple[Entry, ...]:
    """Return the layer's entries, merged.

    Args:
        works: its ``debs`` are of every package of both locks.

    Raises:
        HelioError: a root file system cannot be made, or the child's removes a path of the parent's.
    """
    mine = _system(works, lock, user)
    if parent is None:
        return mine
    return tree.delta(_system(works, parent, user), mine)


def _system(works: RootfsWorks, lock: AptLock, user: UserSpec | None) -> tuple[Entry, ...]:
    entries = tree.read_tar(build_rootfs(works, lock))
    entries = (*entries, _sources(lock, works.debs))
    if user:
        account = tree.Account(
            name=user.name, uid=user.uid, gid=user.gid, groups=user.groups, home=user.home, shell=user.shell
        )
        entries = tree.add_user(entries, account)
    return tree.whole(entries)


def _sources(lock: AptLock, debs: Mapping[str, Path]) -> Entry:
    """Return ``/etc/apt/sources.list.d/debian.sources``, so that apt works for those who extend the image."""
    apt = next(deb for deb in lock.packages if deb.name == "apt")
    return file("etc/apt/sources.list.d/debian.sources", _example(debs[apt.sha256]), origin="debian")


@lru_cache
def _example(deb: Path) -> bytes:
    result = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], capture_output=True)
    try:
        with archives.reading(), tarfile.open(fileobj=io.BytesIO(result.stdout)) as tar:
            member = tar.extractfile(_EXAMPLE)
            assert member is not None
            return member.read()
    except archives.ArchiveError as error:
        raise HelioError(
            Stage.BUILD, f"the apt package lacks {_EXAMPLE}", detail=str(error), hint="report this as a bug"
        ) from error

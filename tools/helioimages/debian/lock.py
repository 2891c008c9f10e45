"""The Debian part of a lock: ``apt-lock.json``.

Every package of a root file system, by pool path, sha256 and size; no host. A child's lock contains its parent's
packages at the same versions.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from ..core.digest import key_of
from ..core.errors import Stage
from ..core.reading import SHA256, Form, Shape, Table, load_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """One Debian binary package.

    Attributes:
        name, version, architecture: as in its control file.
        file_name: path in the archive's pool, e.g. ``pool/main/b/bash/bash_5.2.37-2+b5_amd64.deb``.
        archive: ``debian`` or ``debian-security``; which of a mirror's trees has the pool.
        sha256: 64 hexadecimal digits.
        size: bytes.
    """

    name: str
    version: str
    architecture: str
    file_name: str
    archive: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AptLock:
    """One root file system's packages.

    Attributes:
        suite: e.g. ``trixie``.
        architecture: Debian's word, e.g. ``amd64``.
        requested: names asked for, sorted.
        packages: sorted by name.
        healed: what an explicit relock replaced because the mirror dropped it, e.g. ``curl 8.14-1 -> 8.14-2``.
        timestamp: seconds since 1970 UTC of the archive's newest Release file that was used.
    """

    suite: str
    architecture: str
    requested: tuple[str, ...]
    packages: tuple[Deb, ...]
    healed: tuple[str, ...] = ()
    timestamp: int = 0

    @property
    def key(self) -> str:
        """64 hexadecimal digits that name the set of packages, whatever else the file says."""
        return key_of([self.suite, self.architecture, sorted(deb.sha256 for deb in self.packages)])


# Spec: Debian policy 5.6.1 (names), 5.6.12 (versions); a pool path is what the archive's Filename fields hold. Names
# and versions reach command lines and apt's preferences, paths reach URLs.
_NAME = Shape.of(r"[a-z0-9][a-z0-9+.-]+", "a Debian package name")
_VERSION = Shape.of(r"[0-9][A-Za-z0-9.+:~-]*", "a Debian version")
_ARCHITECTURE = Shape.of(r"[a-z0-9][a-z0-9-]*", "a Debian architecture")
_SUITE = Shape.of(r"[a-z0-9][a-z0-9-]*", "a Debian suite")
_POOL = Shape.of(r"pool/(?!(?:.*/)?\.\./)[A-Za-z0-9][A-Za-z0-9.+:~_/-]*\.deb", "a path below pool/")
_ARCHIVE = Shape.of(r"debian|debian-security", "debian or debian-security")

_FORM = Form(stage=Stage.LOCK, hint="run `buildimages lock`", strange="run `buildimages lock`", comma=False)
_KEYS = ("name", "version", "architecture", "file_name", "archive", "sha256", "size")


def parse(text: str, where: str) -> AptLock:
    """Read an ``apt-lock.json``.

    Args:
        where: how errors call the file.

    Raises:
        HelioError: not JSON, a key is missing, unknown or of another type, or a path leaves the pool.
    """
    top = load_json(text, where, _FORM)
    top.version("version", 1)
    architecture = top.text("architecture", shape=_ARCHITECTURE)
    debs = tuple(_deb(table, architecture) for table in top.tables("packages", required=True))
    lock = AptLock(
        suite=top.text("suite", shape=_SUITE),
        architecture=architecture,
        requested=top.strings("requested", required=True, shape=_NAME),
        packages=debs,
        healed=top.strings("healed", required=True),
        timestamp=top.whole("timestamp", minimum=0),
    )
    top.done()
    names = Counter(deb.name for deb in debs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise top.error("packages", f"`{twice[0]}` is there twice")
    if absent := sorted(set(lock.requested) - names.keys()):
        raise top.error("requested", f"`{absent[0]}` is not among the packages")
    return lock


def _deb(table: Table, architecture: str) -> Deb:
    deb = Deb(
        name=table.text("name", shape=_NAME),
        version=table.text("version", shape=_VERSION),
        architecture=table.text("architecture", shape=_ARCHITECTURE),
        file_name=table.text("file_name", shape=_POOL),
        archive=table.text("archive", shape=_ARCHIVE),
        sha256=table.text("sha256", shape=SHA256),
        size=table.whole("size", minimum=1),
    )
    table.done()
    if deb.architecture not in ("all", architecture):
        raise table.wrong("architecture", f"all or {architecture}", repr(deb.architecture))
    return deb


def dump(lock: AptLock) -> str:
    """Return the file's text: one line a package, so that a git diff reads well."""
    rows = [
        json.dumps({key: getattr(deb, key) for key in _KEYS}, ensure_ascii=False)
        for deb in sorted(lock.packages, key=lambda deb: deb.name)
    ]
    head = {
        "version": 1,
        "suite": lock.suite,
        "architecture": lock.architecture,
        "timestamp": lock.timestamp,
        "healed": list(lock.healed),
        "requested": sorted(lock.requested),
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    return "{\n" + "\n".join(lines) + '\n  "packages": [\n    ' + ",\n    ".join(rows) + "\n  ]\n}\n"


def changes(old: AptLock, new: AptLock) -> tuple[str, ...]:
    """Return one line a package that differs, sorted by name, e.g. ``curl 8.14-1 -> 8.14-2``."""
    before = {deb.name: deb for deb in old.packages}
    after = {deb.name: deb for deb in new.packages}
    lines = []
    for name in sorted(before.keys() | after.keys()):
        earlier, later = before.get(name), after.get(name)
        if earlier is None or later is None or earlier.sha256 != later.sha256:
            left, right = (deb.version if deb else "nothing" for deb in (earlier, later))
            lines.append(f"{name} {left} -> {right}")
    return tuple(lines)


def settled(old: AptLock | None, new: AptLock) -> AptLock:
    """Return ``old`` where ``new`` holds the same packages, so that a lock file changes only when packages do.

    The archive's timestamp alone moves four times a day and would give every image another lock digest.
    """
    if old and (old.key, old.requested, old.healed) == (new.key, new.requested, new.healed):
        return old
    return new

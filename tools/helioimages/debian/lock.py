"""The Debian part of a lock: ``apt-lock.json``.

Every package of a root file system, by pool path, sha256 and size; no host. A child's lock contains its parent's
packages at the same versions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..digest import is_hex, key_of
from ..errors import HelioError, Stage


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


_KEYS = {
    "suite": str,
    "architecture": str,
    "requested": list,
    "packages": list,
    "healed": list,
    "timestamp": int,
    "version": int,
}
_DEB_KEYS = {
    "name": str,
    "version": str,
    "architecture": str,
    "file_name": str,
    "archive": str,
    "sha256": str,
    "size": int,
}


def parse(text: str, where: str) -> AptLock:
    """Read an ``apt-lock.json``.

    Args:
        where: how errors call the file.

    Raises:
        HelioError: not JSON, a key is missing, unknown or of another type, or a path leaves the pool.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise HelioError(
            Stage.LOCK, f"cannot read `{where}`", where=f"{where} at line {error.lineno}", detail=error.msg
        ) from error
    _check(document, _KEYS, where, "")
    if document["version"] != 1:
        raise _fault(where, "version", f"expected 1 not {document['version']}")
    debs = []
    for index, row in enumerate(document["packages"]):
        key = f"packages[{index}]"
        _check(row, _DEB_KEYS, where, key)
        if not is_hex(row["sha256"]):
            raise _fault(where, f"{key}.sha256", f"expected 64 hexadecimal digits not {row['sha256']!r}")
        if not row["file_name"].startswith("pool/") or ".." in row["file_name"].split("/"):
            raise _fault(where, f"{key}.file_name", f"expected a path below pool/ not {row['file_name']!r}")
        if row["archive"] not in ("debian", "debian-security"):
            raise _fault(where, f"{key}.archive", f"expected debian or debian-security not {row['archive']!r}")
        debs.append(Deb(**row))
    names = [deb.name for deb in debs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _fault(where, "packages", f"`{twice}` is there twice")
    return AptLock(
        suite=document["suite"],
        architecture=document["architecture"],
        requested=tuple(document["requested"]),
        packages=tuple(debs),
        healed=tuple(document["healed"]),
        timestamp=document["timestamp"],
    )


def dump(lock: AptLock) -> str:
    """Return the file's text: one line a package, so that a git diff reads well."""
    rows = [
        json.dumps({key: getattr(deb, key) for key in _DEB_KEYS}, ensure_ascii=False)
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


def _check(value: object, keys: dict[str, type], where: str, key: str) -> None:
    if not isinstance(value, dict):
        raise _fault(where, key, f"expected a mapping not {type(value).__name__}")
    for name, kind in keys.items():
        at = f"{key}.{name}" if key else name
        if name not in value:
            raise _fault(where, at, "expected this key, found nothing")
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            raise _fault(where, at, f"expected {kind.__name__} not {type(value[name]).__name__}")
    for name in value:
        if name not in keys:
            raise _fault(where, f"{key}.{name}" if key else name, "this key is not understood")


def _fault(where: str, key: str, detail: str) -> HelioError:
    return HelioError(
        Stage.LOCK,
        f"cannot read `{where}`",
        where=f"{where} at {key or 'the top level'}",
        detail=detail,
        hint="run `buildimages lock`",
    )

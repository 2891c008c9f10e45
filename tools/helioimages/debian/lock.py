"""The Debian part of a lock: ``apt-lock.json``.

Every package of a root file system, by pool path, sha256 and size; no host. A child's lock contains its parent's
packages at the same versions.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from ..core.digest import key_of
from ..core.errors import HelioError, Stage


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
_PATTERNS = {
    "name": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "version": re.compile(r"[0-9][A-Za-z0-9.+:~-]*"),
    "architecture": re.compile(r"[a-z0-9][a-z0-9-]*"),
    "file_name": re.compile(r"pool/[A-Za-z0-9][A-Za-z0-9.+:~_/-]*\.deb"),
    "archive": re.compile(r"debian|debian-security"),
    "sha256": re.compile(r"[0-9a-f]{64}"),
}
_MEANING = {
    "name": "a Debian package name",
    "version": "a Debian version",
    "architecture": "a Debian architecture",
    "file_name": "a path below pool/",
    "archive": "debian or debian-security",
    "sha256": "64 hexadecimal digits",
}

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
    for key in ("suite", "architecture"):
        if not _PATTERNS["architecture"].fullmatch(document[key]):
            raise _fault(where, key, f"expected a Debian {key} not {document[key]!r}")
    for key in ("requested", "healed"):
        for index, item in enumerate(document[key]):
            if not isinstance(item, str) or (key == "requested" and not _PATTERNS["name"].fullmatch(item)):
                wanted = _MEANING["name"] if key == "requested" else "a text"
                raise _fault(where, f"{key}[{index}]", f"expected {wanted} not {item!r}")
    debs = []
    for index, row in enumerate(document["packages"]):
        key = f"packages[{index}]"
        _check(row, _DEB_KEYS, where, key)
        for name, pattern in _PATTERNS.items():
            if not pattern.fullmatch(row[name]) or "/../" in row[name]:
                raise _fault(where, f"{key}.{name}", f"expected {_MEANING[name]} not {row[name]!r}")
        if row["architecture"] not in ("all", document["architecture"]):
            wanted = f"all or {document['architecture']}"
            raise _fault(where, f"{key}.architecture", f"expected {wanted} not {row['architecture']!r}")
        if row["size"] <= 0:
            raise _fault(where, f"{key}.size", f"expected a positive number not {row['size']}")
        debs.append(Deb(**row))
    names = {deb.name for deb in debs}
    if len(names) != len(debs):
        twice = next(deb.name for index, deb in enumerate(debs) if any(deb.name == o.name for o in debs[:index]))
        raise _fault(where, "packages", f"`{twice}` is there twice")
    if absent := sorted(set(document["requested"]) - names):
        raise _fault(where, "requested", f"`{absent[0]}` is not among the packages")
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


def changes(old: AptLock, new: AptLock) -> tuple[str, ...]:
    """Return one line a package that differs, sorted by name, e.g. ``curl 8.14-1 -> 8.14-2``."""
    before = {deb.name: deb for deb in old.packages}
    after = {deb.name: deb for deb in new.packages}
    lines = []
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None or one.sha256 != other.sha256:
            left, right = (deb.version if deb else "nothing" for deb in (one, other))
            lines.append(f"{name} {left} -> {right}")
    return tuple(lines)


def settled(old: AptLock | None, new: AptLock) -> AptLock:
    """Return ``old`` where ``new`` holds the same packages, so that a lock file changes only when packages do.

    The archive's timestamp alone moves four times a day and would give every image another lock digest.
    """
    if old and (old.key, old.requested, old.healed) == (new.key, new.requested, new.healed):
        return old
    return new


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

"""Two conda packages with different files of one path: whose stays, by rattler's rule.

rattler gives the path to the package that comes last when packages are sorted so that what they need comes first, with
names deciding the rest: so who needs the other wins, and of two that do not know each other the first by name. The
order is rattler's own (`solve.order`). A path that an environment got from its parent stays the parent's winner's,
unless a package of the environment itself comes later still: layers of the parent are never made anew.

Spec: CEP 32 (tools should warn, and may choose); rattler, ``clobber_registry``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ..core.entries import Entry, Kind, same
from ..core.platform import Subdir
from .link import PREFIX, Prefix, link
from .lock import CondaPackage
from .read import read_listing, site_packages_of
from .solve import order


@dataclass(frozen=True, slots=True, kw_only=True)
class Clobber:
    """One path that several packages bring with different content.

    Attributes:
        path: relative to the prefix.
        winner, losers: packages' names; the losers sorted.
    """

    path: str
    winner: str
    losers: tuple[str, ...]


def clobbers(
    files: Sequence[tuple[CondaPackage, Path]],
    *,
    platform: Subdir,
    named: Sequence[str] = (),
    before: Mapping[str, str] | None = None,
    inherited: AbstractSet[str] = frozenset(),
    scripts: AbstractSet[str] = frozenset(),
) -> tuple[Clobber, ...]:
    """Return the paths that packages would take from each other, sorted.

    Args:
        files: packages and their files.
        platform: conda's, e.g. ``linux-64``.
        named: patterns of paths for which people said who wins.
        before: path -> winner, as the parent environment has it.
        inherited: names of the parent environment's packages.
        scripts: sha256 of scripts that need not run.

    Raises:
        HelioError: a package is malformed.
    """
    python = next(((package, path) for package, path in files if package.name == "python"), None)
    version = ".".join(python[0].version.split(".")[:2]) if python else None
    site = site_packages_of(python[1], python[0]) if python else None
    bringing: dict[str, list[int]] = {}
    for index, (package, file) in enumerate(files):
        for target in read_listing(file, package.file_name).targets(site or f"lib/python{version}/site-packages"):
            bringing.setdefault(target, []).append(index)
    several = {
        path: who
        for path, who in bringing.items()
        if len(who) > 1 and not any(fnmatchcase(path, pattern) for pattern in named)
    }
    if not several:
        return ()
    prefix = Prefix(python_version=version, site_packages=site, platform=platform, scripts=scripts)
    linked = {}
    for index in sorted({index for who in several.values() for index in who}):
        package, file = files[index]
        entries = link(file, package, prefix)
        linked[index] = _by_path(entries)
    ranks = {name: rank for rank, name in enumerate(order([package for package, _ in files]))}
    settled = []
    for path, who in sorted(several.items()):
        brought = {files[index][0].name: linked[index][path] for index in who if path in linked[index]}
        if len(brought) < 2 or _alike(list(brought.values())):
            continue
        # What the parent's image has at this path stays one of the candidates, its losers do not come back.
        above = [name for name in brought if name in inherited]
        if (first := (before or {}).get(path)) in above:
            above = [str(first)]
        elif above:
            above = [max(above, key=ranks.__getitem__)]
        winner = max([*above, *(name for name in brought if name not in inherited)], key=ranks.__getitem__)
        settled.append(Clobber(path=path, winner=winner, losers=tuple(sorted(brought.keys() - {winner}))))
    return tuple(settled)


def _by_path(linked: Sequence[Entry]) -> dict[str, Entry]:
    start = PREFIX.removeprefix("/") + "/"
    files = {entry.path: entry for entry in linked}
    by_path = {}
    for entry in linked:
        if entry.kind is Kind.DIR:
            continue
        # A second name of a file is the same file.
        by_path[entry.path.removeprefix(start)] = files[entry.target] if entry.kind is Kind.HARDLINK else entry
    return by_path


def _alike(brought: Sequence[Entry]) -> bool:
    return all(same(brought[0], entry) for entry in brought[1:])

"""What a new lock changes, for people: added, removed, upgraded, downgraded, rebuilt, held back. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..core.package import Package
from . import ecosystems

#: In the order in which people want to know.
KINDS = ("downgraded", "removed", "upgraded", "added", "rebuilt")
#: What `ecosystems.compare` says -> our word.
_WORDS = {-1: "downgraded", 0: "rebuilt", 1: "upgraded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of a diff; ``old`` or ``new`` is empty for an added or removed package.

    Attributes:
        package_kind: ``conda``, ``wheel`` or ``debian``: of the new package, of the old one where that is gone.
    """

    kind: str
    name: str
    old: str = ""
    new: str = ""
    package_kind: str = field(default="", compare=False)

    def __str__(self) -> str:
        versions = " -> ".join(version for version in (self.old, self.new) if version)
        return f"{self.kind:<10} {self.name} {versions}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A package whose newest version was not taken, and what keeps it; ``by`` is empty where nobody is known to."""

    name: str
    version: str
    newest: str
    by: tuple[str, ...] = ()

    def __str__(self) -> str:
        keeper = "; ".join(self.by) if self.by else "the current lock or the solution as a whole"
        return f"{'held back':<10} {self.name} {self.version} (newest {self.newest}) by {keeper}"


def diff(old: Iterable[Package], new: Iterable[Package]) -> tuple[Change, ...]:
    """Return what changed, by kind and name.

    A package that moves from conda to PyPI or back is one package; Debian's names are a world of their own: its `six`
    and Python's are two. ``rebuilt`` has the same version in another file, or written in another way.
    """
    return between(by_identity(old), by_identity(new))


def by_identity(packages: Iterable[Package]) -> dict[tuple[str, str], Package]:
    """Return packages by what they share with the same ones elsewhere; of several of one identity the last."""
    return {ecosystems.identity(package): package for package in packages}


def between(before: Mapping[tuple[str, str], Package], after: Mapping[tuple[str, str], Package]) -> tuple[Change, ...]:
    """Return what `diff` returns, of packages whose identities are known: who compares one list often asks here."""
    changes = []
    for key in sorted(before.keys() | after.keys()):
        earlier, later = before.get(key), after.get(key)
        if earlier is None and later is not None:
            changes.append(Change(kind="added", name=later.name, new=later.version, package_kind=later.kind))
        elif later is None and earlier is not None:
            changes.append(Change(kind="removed", name=earlier.name, old=earlier.version, package_kind=earlier.kind))
        elif earlier is not None and later is not None and earlier.version != later.version:
            kind = _WORDS[ecosystems.compare(earlier, later)]
            changes.append(
                Change(kind=kind, name=later.name, old=earlier.version, new=later.version, package_kind=later.kind)
            )
        elif earlier is not None and later is not None and earlier.sha256 != later.sha256:
            changes.append(Change(kind="rebuilt", name=later.name, new=later.version, package_kind=later.kind))
    return tuple(sorted(changes, key=order))


def order(change: Change) -> tuple[int, str]:
    """Return what sorts changes as people want to know them."""
    return KINDS.index(change.kind), change.name


def silent_downgrades(changes: Iterable[Change], allowed: Collection[str]) -> tuple[Change, ...]:
    """Return the downgrades that nobody asked for."""
    names = {canonicalize_name(name) for name in allowed}
    return tuple(
        change for change in changes if change.kind == "downgraded" and canonicalize_name(change.name) not in names
    )


def held_back(
    locked: Mapping[str, str],
    newest: Mapping[str, str],
    requirements: Mapping[str, Sequence[Requirement]],
) -> tuple[Held, ...]:
    """Return the packages of which the index has a newer version, and whose requirement keeps it out.

    Args:
        locked: name -> version, of wheels.
        newest: name -> the newest version that the platform could install.
        requirements: who asks -> what; locked packages, and files such as ``environment.yml``.
    """
    held = []
    for name, version in sorted(locked.items()):
        top = newest.get(name)
        if top is None or not ecosystems.order("wheel", version) < ecosystems.order("wheel", top):
            continue
        by = [
            f"{who} ({requirement.name}{requirement.specifier})"
            for who, asked in requirements.items()
            for requirement in asked
            if canonicalize_name(requirement.name) == name and not requirement.specifier.contains(top, prereleases=True)
        ]
        held.append(Held(name=name, version=version, newest=top, by=tuple(dict.fromkeys(by))))
    return tuple(held)


def table(packages: Iterable[Package]) -> str:
    """Return ``packages.txt``: name, version and kind (``source``: a wheel that is built here), aligned, by name.

    >>> print(table([Package(name="zlib", version="1.3", kind="conda"), Package(name="dask", version="2026.1", kind="wheel")]), end="")
    dask  2026.1  wheel
    zlib  1.3     conda
    """  # noqa: E501
    rows = sorted((item.name, "source" if item.built else item.kind, item.version) for item in packages)
    name_width = max((len(name) for name, _, _ in rows), default=0)
    version_width = max((len(version) for _, _, version in rows), default=0)
    return "".join(f"{name:<{name_width}}  {version:<{version_width}}  {kind}\n" for name, kind, version in rows)

"""Which versions of a project an image can have: what the index has, as wheels that fit, or as sources. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from ..pypi.index import IndexFile


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProject:
    """A project of the index, for one Python and platform.

    Attributes:
        versions: that have a wheel that fits, sorted.
        sources: that have a source, sorted.
        every: of any file, sorted.
        python: ``3.13``.
    """

    versions: tuple[Version, ...]
    sources: tuple[Version, ...]
    every: tuple[Version, ...]
    python: str

    def why_not(self, bounds: SpecifierSet) -> str:
        """Return why no wheel answers ``bounds``; empty if one does."""
        if _any(bounds, self.versions):
            return ""
        if not self.every:
            return "the package index has no project of this name"
        if not self.versions:
            if self.sources:
                return "it is there as source only: name it in x-helioimages.build, see docs/reference.md"
            return f"it has no files for Python {self.python}"
        if not _any(bounds, self.every):
            return "the package index has no such version"
        return f"of this version there is no wheel for Python {self.python}"

    def nearest(self, bounds: SpecifierSet) -> SpecifierSet:
        """Return what to ask for instead: at least the version that was named, if there is a newer one."""
        named = [Version(bound.version.removesuffix(".*")) for bound in bounds if bound.operator in ("==", "~=", ">=")]
        if named and self.versions and self.versions[-1] >= max(named):
            return SpecifierSet(f">={max(named)}")
        return SpecifierSet()


def project(files: Iterable[IndexFile], tags: Container[Tag], python: str) -> IndexProject:
    """Return what an index's page says; withdrawn files do not count.

    Args:
        tags: of wheels that fit.
        python: ``3.13``.
    """
    wheels, sources, every = set[Version](), set[Version](), set[Version]()
    for file in files:
        try:
            if file.name.endswith(".whl"):
                _, version, _, of_wheel = parse_wheel_filename(file.name)
                fits = any(tag in tags for tag in of_wheel)
            else:
                _, version = parse_sdist_filename(file.name)
                fits = True
            allowed = f"{python}.99" in SpecifierSet(file.requires_python)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
            continue
        if file.yanked:
            continue
        every.add(version)
        if fits and allowed:
            (wheels if file.name.endswith(".whl") else sources).add(version)
    return IndexProject(
        versions=tuple(sorted(wheels)), sources=tuple(sorted(sources)), every=tuple(sorted(every)), python=python
    )


def _any(bounds: SpecifierSet, versions: Sequence[Version]) -> bool:
    return next(iter(bounds.filter(versions)), None) is not None

"""Where the kinds of packages meet: the table of ecosystems, and the one order of versions of each. Pure."""

from __future__ import annotations

import functools
import re
from typing import Any

from packageurl import PackageURL

from ..conda.ecosystem import CONDA
from ..core.package import Ecosystem, Package
from ..debian.ecosystem import DEBIAN
from ..pypi.ecosystem import PYPI

#: One line a kind. The order is part of what lock digests are made of, so that a new kind comes last.
ECOSYSTEMS: tuple[Ecosystem[Any], ...] = (
    CONDA,
    PYPI,
    DEBIAN,
)
_BY_KIND = {ecosystem.kind: ecosystem for ecosystem in ECOSYSTEMS}
_BY_PURL = {ecosystem.purl_type: ecosystem for ecosystem in ECOSYSTEMS}
_BY_ADVISORIES = {name: ecosystem for ecosystem in ECOSYSTEMS for name in ecosystem.advisories}

#: What sorts and equals as a version does among those of one order.
Key = tuple[int, Any]


def of(kind: str) -> Ecosystem[Any]:
    """Return the ecosystem of a kind; KeyError if it is none of ours."""
    return _BY_KIND[kind]


def known(kind: str) -> bool:
    """Say whether a kind is one of ours."""
    return kind in _BY_KIND


def of_purl(purl: str) -> str:
    """Return the kind of a package URL, empty for one of another type or of no form.

    >>> of_purl("pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64")
    'debian'
    """
    try:
        kind = _BY_PURL.get(PackageURL.from_string(purl).type)
    except ValueError:
        return ""
    return kind.kind if kind else ""


def of_advisories(ecosystem: str) -> Ecosystem[Any] | None:
    """Return whose names and versions the records of an OSV ecosystem have; None if it is none of ours."""
    return _BY_ADVISORIES.get(ecosystem)


def identity(package: Package) -> tuple[str, str]:
    """Return what two packages share that are the same one at other versions, or from another ecosystem.

    >>> identity(Package(kind="conda", name="typing_extensions", version="4"))
    ('wheel', 'typing-extensions')
    """
    world = of(of(package.kind).world)
    return world.kind, world.normal(package.name)


@functools.lru_cache(maxsize=1 << 16)
def order(kind: str, version: str) -> Key:
    """Return a key of a version: all of a kind are in one total order.

    What the ecosystem does not take for a version comes before what it does, in an order of its own.
    """
    try:
        return 1, of(kind).key(version)
    except ValueError:
        return 0, _natural(version)


def common_order(kind: str, version: str) -> Key:
    """Return a key of a version among all kinds of its world, by the rules of the kind that names the world."""
    return order(of(kind).world, version)


def compare(old: Package, new: Package) -> int:
    """Return a number below, equal to or above 0 as ``new`` is older than, equal to or newer than ``old``.

    Both are of one identity. Two of a kind compare by that kind's order, others by their world's.
    """
    by = order if old.kind == new.kind else common_order
    before, after = by(old.kind, old.version), by(new.kind, new.version)
    return 0 if before == after else -1 if after < before else 1


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key by which runs of digits compare as numbers, however long they are."""
    rows = []
    for digits, rest in re.findall(r"([0-9]+)|([^0-9]+)", text):
        number = digits.lstrip("0")
        rows.append((1, len(number), number) if digits else (0, 0, rest))
    return tuple(rows)

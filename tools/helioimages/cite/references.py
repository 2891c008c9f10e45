"""What is cited: each package with its version, the works that it asks for, and the image by its digest. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from . import bibtex
from .facts import Facts

#: Fields of `known.bib` that are ours.
_OURS = ("package", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """One package.

    Attributes:
        works: articles and the like; each once in a whole list.
        imported: by the notebook itself, not by what it imports.
    """

    name: str
    title: str
    version: str
    authors: tuple[str, ...]
    url: str
    doi: str
    works: tuple[bibtex.BibEntry, ...]
    imported: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CitedImage:
    """The image: its title and version for people, its reference by digest for all time."""

    title: str
    version: str
    reference: str
    year: str


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """A whole list.

    Attributes:
        unknown: modules that a notebook imports and the image does not have.
    """

    image: CitedImage
    packages: tuple[Cited, ...]
    unknown: tuple[str, ...] = ()


@cache
def known() -> Mapping[str, tuple[bibtex.BibEntry, ...]]:
    """Return package -> works of the reviewed table."""
    works: dict[str, tuple[bibtex.BibEntry, ...]] = {}
    for entry in bibtex.entries(files(__package__).joinpath("known.bib").read_text("utf-8")):
        kept = {name: value for name, value in entry.fields.items() if name not in _OURS}
        package = entry.fields["package"]
        works[package] = (*works.get(package, ()), replace(entry, fields=kept))
    return works


def gather(facts: Iterable[Facts], image: CitedImage, imports: Iterable[str] | None) -> References:
    """Return what is to be cited of an image.

    Args:
        imports: dotted names that a notebook imports: they are cited, and of what they need in turn all that asks for a
            citation. None cites everything.
    """
    by_name = {package.name: package for package in facts}
    if imports is None:
        chosen = {name: True for name in by_name}
        unknown: tuple[str, ...] = ()
    else:
        chosen, unknown = _narrowed(by_name, imports)
    seen: set[str] = set()
    cited = []
    for name in sorted(chosen, key=lambda name: (not chosen[name], name)):
        cited.append(_cited(by_name[name], imported=chosen[name], seen=seen))
    return References(image=image, packages=tuple(cited), unknown=unknown)


def _narrowed(by_name: Mapping[str, Facts], imports: Iterable[str]) -> tuple[dict[str, bool], tuple[str, ...]]:
    owners: dict[str, list[str]] = {}
    for package in by_name.values():
        for module in package.modules:
            owners.setdefault(module, []).append(package.name)
    direct: set[str] = set()
    unknown: set[str] = set()
    for name in imports:
        parts = name.split(".")
        heads = [".".join(parts[:count]) for count in range(min(2, len(parts)), 0, -1)]
        if distributions := next((owners[head] for head in heads if head in owners), None):
            direct.update(distributions)
        elif parts[0] not in {module.partition(".")[0] for module in owners}:
            unknown.add(parts[0])
    chosen = {name: True for name in direct}
    waiting = sorted(direct)
    reached = set(direct)
    while waiting:
        for name in by_name[waiting.pop()].requires:
            if name in by_name and name not in reached:
                reached.add(name)
                waiting.append(name)
                if _asks(by_name[name]):
                    chosen[name] = False
    return chosen, tuple(sorted(unknown))


def _asks(package: Facts) -> bool:
    """Say whether a package asks to be cited: by a work, or by a DOI of its own."""
    return bool(package.entries or package.doi or package.name in known())


def _cited(facts: Facts, *, imported: bool, seen: set[str]) -> Cited:
    works, doi = [], facts.doi
    for entry in (*facts.entries, *known().get(facts.name, ())):
        mark = entry.doi.lower() or re.sub(r"\W+", "", bibtex.plain(entry.fields["title"]).lower())
        if entry.kind in ("software", "misc", "manual") and "zenodo" in entry.doi:
            # The software itself, whose version here is the image's.
            doi = doi or entry.doi
            continue
        if mark not in seen:
            seen.add(mark)
            works.append(entry)
    return Cited(
        name=facts.name,
        title=facts.title,
        version=facts.version,
        authors=facts.authors,
        url=facts.url,
        doi=doi,
        works=tuple(works),
        imported=imported,
    )


def keyed(references: References) -> Sequence[tuple[str, bibtex.BibEntry]]:
    """Return every work with a key that is its own in the whole list."""
    taken: set[str] = set()
    rows = []
    for package in references.packages:
        for work in package.works:
            key = re.sub(r"[^A-Za-z0-9_:.+-]", "", work.key) or package.name
            while key in taken:
                key += "+"
            taken.add(key)
            rows.append((key, work))
    return rows

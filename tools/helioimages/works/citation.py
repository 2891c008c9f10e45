"""CITATION.cff of a work: whom it is by, what it is called, and under which licence. Pure.

Spec: Citation File Format 1.2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..core.errors import HelioError, Stage
from ..core.reading import Form, Shape, Table, load_yaml

NAME = "CITATION.cff"
VERSION = "1.2.0"
#: What a folder without one is told to write.
EXAMPLE = """\
cff-version: 1.2.0
message: If you use this work, please cite it.
title: What the notebooks show
authors:
  - family-names: Parker
    given-names: Eugene
    affiliation: University of Chicago
license: CC-BY-4.0"""

_FORM = Form(strange="Citation File Format 1.2.0 has no such key; see https://citation-file-format.github.io")
_ORCID = Shape.of(
    r"https://orcid\.org/[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{3}[0-9X]", "https://orcid.org/0000-0000-0000-0000"
)
_LICENSE = Shape.of(r"[A-Za-z0-9][A-Za-z0-9.+-]*", "an SPDX identifier, e.g. CC-BY-4.0")
_URL = Shape.of(r"(?:https?|s?ftp)://\S+", "an address that begins with https://")
_DATE = Shape.of(r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])", "a date, e.g. 2026-11-21")
DOI = Shape.of(r"10\.\d{4,9}(?:\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+", "a DOI, e.g. 10.5281/zenodo.1234567")
_TEXT = Shape.of(r"\s*\S[\s\S]*", "a text that is not empty")
#: Keys that are handed on as they are.
_KEPT = ("commit", "contact", "identifiers", "preferred-citation", "references", "license-url", "type")
_ADDRESSES = ("repository-code", "url", "repository", "repository-artifact")
_PERSON = (
    "address", "affiliation", "alias", "city", "country", "email", "family-names", "fax", "given-names",
    "name-particle", "name-suffix", "orcid", "post-code", "region", "tel", "website",
)  # fmt: skip
_ENTITY = (
    "address", "alias", "city", "country", "date-end", "date-start", "email", "fax", "location", "name", "orcid",
    "post-code", "region", "tel", "website",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """A person or, with a name alone, a group.

    Attributes:
        given, family: of a person; ``family`` has particles, too.
        name: of a group.
        orcid: an address, empty if none is told.
    """

    given: str = ""
    family: str = ""
    name: str = ""
    orcid: str = ""
    affiliation: str = ""

    @property
    def whole(self) -> str:
        """The name for people."""
        return self.name or f"{self.given} {self.family}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """What a CITATION.cff says.

    Attributes:
        licenses: SPDX identifiers, at least one.
        released: a date, empty if it does not say.
        url: where the work is developed, empty if it does not say.
        doi: of the work, empty if it has none yet.
        document: all of it, as it was read.
    """

    title: str
    authors: tuple[Author, ...]
    licenses: tuple[str, ...]
    abstract: str = ""
    keywords: tuple[str, ...] = ()
    version: str = ""
    released: str = ""
    url: str = ""
    doi: str = ""
    document: Mapping[str, Any] = field(default_factory=dict, hash=False)


def missing(where: str) -> HelioError:
    """Return the error of a folder without the file, which says what to write."""
    return HelioError(
        Stage.SPEC,
        f"`{where}` is not there",
        detail="a published work says whom it is by and under which licence",
        hint=f"write {where}, e.g.\n{EXAMPLE}",
    )


def parse(text: str, where: str = NAME) -> Citation:
    """Read a CITATION.cff.

    Raises:
        HelioError: it is malformed, or lacks a title, an author or a licence; names the key.
    """
    table = load_yaml(text, where, _FORM)
    document = {name: table.take(name, object) for name in table.names()}
    table = Table(document, where, form=_FORM)
    table.text("cff-version", shape=Shape.of(re.escape(VERSION), VERSION))
    table.text("message", shape=_TEXT)
    addresses = [table.text(name, "", _URL) for name in _ADDRESSES]
    for name in _KEPT:
        table.take(name, object, None)
    if not all(isinstance(identifier, Mapping) for identifier in document.get("identifiers") or ()):
        raise table.error("identifiers", "expected a list of mappings")
    authors = tuple(_author(row) for row in table.tables("authors", required=True))
    if not authors:
        raise table.error("authors", "expected at least one author")
    citation = Citation(
        title=" ".join(table.text("title", shape=_TEXT).split()),
        authors=authors,
        licenses=_licenses(table, document),
        abstract=table.text("abstract", ""),
        keywords=table.strings("keywords", shape=_TEXT),
        version=str(_number(table)),
        released=table.text("date-released", "", _DATE),
        url=next((address for address in addresses if address), ""),
        doi=table.text("doi", "", DOI),
        document=document,
    )
    table.done()
    return citation


def dump(citation: Citation, *, doi: str, released: str, image: str) -> str:
    """Return the CITATION.cff of the published work.

    Args:
        doi: of the work, empty if it has none yet.
        released: its date.
        image: the image's reference by digest, which becomes one of the identifiers.
    """
    document = dict(citation.document)
    document.setdefault("type", "software")
    document["date-released"] = released
    if doi:
        document["doi"] = doi
    identifiers = [identifier for identifier in document.get("identifiers") or [] if identifier.get("value") != image]
    said = "the container image that the notebooks ran in"
    document["identifiers"] = [*identifiers, {"type": "other", "value": image, "description": said}]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _author(row: Table) -> Author:
    # A row with a name is an entity, as the schema has it.
    named = "name" in row.names()
    keys = _ENTITY if named else _PERSON
    known = {name: row.text(name, "", _ORCID if name == "orcid" else None) for name in row.names() if name in keys}
    row.done()
    particles = (known.get("name-particle", ""), known.get("family-names", ""), known.get("name-suffix", ""))
    author = Author(
        given=known.get("given-names", "").strip(),
        family=" ".join(part for part in particles if part).strip(),
        name=(known.get("name") or ("" if known.get("family-names") else known.get("alias", ""))).strip(),
        orcid=known.get("orcid", ""),
        affiliation=known.get("affiliation", "").strip(),
    )
    if not author.whole:
        raise row.error("", "expected family-names and given-names, or a name")
    return author


def _licenses(table: Table, document: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(document.get("license"), list):
        licenses = table.strings("license", required=True, shape=_LICENSE)
    else:
        licenses = (table.text("license", shape=_LICENSE),)
    if not licenses:
        raise table.error("license", "expected at least one licence")
    return licenses


def _number(table: Table) -> str | int | float:
    """Return the version: YAML takes ``1.0`` for a number, and the format allows that."""
    value = table.take("version", object, "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise table.error("version", "expected a text or a number")
    return value

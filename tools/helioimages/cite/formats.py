"""A list of references as BibTeX, as CITATION.cff, and as text. Pure.

Spec: Citation File Format 1.2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from . import bibtex
from .references import Cited, References, keyed

_CFF_TYPES = {
    "article": "article",
    "inproceedings": "conference-paper",
    "conference": "conference-paper",
    "proceedings": "proceedings",
    "book": "book",
    "incollection": "article",
    "phdthesis": "thesis",
    "mastersthesis": "thesis",
    "techreport": "report",
    "software": "software",
}
_DOI = re.compile(r"10\.\d{4,9}(?:\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+")


def as_bibtex(references: References) -> str:
    """Return the list as BibTeX: the image, each package with its version, and the works that they ask for."""
    image = references.image
    rows = [
        _entry(
            "misc",
            "image",
            {
                "title": f"{{{_tex(image.title)}}}, container image, version {_tex(image.version)}",
                "howpublished": f"\\url{{{image.reference}}}",
                "year": image.year,
            },
        )
    ]
    for package in references.packages:
        fields = {
            "title": f"{{{_tex(package.title)}}}",
            "author": " and ".join(f"{{{_tex(name)}}}" for name in package.authors),
            "version": package.version,
            "doi": package.doi,
            "url": package.url,
        }
        rows.append(_entry("software", f"{package.name}-{package.version}", fields))
    # As they were written: their TeX is their authors'.
    rows += [bibtex.BibEntry(kind=work.kind, key=key, fields=work.fields).text() for key, work in keyed(references)]
    return "\n\n".join(rows) + "\n"


def _entry(kind: str, key: str, fields: Mapping[str, str]) -> str:
    kept = {name: value for name, value in fields.items() if value}
    return bibtex.BibEntry(kind=kind, key=re.sub(r"[^A-Za-z0-9_:.+-]", "-", key), fields=kept).text()


def _tex(text: str) -> str:
    return re.sub(r"([&%_#$])", r"\\\1", text.replace("{", "").replace("}", ""))


def as_cff(references: References) -> str:
    """Return the list as a CITATION.cff of the image, with all else as its references."""
    image = references.image
    rows = [_cff_software(package) for package in references.packages]
    rows += [_cff_work(work) for _, work in keyed(references)]
    host, _, digest = image.reference.partition("@")
    document = {
        "cff-version": "1.2.0",
        "message": "Please cite the software in this image by the references below, and the image by its digest.",
        "title": image.title,
        "type": "software",
        "authors": [{"name": f"The maintainers of {image.title}"}],
        "version": image.version,
        "identifiers": [{"type": "other", "value": digest, "description": f"the digest of the container image {host}"}],
        "references": rows,
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def _cff_software(package: Cited) -> dict[str, object]:
    row: dict[str, object] = {
        "type": "software",
        "title": package.title,
        "authors": [_cff_author(name) for name in package.authors] or [{"name": f"The authors of {package.title}"}],
        "version": package.version,
    }
    return row | _links(package.doi, package.url)


def _cff_work(work: bibtex.BibEntry) -> dict[str, object]:
    row: dict[str, object] = {
        "type": _CFF_TYPES.get(work.kind, "generic"),
        "title": bibtex.plain(work.fields["title"]),
        "authors": [_cff_author(name) for name in work.authors] or [{"name": "unknown"}],
    }
    if container := work.fields.get("journal") or work.fields.get("booktitle"):
        row["journal" if "journal" in work.fields else "collection-title"] = bibtex.plain(container)
    if (year := work.fields.get("year", "")).isdecimal():
        row["year"] = int(year)
    if volume := work.fields.get("volume"):
        row["volume"] = bibtex.plain(volume)
    pages = re.fullmatch(r"(\w+)(?:-+|–)(\w+)", work.fields.get("pages", ""))
    if pages:
        row["start"], row["end"] = pages[1], pages[2]
    return row | _links(work.doi, work.fields.get("url", ""))


def _links(doi: str, url: str) -> dict[str, object]:
    row: dict[str, object] = {}
    if _DOI.fullmatch(doi):
        row["doi"] = doi
    if re.fullmatch(r"(?:https?|ftp)://\S+", url):
        row["url"] = url
    return row


def _cff_author(name: str) -> dict[str, str]:
    """Return a person where a family name is told apart, else whoever it is by the name."""
    family, comma, given = name.partition(", ")
    if comma and given and "," not in given:
        return {"family-names": family, "given-names": given}
    return {"name": "et al." if name == "others" else name}


def as_text(references: References) -> str:
    """Return the list for people."""
    image = references.image
    lines = [f"{image.title} {image.version}, container image. {image.reference}", ""]
    for imported, heading in ((True, ""), (False, "Of what these need in turn, what asks for a citation:")):
        chosen = [package for package in references.packages if package.imported is imported]
        if chosen and heading:
            lines += ["", heading, ""]
        for package in chosen:
            told = [f"{package.title} {package.version}"]
            if package.authors:
                told.append(_short(package.authors))
            if package.doi:
                told.append(f"https://doi.org/{package.doi}")
            elif package.url:
                told.append(package.url)
            lines.append(". ".join(told).replace("..", "."))
            lines += [f"    {_work(work)}" for work in package.works]
    if references.unknown:
        lines += ["", f"Not of the image: {', '.join(references.unknown)}"]
    return "\n".join(lines) + "\n"


def _work(work: bibtex.BibEntry) -> str:
    parts = [_short(work.authors)] if work.authors else []
    if year := work.fields.get("year"):
        parts.append(f"({bibtex.plain(year)})")
    parts.append(bibtex.plain(work.fields["title"]) + ".")
    if container := work.fields.get("journal") or work.fields.get("booktitle"):
        parts.append(bibtex.plain(container) + (f" {work.fields['volume']}" if "volume" in work.fields else "") + ".")
    if work.doi:
        parts.append(f"https://doi.org/{work.doi}")
    elif url := work.fields.get("url"):
        parts.append(url)
    return " ".join(parts)


def _short(names: tuple[str, ...]) -> str:
    named = [name for name in names if name != "others"]
    return ", ".join(named[:3]) + (" et al." if len(names) > 3 or len(named) < len(names) else "")

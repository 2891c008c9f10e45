"""What a package says of itself: modules, requirements, authors, and how it wants to be cited. Read from its own files.

A wheel in the store is read as it is; else the image's layer that has the package. Nothing of a package is run.

Spec: PyPA "Core metadata specifications"; PEP 376 (RECORD).
"""

from __future__ import annotations

import csv
import email.parser
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import getaddresses
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..core import archives
from ..core.errors import HelioError, Stage
from ..pypi import markers
from . import bibtex

#: A file that says how to cite is text of people.
_MOST = 1 << 20
_CITATION = re.compile(r"citation(?:\.(?:rst|txt|md|bib|cff))?|.+\.bib", re.IGNORECASE)
_BADGE = re.compile(r"zenodo\.org/badge/DOI/(10\.5281/zenodo\.\d+)\.svg|doi\.org/(10\.5281/zenodo\.\d+)")
_DUNDER = re.compile(r"^__citation__\s*=\s*[rf]?(\"\"\"|''')(?P<text>.*?)\1", re.MULTILINE | re.DOTALL)
_SITE = re.compile(r"(?:.*/)?lib/python3\.\d+/site-packages/(?P<rest>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One Python package.

    Attributes:
        name: normalised; ``title`` is as its authors write it.
        modules: dotted names: top-level ones, or below a namespace that several packages share.
        requires: normalised names of what it needs on the image's Python, without extras.
        doi: of the software itself, empty if it tells none.
        entries: what it asks to be cited by.
    """

    name: str
    title: str
    version: str
    modules: tuple[str, ...]
    requires: tuple[str, ...]
    authors: tuple[str, ...]
    url: str
    doi: str
    entries: tuple[bibtex.BibEntry, ...]


def of_wheel(path: Path, values: Mapping[str, str]) -> Facts:
    """Read a wheel.

    Args:
        values: of the image, for markers (`pypi.markers.environment`).

    Raises:
        HelioError: it is none.
    """
    try:
        with archives.reading(), zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            listed = [name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if len(listed) != 1:
                raise archives.ArchiveError(f"expected one *.dist-info/METADATA, found {', '.join(listed) or 'none'}")
            paths = [re.sub(r"^[^/]+\.data/(?:purelib|platlib)/", "", name) for name in names]
            texts = {
                name: archive.read(name).decode("utf-8", "replace")
                for name in names
                if _is_told(name) and archive.getinfo(name).file_size < _MOST
            }
            return _facts(archive.read(listed[0]).decode("utf-8", "replace"), paths, texts, values)
    except (archives.ArchiveError, OSError) as error:
        raise HelioError(Stage.CHECK, f"`{path.name}` is not a wheel", where=str(path), detail=str(error)) from error


def of_layer(path: Path, values: Mapping[str, str]) -> dict[str, Facts]:
    """Read the packages of a layer, by name.

    Raises:
        HelioError: it is no layer.
    """
    metadata: dict[str, str] = {}
    records: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    try:
        with archives.reading(), tarfile.open(path, "r:*") as tar:
            for member in archives.members(tar):
                match = _SITE.fullmatch(member.name)
                if match is None or not member.isfile():
                    continue
                rest = match["rest"]
                folder, _, name = rest.rpartition("/")
                of_package = folder.endswith(".dist-info") and name in ("METADATA", "RECORD")
                if not of_package and not (_is_told(rest) and member.size < _MOST):
                    continue
                content = tar.extractfile(member)
                assert content is not None
                text = content.read().decode("utf-8", "replace")
                if name == "METADATA":
                    metadata[folder] = text
                elif name == "RECORD":
                    records[folder] = [row[0] for row in csv.reader(io.StringIO(text)) if row]
                else:
                    texts[rest] = text
    except (archives.ArchiveError, csv.Error, OSError) as error:
        raise HelioError(Stage.CHECK, "cannot read a layer", where=str(path), detail=str(error)) from error
    by_name = {}
    for folder, text in metadata.items():
        paths = set(records.get(folder, ()))
        package = _facts(text, paths, {name: text for name, text in texts.items() if name in paths}, values)
        by_name[package.name] = package
    return by_name


def _is_told(path: str) -> bool:
    """Say whether a file may tell how to cite its package."""
    parts = PurePosixPath(path).parts
    if not parts or len(parts) > 4:
        return False
    # Of its own, not of what it has in its tests and examples.
    if _CITATION.fullmatch(parts[-1]):
        return len(parts) <= 2 or ".dist-info" in parts[0] or ".data" in parts[0]
    return len(parts) == 2 and parts[1] == "__init__.py"


def _facts(metadata: str, paths: Iterable[str], texts: Mapping[str, str], values: Mapping[str, str]) -> Facts:
    headers = email.parser.Parser().parsestr(metadata)
    description = str(headers.get_payload()) if not headers.is_multipart() else ""
    description = description or str(headers.get("Description", ""))
    texts_citing = []
    for path, text in sorted(texts.items()):
        match = _DUNDER.search(text) if path.endswith("__init__.py") else None
        if match or not path.endswith("__init__.py"):
            texts_citing.append(match["text"] if match else text)
    entry_by_work: dict[str, bibtex.BibEntry] = {}
    for text in (*texts_citing, description):
        for entry in bibtex.entries(text):
            entry_by_work.setdefault(entry.doi or entry.fields["title"].lower(), entry)
    return Facts(
        name=canonicalize_name(str(headers["Name"])),
        title=str(headers["Name"]),
        version=str(headers["Version"]),
        modules=modules(paths),
        requires=_requires(headers.get_all("Requires-Dist") or (), values),
        authors=_authors(headers),
        url=_url(headers),
        doi=_doi(headers, description),
        entries=tuple(entry_by_work.values()),
    )


def modules(paths: Iterable[str]) -> tuple[str, ...]:
    """Return module names of files: of a folder without ``__init__`` in this package those one below it."""
    files = {path for path in paths if path.endswith((".py", ".so")) and "/../" not in f"/{path}"}
    packages = {path.partition("/")[0] for path in files if re.fullmatch(r"[^/]+/__init__\.[^/]+", path)}
    names = set()
    for path in files:
        parts = path.split("/")
        if parts[0].endswith((".dist-info", ".data")):
            continue
        words = [part.partition(".")[0] for part in parts]
        names.add(words[0] if len(parts) == 1 or parts[0] in packages else f"{words[0]}.{words[1]}")
    return tuple(sorted(names))


def _requires(rows: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    names = set()
    for row in rows:
        try:
            requirement = Requirement(row)
        except InvalidRequirement:
            continue
        if markers.holds(requirement.marker, values):
            names.add(canonicalize_name(requirement.name))
    return tuple(sorted(names))


def _authors(said: Message) -> tuple[str, ...]:
    """Return authors, without addresses: these are for letters, not for a list of references."""
    for header in ("Author", "Author-email", "Maintainer", "Maintainer-email"):
        text = str(said.get(header) or "")
        if header.endswith("email"):
            names = [name for name, _ in getaddresses([text]) if name]
        else:
            names = re.split(r"\s*(?:,| and )\s*", re.sub(r"<[^>]*>", "", text))
        kept = tuple(name.strip() for name in names if name.strip() and "@" not in name and name != "UNKNOWN")
        if kept:
            return kept
    return ()


def _url(said: Message) -> str:
    rows = dict(
        (label.strip().lower(), address.strip())
        for label, comma, address in (str(row).partition(",") for row in said.get_all("Project-URL") or ())
        if comma
    )
    for label in ("homepage", "home", "documentation", "repository", "source", "source code"):
        if label in rows:
            return rows[label]
    return str(said.get("Home-page") or "") or next(iter(rows.values()), "")


def _doi(said: Message, description: str) -> str:
    """Return the DOI that the metadata gives the software: a link of its own, or its badge."""
    for row in said.get_all("Project-URL") or ():
        label, _, address = str(row).partition(",")
        if doi := bibtex.doi_of(address) if "doi.org" in address or "doi" in label.lower() else "":
            return doi
    match = _BADGE.search(description)
    return (match[1] or match[2]) if match else ""

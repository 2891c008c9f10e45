"""What is in an image, read from what travels with it: an SBOM, our package list, or its history. Pure.

An SBOM names every package and every file, so it is large; the package list is what `publish` attaches besides. History
names those whose layer is theirs alone, since only short comments are written there; such a list is marked incomplete,
and nobody mistakes it for the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..core.digest import canonical_json
from ..core.errors import HelioError, Stage
from ..oci.types import ImageConfig

#: purl type -> our word. Spec: package-url, "Type definitions".
_KINDS = {"pypi": "wheel", "conda": "conda", "deb": "debian"}
_NOT_KNOWN = {"", "NOASSERTION", "NONE"}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One package of an image.

    Attributes:
        kind: ``wheel``, ``conda`` or ``debian``.
        licenses: an SPDX expression or the package's own words, empty if unknown.
        purl: package URL, empty if unknown.
    """

    name: str
    version: str
    kind: str
    licenses: str = ""
    purl: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """An image's packages, by kind and name.

    Attributes:
        source: ``sbom``, ``list``, ``locks``, ``history`` or ``none``.
        complete: whether the list is all of them.
    """

    packages: tuple[Package, ...]
    source: str
    complete: bool


NOTHING = Contents(packages=(), source="none", complete=False)


def from_sbom(data: bytes, where: str) -> Contents:
    """Read an SBOM: CycloneDX or SPDX 2 as JSON.

    Raises:
        HelioError: it is neither.

    Spec: CycloneDX 1.6, ``components``; SPDX 2.3, ``packages``.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _fault(where, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _fault(where, "expected an object")
    if document.get("bomFormat") == "CycloneDX":
        rows = [_cyclonedx(one) for one in _objects(document.get("components"))]
    elif "spdxVersion" in document:
        rows = [_spdx(one) for one in _objects(document.get("packages"))]
    else:
        raise _fault(where, "expected CycloneDX (bomFormat) or SPDX 2 (spdxVersion)")
    return Contents(packages=_unique(one for one in rows if one), source="sbom", complete=True)


def dump_list(packages: Iterable[Package]) -> bytes:
    """Return a package list, version 1: what `from_list` reads."""
    rows = [{"kind": one.kind, "name": one.name, "version": one.version} for one in sorted(packages)]
    return canonical_json({"version": 1, "packages": rows})


def from_list(data: bytes, where: str) -> Contents:
    """Read a package list.

    Raises:
        HelioError: it is none of version 1.
    """
    try:
        document = json.loads(data)
        if document["version"] != 1:
            raise _fault(where, f"expected a package list of version 1 not {document['version']!r}")
        rows = [
            Package(name=_text(one, "name"), version=_text(one, "version"), kind=_text(one, "kind"))
            for one in _objects(document["packages"])
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _fault(where, f"not a package list: {error}") from error
    known = {*_KINDS.values()}
    return Contents(
        packages=_unique(one for one in rows if one.name and one.kind in known), source="list", complete=True
    )


def from_history(config: ImageConfig) -> Contents:
    """Return the packages that the comments of the config's history name, as ``build`` writes them.

    A comment is ``numpy: numpy 2.4.6`` or ``Debian trixie: bash 5.2-1, …``.
    """
    found = []
    for line in config.history:
        head, colon, rest = line.comment.partition(": ")
        if not colon or not line.created_by.startswith("ADD "):
            continue
        kind = "debian" if head.startswith("Debian ") else "conda" if head in ("conda", "python") else "wheel"
        for item in rest.split(", "):
            name, space, version = item.partition(" ")
            if space and re.fullmatch(r"\S+", version):
                found.append(Package(name=name, version=version, kind=kind))
    return Contents(packages=_unique(found), source="history", complete=False) if found else NOTHING


def layer_names(config: ImageConfig) -> tuple[str, ...]:
    """Return a name for people for every layer, base layer first: what our builds write, else the command."""
    names = []
    for line in config.history:
        if not line.empty_layer:
            made = re.fullmatch(r"ADD (\S+)(?: /)?", line.created_by)
            names.append(made[1] if made else " ".join(line.created_by.split())[:80])
    missing = len(config.diff_ids) - len(names)
    return (*names, *[""] * missing) if missing >= 0 else tuple(names[: len(config.diff_ids)])


def kind_of(purl: str) -> str:
    """Return our word for a package URL's type, empty for one that we do not list.

    >>> kind_of("pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64")
    'debian'
    """
    scheme, _, rest = purl.partition(":")
    return _KINDS.get(rest.partition("/")[0], "") if scheme == "pkg" else ""


def _cyclonedx(component: Mapping[str, Any]) -> Package | None:
    purl = _text(component, "purl")
    return _package(_text(component, "name"), _text(component, "version"), purl, _cyclonedx_licenses(component))


def _cyclonedx_licenses(component: Mapping[str, Any]) -> str:
    words = []
    for one in _objects(component.get("licenses")):
        inner = one.get("license")
        inner = inner if isinstance(inner, dict) else {}
        words.append(_text(one, "expression") or _text(inner, "id") or _text(inner, "name"))
    return " AND ".join(dict.fromkeys(word for word in words if word))


def _spdx(package: Mapping[str, Any]) -> Package | None:
    purl = next(
        (
            _text(one, "referenceLocator")
            for one in _objects(package.get("externalRefs"))
            if one.get("referenceType") == "purl"
        ),
        "",
    )
    said = (_text(package, "licenseConcluded"), _text(package, "licenseDeclared"))
    licenses = next((one for one in said if one not in _NOT_KNOWN), "")
    return _package(_text(package, "name"), _text(package, "versionInfo"), purl, licenses)


def _package(name: str, version: str, purl: str, licenses: str) -> Package | None:
    """Return a package, or None for what is none of ours: files, sources, the image itself."""
    kind = kind_of(purl)
    if not kind:
        return None
    path, _, said = purl.partition("?")[0].partition("@")
    return Package(
        name=name or unquote(path.rpartition("/")[2]),
        version=version or unquote(said),
        kind=kind,
        licenses=licenses,
        purl=purl,
    )


def _unique(packages: Iterable[Package]) -> tuple[Package, ...]:
    found: dict[tuple[str, str], Package] = {}
    for one in packages:
        found.setdefault((one.kind, one.name), one)
    return tuple(found[key] for key in sorted(found))


def _objects(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""


def _fault(where: str, detail: str) -> HelioError:
    return HelioError(Stage.CHECK, "cannot read what an image holds", where=where, detail=detail)

"""What is in an image, read from what travels with it: an SBOM, our package list, or its history. Pure.

An SBOM names every package and every file, so it is large; the package list is what `publish` attaches besides. History
names those whose layer is theirs alone, since only short comments are written there; such a list is marked incomplete,
and nobody mistakes it for the whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from ..core.digest import canonical_json
from ..core.errors import Stage
from ..core.package import Package
from ..core.reading import Form, load_json
from ..locks import ecosystems
from ..oci.types import ImageConfig

_NOT_KNOWN = {"", "NOASSERTION", "NONE"}
#: How errors of SBOMs and package lists are told; exporters write null for what a package lacks.
FORM = Form(stage=Stage.CHECK, message="cannot read what an image holds", comma=False, null_is_absent=True, json=True)


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
    document = load_json(data, where, FORM)
    if document.take("bomFormat", object, None) == "CycloneDX":
        rows = [_cyclonedx(row) for row in _objects(document.take("components", object, None))]
    elif "spdxVersion" in document.names():
        rows = [_spdx(row) for row in _objects(document.take("packages", object, None))]
    else:
        raise document.error("", "expected CycloneDX (bomFormat) or SPDX 2 (spdxVersion)")
    return Contents(packages=_unique(row for row in rows if row), source="sbom", complete=True)


def dump_list(packages: Iterable[Package]) -> bytes:
    """Return a package list, version 1: what `from_list` reads."""
    packed = sorted((package.name, package.version, package.kind) for package in packages)
    rows = [{"kind": kind, "name": name, "version": version} for name, version, kind in packed]
    return canonical_json({"version": 1, "packages": rows})


def from_list(data: bytes, where: str) -> Contents:
    """Read a package list.

    Raises:
        HelioError: it is none of version 1.
    """
    document = load_json(data, where, FORM)
    document.version("version", 1)
    rows = [
        Package(name=table.text("name"), version=table.text("version"), kind=table.text("kind"))
        for table in document.tables("packages", required=True)
    ]
    # A later version may know more kinds.
    return Contents(packages=_unique(row for row in rows if ecosystems.known(row.kind)), source="list", complete=True)


def from_history(config: ImageConfig) -> Contents:
    """Return the packages that the comments of the config's history name, as ``build`` writes them.

    A comment is ``numpy: numpy 2.4.6`` or ``Debian trixie: bash 5.2-1, …``. It does not say what is a wheel; the order
    of `make.plan` does: an image's conda packages come before its wheels, those with a layer of their own by name and
    then the rest in one layer ``conda``.
    """
    listed: list[Package] = []
    # Named since the last layer that no package is alone in: of conda or of PyPI, as what follows tells.
    alone: list[tuple[str, str]] = []
    wheels_only = False

    def settle(bucket: str = "") -> None:
        nonlocal wheels_only
        count = len(alone) if bucket == "conda" else 0 if wheels_only else _conda_count(alone)
        wheels_only = bucket == "conda"
        for place, (name, version) in enumerate(alone):
            listed.append(Package(name=name, version=version, kind="conda" if place < count else "wheel"))
        alone.clear()

    for line in config.history:
        layer = line.created_by.removeprefix("ADD ")
        if layer == line.created_by or line.empty_layer:
            continue
        head, _, rest = line.comment.partition(": ")
        items = [(name, version) for name, _, version in (item.partition(" ") for item in rest.split(", "))]
        items = [(name, version) for name, version in items if re.fullmatch(r"\S+", version)]
        if head.startswith("Debian "):
            settle()
            listed += [Package(name=name, version=version, kind="debian") for name, version in items]
        elif layer in ("conda", "debian", "files") or layer.startswith("wheels-"):
            settle(layer)
            kind = "conda" if layer == "conda" else "wheel"
            listed += [Package(name=name, version=version, kind=kind) for name, version in items]
        else:
            alone += items
    settle()
    return Contents(packages=_unique(listed), source="history", complete=False) if listed else NOTHING


def _conda_count(alone: Sequence[tuple[str, str]]) -> int:
    """Return how many of an image's packages with a layer of their own are conda's, where no layer ``conda`` follows.

    Conda's come first and each kind is in the order of its names, so that what stands before the interpreter, before a
    name that no wheel has, or before a step back in the order is conda's too.
    """
    count = 0
    for place, (name, version) in enumerate(alone):
        if name == "python" or canonicalize_name(name) != name or not _is_pep440(version):
            count = place + 1
        elif place and name < alone[place - 1][0]:
            return place
    return count


def _is_pep440(version: str) -> bool:
    try:
        ecosystems.of("wheel").key(version)
    except ValueError:
        return False
    return True


def layer_names(config: ImageConfig) -> tuple[str, ...]:
    """Return a name for people for every layer, base layer first: what our builds write, else the command."""
    names = []
    for line in config.history:
        if not line.empty_layer:
            made = re.fullmatch(r"ADD (\S+)(?: /)?", line.created_by)
            names.append(made[1] if made else " ".join(line.created_by.split())[:80])
    missing = len(config.diff_ids) - len(names)
    return (*names, *[""] * missing) if missing >= 0 else tuple(names[: len(config.diff_ids)])


def layer_titles(config: ImageConfig) -> tuple[str, ...]:
    """Return `layer_names`, and whose a layer is where each image of a line has one: ``debian of base``."""
    titles = list(layer_names(config))
    lines = [line for line in config.history if not line.empty_layer]
    owners = [line.comment.removeprefix("files of images/") if line.created_by == "ADD files" else "" for line in lines]
    if not any(owners):
        return tuple(titles)
    # The topmost image may have no files of its own.
    own = "HELIOIMAGES_IMAGE="
    owner = next((line.removeprefix(own) for line in config.env if line.startswith(own)), "")
    for place in reversed(range(min(len(lines), len(titles)))):
        owner = owners[place] or owner
        titles[place] = owned(titles[place], owner)
    return tuple(titles)


def owned(layer: str, image: str) -> str:
    """Return a layer's title: its name, and the image's where every image has a layer of that name.

    >>> owned("wheels-07", "helio"), owned("numpy", "base")
    ('wheels-07 of helio', 'numpy')
    """
    return f"{layer} of {image}" if image and re.fullmatch(r"debian|conda|files|wheels-(small-)?\d+", layer) else layer


def _cyclonedx(component: Mapping[str, Any]) -> Package | None:
    purl = _text(component, "purl")
    return _package(_text(component, "name"), _text(component, "version"), purl, _cyclonedx_licenses(component))


def _cyclonedx_licenses(component: Mapping[str, Any]) -> str:
    words = []
    for licence in _objects(component.get("licenses")):
        inner = licence.get("license")
        inner = inner if isinstance(inner, dict) else {}
        words.append(_text(licence, "expression") or _text(inner, "id") or _text(inner, "name"))
    return " AND ".join(dict.fromkeys(word for word in words if word))


def _spdx(package: Mapping[str, Any]) -> Package | None:
    purl = next(
        (
            _text(reference, "referenceLocator")
            for reference in _objects(package.get("externalRefs"))
            if reference.get("referenceType") == "purl"
        ),
        "",
    )
    said = (_text(package, "licenseConcluded"), _text(package, "licenseDeclared"))
    licenses = next((licence for licence in said if licence not in _NOT_KNOWN), "")
    return _package(_text(package, "name"), _text(package, "versionInfo"), purl, licenses)


def _package(name: str, version: str, purl: str, licenses: str) -> Package | None:
    """Return a package, or None for what is none of ours: files, sources, the image itself."""
    kind = ecosystems.of_purl(purl)
    if not kind:
        return None
    parsed = PackageURL.from_string(purl)
    return Package(
        name=name or parsed.name,
        version=version or parsed.version or "",
        kind=kind,
        licenses=licenses,
        purl=purl,
    )


def _unique(packages: Iterable[Package]) -> tuple[Package, ...]:
    by_key: dict[tuple[str, str], Package] = {}
    for package in packages:
        by_key.setdefault((package.kind, package.name), package)
    return tuple(by_key[key] for key in sorted(by_key))


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""

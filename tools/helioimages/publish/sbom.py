"""SBOMs from the locks and the layers, not from a scan: CycloneDX 1.6 with every file, SPDX 2.3 with every package.

The two are written from the same components. Files with their sha256 are in CycloneDX only: SPDX 2.3 demands a SHA-1 of
each file, which nothing here computes. Equal images have equal SBOMs, byte for byte.

Spec: CycloneDX 1.6 JSON; SPDX 2.3, annex on JSON; package-url types conda, deb, oci, pypi.
"""

from __future__ import annotations

import email.parser
import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from packageurl import PackageURL
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ..conda.read import read_index
from ..core import archives
from ..core.digest import canonical_json
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.reading import Form, load_json
from ..core.words import count
from ..locks import ecosystems
from ..machine.store import Store
from ..make import travel
from ..make.building import Built
from ..oci.image import rfc3339
from . import sbom_files
from .sbom_files import Owner

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component of an image: a package, an image's own files (``image``) or what Debian's scripts made (`SYSTEM`).

    Attributes:
        files: path and sha256 (empty for a link).
    """

    package: Package
    files: tuple[tuple[str, str], ...] = ()

    @property
    def ref(self) -> str:
        """A name within one SBOM."""
        return f"{self.package.kind}-{self.package.name}"

    @property
    def expression(self) -> str:
        """The licence as a normal SPDX expression, empty if it is none."""
        # A LicenseRef needs its text in the document, which packages do not give.
        if "licenseref" in self.package.licenses.lower():
            return ""
        try:
            return canonicalize_license_expression(self.package.licenses)
        except InvalidLicenseExpression:
            return ""


def components(store: Store, built: Built) -> tuple[Component, ...]:
    """Return an image's components with their files: every file belongs to one.

    Raises:
        HelioError: a file has no owner, or the store lost an artefact or a layer.
    """
    listed = materials(built)
    origins: dict[str, Owner] = {material.origin: (material.kind, material.name) for material in listed}
    owned = sbom_files.owners(store, built, origins)
    if owned.unowned:
        raise HelioError(
            Stage.CHECK,
            f"`{built.spec.name}` has {count(len(owned.unowned), 'file')} of no component",
            detail="\n".join(owned.unowned[:10]),
            hint="report this as a bug",
        )
    by_key = {(material.kind, material.name): material for material in listed}
    rows = []
    for key in sorted({*by_key, *owned.files}):
        known = by_key.get(key) or Package(kind=key[0], name=key[1], version="")
        package = replace(known, licenses=_licence(store, known, owned.copyrights, built))
        rows.append(Component(package=package, files=owned.files.get(key, ())))
    return tuple(rows)


def materials(built: Built) -> tuple[Package, ...]:
    """Return the locked packages of an image, its parents' included, by kind and name; without licences."""
    return tuple(sorted(built.locks.packages, key=lambda package: (package.kind, package.name)))


def image_purl(built: Built) -> str:
    """Return the image's package URL. It names no registry: bytes do not depend on where they are."""
    return _oci_purl(built.spec.name, built.image.digest)


def _oci_purl(name: str, digest: str) -> str:
    return PackageURL(type="oci", name=name, version=digest).to_string()


def cyclonedx(built: Built, parts: tuple[Component, ...], tool_version: str) -> bytes:
    """Return the CycloneDX 1.6 document: the image depends on its components, each with its files and their sha256."""
    rows = []
    for component in parts:
        package = component.package
        row: dict[str, object] = {
            "type": "library" if ecosystems.known(package.kind) else "data",
            "bom-ref": component.ref,
            "name": package.name,
        }
        if package.version:
            row["version"] = package.version
        if package.purl:
            row["purl"] = package.purl
        if package.sha256:
            row["hashes"] = [{"alg": "SHA-256", "content": package.sha256}]
        if component.expression:
            row["licenses"] = [{"expression": component.expression}]
        elif package.licenses:
            row["licenses"] = [{"license": {"name": package.licenses}}]
        if package.patches or package.without or package.ran:
            row["pedigree"] = _pedigree(package)
        if component.files:
            row["components"] = [
                {"type": "file", "name": _text(path)}
                | ({"hashes": [{"alg": "SHA-256", "content": sha256}]} if sha256 else {})
                for path, sha256 in component.files
            ]
        rows.append(row)
    serial = UUID(bytes=hashlib.sha256(built.image.digest.encode()).digest()[:16], version=4)
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{serial}",
            "version": 1,
            "metadata": {
                "timestamp": rfc3339(built.locks.epoch),
                "tools": {"components": [{"type": "application", "name": "helioimages", "version": tool_version}]},
                "component": {
                    "type": "container",
                    "bom-ref": "image",
                    "name": built.spec.name,
                    "version": built.image.digest,
                    "purl": image_purl(built),
                },
            },
            "components": rows,
            "dependencies": [{"ref": "image", "dependsOn": [component.ref for component in parts]}],
        }
    )


def _pedigree(package: Package) -> dict[str, object]:
    """Return what was changed in a package whose hash is that of the unchanged file.

    Spec: CycloneDX 1.6, component.pedigree: patches and notes.
    """
    patches = [
        {
            "type": "unofficial",
            "diff": {"url": patch.path},
            "resolves": [{"type": "defect", "description": patch.reason, "references": [patch.upstream]}],
        }
        for patch in package.patches
    ]
    told = "; ".join(f"{patch.path} (sha256:{patch.sha256}): {patch.reason}" for patch in package.patches)
    left = "; ".join(f"{gone.name}: {gone.reason}" for gone in package.without)
    notes = [f"Files were changed by {told}"] if told else []
    notes += [f"It asks for what is left out: {left}"] if left else []
    notes += [f"Its post-link script wrote what has sha256:{package.ran}"] if package.ran else []
    return ({"patches": patches} if patches else {}) | {"notes": ". ".join(notes)}


def without_files(text: bytes) -> dict[str, object]:
    """Return a CycloneDX document of `cyclonedx` without its files, small enough to be signed as it is.

    It names the whole document by its serial number and its sha256, so who signs this signs that.

    Spec: CycloneDX 1.6, externalReferences and BOM-Link.
    """
    whole: dict[str, Any] = json.loads(text)
    digest = hashlib.sha256(text).hexdigest()
    link = "urn:cdx:" + whole["serialNumber"].removeprefix("urn:uuid:") + f"/{whole['version']}"
    return whole | {
        "serialNumber": f"urn:uuid:{UUID(bytes=hashlib.sha256(digest.encode()).digest()[:16], version=4)}",
        "components": [{name: row[name] for name in row if name != "components"} for row in whole["components"]],
        "externalReferences": [
            {
                "type": "bom",
                "url": link,
                "comment": "the same with every file",
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        ],
    }


def whole_of(document: Any) -> str:
    """Return the digest of the document that one of `without_files` names, empty if it names none."""
    try:
        (link,) = [reference for reference in document["externalReferences"] if reference["type"] == "bom"]
        digest: str = next(checksum["content"] for checksum in link["hashes"] if checksum["alg"] == "SHA-256")
        return "sha256:" + digest
    except (KeyError, TypeError, ValueError, StopIteration):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The image that an SPDX document is of: its name, digest and time, seconds since 1970 UTC."""

    name: str
    digest: str
    epoch: int


def spdx(built: Built, parts: tuple[Component, ...], tool_version: str) -> bytes:
    """Return the SPDX 2.3 document: the image contains its components."""
    image = Described(name=built.spec.name, digest=built.image.digest, epoch=built.locks.epoch)
    return spdx_of(image, parts, tool_version)


def spdx_of(described: Described, parts: tuple[Component, ...], tool_version: str) -> bytes:
    """Return the SPDX 2.3 document of an image that was not built of a checkout's plan."""
    image = {
        "SPDXID": "SPDXRef-image",
        "name": described.name,
        "versionInfo": described.digest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": described.digest.removeprefix("sha256:")}],
        "externalRefs": [_purl_ref(_oci_purl(described.name, described.digest))],
    }
    rows: list[dict[str, object]] = [image]
    for component in parts:
        package = component.package
        row: dict[str, object] = {
            "SPDXID": _spdx_id(component),
            "name": package.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": component.expression or "NOASSERTION",
            "copyrightText": "NOASSERTION",
        }
        if package.version:
            row["versionInfo"] = package.version
        if package.patches or package.without or package.ran:
            row["sourceInfo"] = _pedigree(package)["notes"]
        if package.licenses and not component.expression:
            row["licenseComments"] = f"The package says: {package.licenses}"
        if package.sha256:
            row["checksums"] = [{"algorithm": "SHA256", "checksumValue": package.sha256}]
        if package.purl:
            row["externalRefs"] = [_purl_ref(package.purl)]
        rows.append(row)
    describes = {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES"}
    contains = {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS"}
    return canonical_json(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": f"{described.name}@{described.digest}",
            "documentNamespace": f"urn:helioimages:sbom:{described.digest.removeprefix('sha256:')}",
            "creationInfo": {
                "created": rfc3339(described.epoch),
                "creators": [f"Tool: helioimages-{tool_version}"],
            },
            "packages": rows,
            "relationships": [
                describes | {"relatedSpdxElement": "SPDXRef-image"},
                *(contains | {"relatedSpdxElement": _spdx_id(component)} for component in parts),
            ],
        }
    )


def wheel_licence(metadata: str) -> str:
    """Return what a wheel's METADATA says of its licence: the expression, else a short text, else classifiers.

    Spec: core metadata, License-Expression, License, Classifier.
    """
    message = email.parser.Parser().parsestr(metadata, headersonly=True)
    if expression := message.get("License-Expression"):
        return str(expression).strip()
    text = str(message.get("License") or "").strip()
    # Some put the whole text there, which is no name.
    if text and "\n" not in text and len(text) <= 100 and text != "UNKNOWN":
        return text
    names = [
        str(line).rpartition(" :: ")[2]
        for line in message.get_all("Classifier") or ()
        if str(line).startswith("License :: ")
    ]
    return " AND ".join(dict.fromkeys(names))


def _licence(store: Store, package: Package, copyrights: Mapping[str, tuple[str, ...]], built: Built) -> str:
    if package.kind == "debian":
        return " AND ".join(copyrights.get(package.name, ()))
    if package.kind == "image":
        return built.spec.licenses
    if not package.sha256:
        return ""
    path = store.artefact(package.sha256)
    travelled = None if path.exists() else travel.metadata_of(store, package)
    try:
        if travelled is not None:
            conda = package.kind == "conda"
            return _conda_licence(package, travelled) if conda else wheel_licence(travelled)
        if package.kind == "conda":
            return str(read_index(path).get("license") or "")
        with archives.reading(), zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")]
            if not names:
                raise archives.ArchiveError("it has no METADATA")
            return wheel_licence(wheel.read(names[0]).decode("utf-8", "replace"))
    except (OSError, archives.ArchiveError) as error:
        raise HelioError(
            Stage.CHECK,
            f"cannot read the metadata of `{package.name}`",
            detail=str(error),
            hint="run `buildimages build`",
        ) from error


def _conda_licence(package: Package, record: str) -> str:
    """Return what a package's record says, of a layer that came from a cache."""
    form = Form(stage=Stage.CHECK, comma=False, null_is_absent=True, json=True)
    return str(load_json(record, f"conda-meta of {package.name}", form).take("license", object, "") or "")


def _spdx_id(component: Component) -> str:
    safe = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in component.ref)
    # Two names may become one; the digest of the name keeps them apart.
    return f"SPDXRef-{safe}-{hashlib.sha256(component.ref.encode()).hexdigest()[:8]}"


def _purl_ref(purl: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}


def _text(path: str) -> str:
    r"""Return a path as JSON can hold it; bytes that are not UTF-8 as ``\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

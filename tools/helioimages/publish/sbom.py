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
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ..conda.read import read_index
from ..core.digest import canonical_json
from ..core.errors import HelioError, Stage
from ..machine.store import Store
from ..make.building import Built
from ..oci.image import rfc3339
from . import sbom_files
from .sbom_files import Owner

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component of an image.

    Attributes:
        kind: ``conda``, ``wheel``, ``debian``, ``image`` (an image's own files) or ``system``.
        purl: empty for what has none.
        sha256: of the artefact, hex; empty for what has none.
        licence: what the package's metadata say, an SPDX expression or not.
        files: path and sha256 (empty for a link).
    """

    kind: str
    name: str
    version: str
    purl: str = ""
    sha256: str = ""
    licence: str = ""
    files: tuple[tuple[str, str], ...] = ()

    @property
    def ref(self) -> str:
        """A name within one SBOM."""
        return f"{self.kind}-{self.name}"

    @property
    def expression(self) -> str:
        """The licence as a normal SPDX expression, empty if it is none."""
        # A LicenseRef needs its text in the document, which packages do not give.
        if "licenseref" in self.licence.lower():
            return ""
        try:
            return canonicalize_license_expression(self.licence)
        except InvalidLicenseExpression:
            return ""


def components(store: Store, built: Built) -> tuple[Component, ...]:
    """Return an image's components with their files: every file belongs to one.

    Raises:
        HelioError: a file has no owner, or the store lost an artefact or a layer.
    """
    found = materials(built)
    origins: dict[str, Owner] = {f"{one.name}-{one.version}": (one.kind, one.name) for one in found}
    owned = sbom_files.owners(store, built, origins)
    if owned.unowned:
        raise HelioError(
            Stage.CHECK,
            f"{len(owned.unowned)} files of `{built.spec.name}` belong to no component",
            detail="\n".join(owned.unowned[:10]),
            hint="report this as a bug",
        )
    by_key = {(one.kind, one.name): one for one in found}
    rows = []
    for key in sorted({*by_key, *owned.files}):
        one = by_key.get(key) or Component(kind=key[0], name=key[1], version="")
        rows.append(
            Component(
                kind=one.kind,
                name=one.name,
                version=one.version,
                purl=one.purl,
                sha256=one.sha256,
                licence=_licence(store, one, owned.copyrights, built),
                files=owned.files.get(key, ()),
            )
        )
    return tuple(rows)


def materials(built: Built) -> tuple[Component, ...]:
    """Return the locked packages of an image, its parents' included, without files and licences."""
    lock = built.locks
    rows = [
        Component(
            kind="conda",
            name=one.name,
            version=one.version,
            purl=f"pkg:conda/{quote(one.name)}@{quote(one.version)}?build={quote(one.build)}"
            f"&channel={quote(lock.conda.channel)}&subdir={quote(one.subdir)}",
            sha256=one.sha256,
        )
        for one in lock.conda.packages
    ]
    rows += [
        Component(
            kind="wheel",
            name=one.name,
            version=one.version,
            purl=f"pkg:pypi/{quote(one.name)}@{quote(one.version)}?file_name={quote(one.file_name)}",
            sha256=one.sha256,
        )
        for one in lock.pypi.wheels
    ]
    rows += [
        Component(
            kind="debian",
            name=one.name,
            version=one.version,
            purl=f"pkg:deb/debian/{quote(one.name)}@{quote(one.version, safe='')}"
            f"?arch={one.architecture}&distro={quote(lock.apt.suite)}",
            sha256=one.sha256,
        )
        for one in lock.apt.packages
    ]
    return tuple(sorted(rows, key=lambda one: (one.kind, one.name)))


def image_purl(built: Built) -> str:
    """Return the image's package URL. It names no registry: bytes do not depend on where they are."""
    return f"pkg:oci/{quote(built.spec.name)}@{quote(built.image.digest, safe='')}"


def cyclonedx(built: Built, found: tuple[Component, ...], tool_version: str) -> bytes:
    """Return the CycloneDX 1.6 document: the image depends on its components, each with its files and their sha256."""
    rows = []
    for one in found:
        row: dict[str, object] = {
            "type": "library" if one.kind in ("conda", "wheel", "debian") else "data",
            "bom-ref": one.ref,
            "name": one.name,
        }
        if one.version:
            row["version"] = one.version
        if one.purl:
            row["purl"] = one.purl
        if one.sha256:
            row["hashes"] = [{"alg": "SHA-256", "content": one.sha256}]
        if one.expression:
            row["licenses"] = [{"expression": one.expression}]
        elif one.licence:
            row["licenses"] = [{"license": {"name": one.licence}}]
        if one.files:
            row["components"] = [
                {"type": "file", "name": _text(path)}
                | ({"hashes": [{"alg": "SHA-256", "content": sha256}]} if sha256 else {})
                for path, sha256 in one.files
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
            "dependencies": [{"ref": "image", "dependsOn": [one.ref for one in found]}],
        }
    )


def without_files(text: bytes) -> dict[str, object]:
    """Return a CycloneDX document of `cyclonedx` without its files, small enough to be signed as it is.

    It names the whole document by its serial number and its sha256, so who signs this signs that.

    Spec: CycloneDX 1.6, externalReferences and BOM-Link.
    """
    whole = json.loads(text)
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


def whole_of(document: object) -> str:
    """Return the digest of the document that one of `without_files` names, empty if it names none."""
    try:
        (link,) = [one for one in document["externalReferences"] if one["type"] == "bom"]  # type: ignore[index]
        return "sha256:" + next(one["content"] for one in link["hashes"] if one["alg"] == "SHA-256")
    except (KeyError, TypeError, ValueError, StopIteration):
        return ""


def spdx(built: Built, found: tuple[Component, ...], tool_version: str) -> bytes:
    """Return the SPDX 2.3 document: the image contains its components."""
    image = {
        "SPDXID": "SPDXRef-image",
        "name": built.spec.name,
        "versionInfo": built.image.digest,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": built.image.digest.removeprefix("sha256:")}],
        "externalRefs": [_purl_ref(image_purl(built))],
    }
    rows: list[dict[str, object]] = [image]
    for one in found:
        row: dict[str, object] = {
            "SPDXID": _spdx_id(one),
            "name": one.name,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False,
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": one.expression or "NOASSERTION",
            "copyrightText": "NOASSERTION",
        }
        if one.version:
            row["versionInfo"] = one.version
        if one.licence and not one.expression:
            row["licenseComments"] = f"The package says: {one.licence}"
        if one.sha256:
            row["checksums"] = [{"algorithm": "SHA256", "checksumValue": one.sha256}]
        if one.purl:
            row["externalRefs"] = [_purl_ref(one.purl)]
        rows.append(row)
    described = {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES"}
    contains = {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS"}
    return canonical_json(
        {
            "spdxVersion": "SPDX-2.3",
            "dataLicense": "CC0-1.0",
            "SPDXID": "SPDXRef-DOCUMENT",
            "name": f"{built.spec.name}@{built.image.digest}",
            "documentNamespace": f"urn:helioimages:sbom:{built.image.digest.removeprefix('sha256:')}",
            "creationInfo": {
                "created": rfc3339(built.locks.epoch),
                "creators": [f"Tool: helioimages-{tool_version}"],
            },
            "packages": rows,
            "relationships": [
                described | {"relatedSpdxElement": "SPDXRef-image"},
                *(contains | {"relatedSpdxElement": _spdx_id(one)} for one in found),
            ],
        }
    )


def wheel_licence(metadata: str) -> str:
    """Return what a wheel's METADATA says of its licence: the expression, else a short text, else classifiers.

    Spec: core metadata, License-Expression, License, Classifier.
    """
    message = email.parser.Parser().parsestr(metadata, headersonly=True)
    if said := message.get("License-Expression"):
        return str(said).strip()
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


def _licence(store: Store, one: Component, copyrights: Mapping[str, tuple[str, ...]], built: Built) -> str:
    if one.kind == "debian":
        return " AND ".join(copyrights.get(one.name, ()))
    if one.kind == "image":
        return built.spec.licenses
    if not one.sha256:
        return ""
    path = store.artefact(one.sha256)
    try:
        if one.kind == "conda":
            return str(read_index(path).get("license") or "")
        with zipfile.ZipFile(path) as wheel:
            name = next(
                name for name in wheel.namelist() if name.count("/") == 1 and name.endswith(".dist-info/METADATA")
            )
            return wheel_licence(wheel.read(name).decode("utf-8", "replace"))
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise HelioError(
            Stage.CHECK,
            f"cannot read the metadata of `{one.name}`",
            detail=str(error) or "it has no METADATA",
            hint="run `buildimages build`",
        ) from error


def _spdx_id(one: Component) -> str:
    safe = "".join(char if char.isascii() and (char.isalnum() or char in ".-") else "-" for char in one.ref)
    # Two names may become one; the digest of the name keeps them apart.
    return f"SPDXRef-{safe}-{hashlib.sha256(one.ref.encode()).hexdigest()[:8]}"


def _purl_ref(purl: str) -> dict[str, str]:
    return {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}


def _text(path: str) -> str:
    """Return a path as JSON can hold it; bytes that are no UTF-8 as ``\\xNN``."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

"""What a published image holds: its package list, with what its SBOM knows of the packages' files."""

from __future__ import annotations

import io
import json
from typing import Any

from packageurl import PackageURL

from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..machine.store import Store
from ..oci.absent import absent
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from . import referrers
from .contents import from_list

#: What an image is looked up by where nothing is said.
LATEST = "latest"
_SPDX = "spdx"


def image_of(client: Registry, reference: Reference, platform: Platform) -> Image:
    """Return an image of a registry.

    Raises:
        HelioError: it is not there; the tags that are there are named.
    """
    at = reference.digest or reference.tag or LATEST
    image = client.get_image(reference.repository, at, platform)
    if image is None:
        raise absent(client, reference, str(reference).partition("/")[2], Stage.USAGE)
    return image


def packages_of(client: Registry, repository: str, image: Image, store: Store) -> tuple[Package, ...]:
    """Return the packages of an image: of its package list, with what its SBOM knows of their files.

    Raises:
        HelioError: neither is published.
    """
    tags = client.tags(repository)
    attached = referrers.artifacts(client, repository, image.digest, tags=tags, store=store)
    listed: tuple[Package, ...] = ()
    known: dict[tuple[str, str, str], Package] = {}
    for artifact in attached:
        where = f"{client.host}/{repository}@{artifact.digest}"
        for file in artifact.files:
            if artifact.kind == "packages":
                listed = from_list(referrers.read_blob(client, repository, file, store), where).packages
            elif artifact.kind == "sbom" and _SPDX in artifact.type:
                stream = io.BytesIO()
                client.pull_blob(repository, file, stream)
                known |= _of_spdx(stream.getvalue())
    if not listed and not known:
        raise HelioError(
            Stage.USAGE,
            f"nothing says what `{repository}` holds",
            where=f"{client.host}/{repository}@{image.digest}",
            detail="expected its package list or SBOM among its referrers",
            hint="publish it with `buildimages publish`",
        )
    if not listed:
        return tuple(known[key] for key in sorted(known))
    return tuple(known.get((package.kind, package.name, package.version), package) for package in listed)


def _of_spdx(data: bytes) -> dict[tuple[str, str, str], Package]:
    """Return the packages of an SPDX document that we wrote, with names and digests of their files."""
    packages: dict[tuple[str, str, str], Package] = {}
    rows: list[dict[str, Any]] = json.loads(data).get("packages", [])
    for row in rows:
        purl = next(
            (ref["referenceLocator"] for ref in row.get("externalRefs", ()) if ref.get("referenceType") == "purl"),
            "",
        )
        digest = next((sums["checksumValue"] for sums in row.get("checksums", ()) if sums["algorithm"] == "SHA256"), "")
        if not purl:
            continue
        parsed = PackageURL.from_string(purl)
        kind = {"pypi": "wheel", "conda": "conda", "deb": "debian"}.get(parsed.type)
        if kind is None:
            continue
        name, version = row["name"], row.get("versionInfo", "")
        packages[kind, name, version] = Package(
            kind=kind,
            name=name,
            version=version,
            file_name=dict(parsed.qualifiers or {}).get("file_name", "") if isinstance(parsed.qualifiers, dict) else "",
            sha256=digest,
            purl=purl,
        )
    return packages

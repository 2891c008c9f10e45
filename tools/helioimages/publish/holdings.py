"""What a published image holds: its package list, with what its SBOM knows of the packages' files."""

from __future__ import annotations

import io

from packageurl import PackageURL

from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..core.reading import SHA256, load_json
from ..locks import ecosystems
from ..machine.store import Store
from ..oci.absent import absent
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from . import referrers
from .contents import FORM, from_list

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
                known |= of_spdx(stream.getvalue(), where)
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


def of_spdx(data: bytes, where: str) -> dict[tuple[str, str, str], Package]:
    """Return the packages of an SPDX document that we wrote, with names and digests of their files.

    Raises:
        HelioError: it is malformed.
    """
    packages: dict[tuple[str, str, str], Package] = {}
    for table in load_json(data, where, FORM).tables("packages"):
        references = table.tables("externalRefs")
        purl = next((ref.text("referenceLocator") for ref in references if ref.text("referenceType", "") == "purl"), "")
        checksums = table.tables("checksums")
        sha256 = next(
            (sums.text("checksumValue", shape=SHA256) for sums in checksums if sums.text("algorithm") == "SHA256"), ""
        )
        kind = ecosystems.of_purl(purl)
        if not kind:
            continue
        qualifiers = PackageURL.from_string(purl).qualifiers
        name, version = table.text("name"), table.text("versionInfo", "")
        packages[kind, name, version] = Package(
            kind=kind,
            name=name,
            version=version,
            file_name=qualifiers.get("file_name", "") if isinstance(qualifiers, dict) else "",
            sha256=sha256,
            purl=purl,
        )
    return packages

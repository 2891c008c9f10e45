"""The image that is extended: its documents and what it holds, read from the registry alone."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from typing import Any

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..machine.store import Store
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..publish import referrers
from ..publish.contents import from_list

#: Where a name of an image is looked up that names no registry.
LATEST = "latest"
_SPDX = "spdx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A published image.

    Attributes:
        client: of its registry.
        repository: there.
        tag: as it was asked for, empty for a digest.
        packages: all of them; of wheels and conda packages with sha256 where its SBOM is published.
        home, uid: of whom it runs as.
    """

    client: Registry
    repository: str
    tag: str
    image: Image
    packages: tuple[Package, ...]

    @property
    def reference(self) -> str:
        """The reference by digest, which an engine pulls."""
        return f"{self.client.host}/{self.repository}@{self.image.digest}"

    @property
    def name(self) -> str:
        """The image as people call it, e.g. ``helio:latest``."""
        return f"{self.repository}:{self.tag}" if self.tag else self.repository

    @property
    def python(self) -> str:
        """The interpreter's whole version, e.g. ``3.13.5``."""
        return self.named("conda", "python").version

    @property
    def minor(self) -> str:
        """The interpreter's version as wheels name it, e.g. ``3.13``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def glibc(self) -> tuple[int, int]:
        """The C library's version, which decides the wheels that run."""
        match = re.match(r"(\d+)\.(\d+)", self.named("debian", "libc6").version)
        assert match is not None
        return int(match[1]), int(match[2])

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return self.image.config.platform

    @property
    def home(self) -> str:
        """The home of whom it runs as, absolute."""
        return dict(line.partition("=")[::2] for line in self.image.config.env).get("HOME", "/home/jovyan")

    @property
    def uid(self) -> int:
        """Whom it runs as; 0 where it does not say."""
        user = (self.image.config.user or "0").partition(":")[0]
        return int(user) if user.isdecimal() else 0

    def named(self, kind: str, name: str) -> Package:
        """Return a package that every image of this project has.

        Raises:
            HelioError: it has none: it is an image of somebody else.
        """
        for package in self.packages:
            if (package.kind, package.name) == (kind, name):
                return package
        raise HelioError(
            Stage.USAGE,
            f"`{self.name}` cannot be extended",
            where=self.reference,
            detail=f"expected an image that `buildimages publish` pushed; its package list has no `{name}`",
        )

    def pins(self) -> dict[str, str]:
        """Return distribution -> version of its Python packages."""
        return {canonicalize_name(one.name): one.version for one in self.packages if one.kind == "wheel"}


def find(client: Registry, reference: Reference, store: Store, platform: Platform) -> Parent:
    """Read an image of a registry, and what it holds.

    Raises:
        HelioError: it is not there, or nothing says what it holds.
    """
    at = reference.digest or reference.tag or LATEST
    image = client.get_image(reference.repository, at, platform)
    tags = client.tags(reference.repository)
    if image is None:
        raise HelioError(
            Stage.USAGE,
            f"`{reference.repository}` is not in the registry",
            where=f"{client.host}/{reference.repository}",
            detail=f"expected a manifest under {at}; the tags there: "
            + (", ".join(tag for tag in tags if not tag.startswith("sha256-")) or "none"),
            hint="`buildimages publish` puts it there; --from HOST/NAME:TAG names another registry",
        )
    parent = Parent(
        client=client,
        repository=reference.repository,
        tag="" if reference.digest else at,
        image=image,
        packages=packages_of(client, reference.repository, image, store),
    )
    parent.named("conda", "python")
    parent.named("debian", "libc6")
    return parent


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
    return tuple(known.get((one.kind, one.name, one.version), one) for one in listed)


def _of_spdx(data: bytes) -> dict[tuple[str, str, str], Package]:
    """Return the packages of an SPDX document that we wrote, with names and digests of their files."""
    found: dict[tuple[str, str, str], Package] = {}
    rows: list[dict[str, Any]] = json.loads(data).get("packages", [])
    for row in rows:
        purl = next(
            (one["referenceLocator"] for one in row.get("externalRefs", ()) if one.get("referenceType") == "purl"), ""
        )
        digest = next((one["checksumValue"] for one in row.get("checksums", ()) if one["algorithm"] == "SHA256"), "")
        if not purl:
            continue
        said = PackageURL.from_string(purl)
        kind = {"pypi": "wheel", "conda": "conda", "deb": "debian"}.get(said.type)
        if kind is None:
            continue
        name, version = row["name"], row.get("versionInfo", "")
        found[kind, name, version] = Package(
            kind=kind,
            name=name,
            version=version,
            file_name=dict(said.qualifiers or {}).get("file_name", "") if isinstance(said.qualifiers, dict) else "",
            sha256=digest,
            purl=purl,
        )
    return found

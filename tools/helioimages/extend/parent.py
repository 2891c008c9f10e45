"""The image that is extended: its documents and what it holds, read from the registry alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..machine.store import Store
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..publish.holdings import LATEST, image_of, packages_of

#: Distribution -> one that has the same modules in another build, and that an image may have in its place.
OTHER_BUILDS = {"opencv-python": "opencv-python-headless", "xgboost": "xgboost-cpu"}


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
        """Return distribution -> version of its Python packages, and of those that it has in another build."""
        return self._wheels() | self.other_builds()

    def other_builds(self) -> dict[str, str]:
        """Return distribution -> version of those whose modules it has under another name; see `OTHER_BUILDS`."""
        wheels = self._wheels()
        return {name: wheels[other] for name, other in OTHER_BUILDS.items() if name not in wheels and other in wheels}

    def _wheels(self) -> dict[str, str]:
        return {
            canonicalize_name(package.name): package.version for package in self.packages if package.kind == "wheel"
        }


def find(client: Registry, reference: Reference, store: Store, platform: Platform) -> Parent:
    """Read an image of a registry, and what it holds.

    Raises:
        HelioError: it is not there, or nothing says what it holds.
    """
    image = image_of(client, reference, platform)
    parent = Parent(
        client=client,
        repository=reference.repository,
        tag="" if reference.digest else reference.tag or LATEST,
        image=image,
        packages=packages_of(client, reference.repository, image, store),
    )
    parent.named("conda", "python")
    parent.named("debian", "libc6")
    return parent

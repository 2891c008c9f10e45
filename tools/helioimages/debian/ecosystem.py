"""Debian as a kind of package."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from packageurl import PackageURL

from ..core.package import Advised, Ecosystem, Package
from . import lock as apt_lock
from . import version
from .lock import AptLock

#: Debian's release by suite, as OSV writes it.
RELEASES = {"bookworm": "12", "trixie": "13", "forky": "14", "duke": "15"}

#: The file that holds the Debian part.
LOCK_FILE = "apt-lock.json"


class Debian(Ecosystem[AptLock]):
    """Binary packages of Debian. Spec: package-url, type ``deb``; Debian policy 5.6.12 (versions)."""

    kind = "debian"
    title = "Debian"
    part = "apt"
    world = "debian"
    purl_type = "deb"
    purl_namespace = "debian"
    advisories = ("Debian",)

    def lock_file(self, environment: str, image: str, channel: str) -> str:
        """Return the image's lock."""
        return f"images/{image}/{LOCK_FILE}"

    def parse(self, text: str, where: str) -> AptLock:
        """Read an ``apt-lock.json``."""
        return apt_lock.parse(text, where)

    def dump(self, lock: AptLock) -> str:
        """Return the text of an ``apt-lock.json``."""
        return apt_lock.dump(lock)

    def packages(self, lock: AptLock) -> tuple[Package, ...]:
        """Return the binary packages."""
        return tuple(
            self.package_of(package, arch=package.architecture, distro=lock.suite) for package in lock.packages
        )

    def normal(self, name: str) -> str:
        """Return the name as it is: ``libc++1-16`` and ``libc-1-16`` would be two packages."""
        return name

    def key(self, text: str) -> Any:
        """Return a value that compares as dpkg compares."""
        if not version.is_version(text):
            raise ValueError(f"{text!r} is not a Debian version")
        return version.key(text)

    def advised(self, package: Package) -> Advised:
        """Return the source package: the pool's folder, which Debian's advisories name, and its version."""
        qualifiers = PackageURL.from_string(package.purl).qualifiers
        suite = qualifiers.get("distro", "") if isinstance(qualifiers, dict) else ""
        return Advised(
            ecosystems=self.advisories,
            name=PurePosixPath(package.file_name).parent.name,
            version=version.of_source(package.version),
            release=RELEASES.get(suite, suite),
        )


DEBIAN = Debian()

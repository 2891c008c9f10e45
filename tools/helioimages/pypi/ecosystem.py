"""PyPI as a kind of package."""

from __future__ import annotations

import dataclasses

from packaging.utils import canonicalize_name
from packaging.version import Version

from ..core.package import Advised, Ecosystem, Package
from . import lock as pypi_lock
from .lock import PyPILock, Sdist, Wheel

#: The file that holds the PyPI part.
LOCK_FILE = "pylock.toml"


class PyPI(Ecosystem[PyPILock]):
    """Wheels. Spec: package-url, type ``pypi``; PEP 503 (names), PEP 440 (versions)."""

    kind = "wheel"
    title = "PyPI"
    part = "pypi"
    world = "wheel"
    purl_type = "pypi"
    advisories = ("PyPI",)

    def lock_file(self, environment: str, image: str, channel: str) -> str:
        """Return the environment's lock; all channels share it."""
        return f"environments/{environment}/{LOCK_FILE}"

    def parse(self, text: str, where: str) -> PyPILock:
        """Read a ``pylock.toml``."""
        return pypi_lock.parse(text, where)

    def dump(self, lock: PyPILock) -> str:
        """Return the text of a ``pylock.toml``."""
        return pypi_lock.dump(lock)

    def packages(self, lock: PyPILock) -> tuple[Package, ...]:
        """Return the wheels, those that were built here among them; a source without a wheel installs nothing."""
        return tuple(self._package(wheel, built=wheel.built) for wheel in lock.wheels)

    def sources(self, lock: PyPILock) -> tuple[Package, ...]:
        """Return what is built here, as its source: a wheel recorded later is not a change of what people have."""
        return tuple(self._package(sdist, built=True) for sdist in lock.sdists)

    def normal(self, name: str) -> str:
        """Return the name as PEP 503 says."""
        return canonicalize_name(name)

    def key(self, version: str) -> Version:
        """Return the version as PEP 440 orders it; versions that are older than PEP 440 raise ValueError."""
        return Version(version)

    def advised(self, package: Package) -> Advised:
        """Return the package's own name and version."""
        return Advised(ecosystems=self.advisories, name=package.name, version=package.version)

    def _package(self, record: Wheel | Sdist, *, built: bool) -> Package:
        package = self.package_of(record, file_name=record.file_name)
        if isinstance(record, Sdist):
            return dataclasses.replace(package, built=built)
        return dataclasses.replace(package, built=built, patches=record.patches, without=record.without)


PYPI = PyPI()

"""conda as a kind of package."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..core.package import Advised, Ecosystem, Package
from . import lock as conda_lock
from . import version
from .lock import CondaLock

#: The file that holds the conda part, by channel.
LOCK_FILES = {"local": "conda-lock.yml", "conda-forge": "conda-lock.conda-forge.yml"}


class Conda(Ecosystem[CondaLock]):
    """Packages of conda channels. Spec: package-url, type ``conda``; OSV has them under upstream's names."""

    kind = "conda"
    title = "conda"
    part = "conda"
    world = "wheel"
    purl_type = "conda"
    advisories = ("conda", "conda-forge", "Bitnami", "OSS-Fuzz")

    def lock_file(self, environment: str, image: str, channel: str) -> str:
        """Return the environment's lock of a channel."""
        return f"environments/{environment}/{LOCK_FILES[channel]}"

    def parse(self, text: str, where: str) -> CondaLock:
        """Read a ``conda-lock.yml``."""
        return conda_lock.parse(text, where)

    def dump(self, lock: CondaLock) -> str:
        """Return the text of a ``conda-lock.yml``."""
        return conda_lock.dump(lock)

    def packages(self, lock: CondaLock) -> tuple[Package, ...]:
        """Return the packages of every platform of the lock."""
        return tuple(
            dataclasses.replace(
                self.package_of(package, build=package.build, channel=package.channel, subdir=package.subdir),
                depends=tuple(spec.split()[0] for spec in package.depends if spec.strip()),
                ran=lock.ran.get(package.platform, {}).get(package.name, ""),
            )
            for package in lock.packages
        )

    def normal(self, name: str) -> str:
        """Return the name as it is: ``ruamel.yaml`` and ``ruamel_yaml`` are two packages."""
        return name

    def key(self, text: str) -> Any:
        """Return a value that compares as conda's version does."""
        return version.key(text)

    def advised(self, package: Package) -> Advised:
        """Return upstream's name; what needs Python may be a Python package, which PyPI's advisories know too."""
        python = ("PyPI",) if "python" in package.depends else ()
        return Advised(ecosystems=(*self.advisories, *python), name=package.name, version=package.version)


CONDA = Conda()

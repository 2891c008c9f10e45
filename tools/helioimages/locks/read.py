"""The committed locks of one image, read together, and their digest."""

from __future__ import annotations

import fnmatch
import glob
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ..conda.ecosystem import CONDA
from ..conda.lock import CondaLock, CondaPackage
from ..core.digest import key_of, of_bytes
from ..core.entries import LINKER_VERSION
from ..core.errors import HelioError, Stage
from ..core.package import Ecosystem, Package
from ..core.platform import FIRST, Platform
from ..debian.lock import AptLock
from ..pypi.ecosystem import PYPI
from ..pypi.lock import PyPILock
from ..spec.environment import NOTHING, EnvironmentSpec
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from . import ecosystems, file_names
from .ecosystems import ECOSYSTEMS

#: Sections of image.toml that nothing in the image depends on.
_NO_BYTES = ("hub", "smoke", "budget", "build")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """What one image is made of.

    Attributes:
        parts: the lock of each kind of package, by `Ecosystem.kind`.
        digest: of everything that decides the image's bytes: the locks, image.toml and files of the image and of its
            ancestors, and the linker's version.
        epoch: SOURCE_DATE_EPOCH, seconds since 1970 UTC: the newest timestamp of the locks.
        files: lock file by `Ecosystem.part`, relative to the checkout, for messages and provenance.
    """

    image: ImageSpec
    parts: Mapping[str, Any]
    digest: str
    epoch: int
    files: Mapping[str, str]

    @property
    def conda(self) -> CondaLock:
        """The conda part."""
        return cast(CondaLock, self.parts["conda"])

    @property
    def pypi(self) -> PyPILock:
        """The PyPI part."""
        return cast(PyPILock, self.parts["wheel"])

    @property
    def apt(self) -> AptLock:
        """The Debian part."""
        return cast(AptLock, self.parts["debian"])

    @property
    def packages(self) -> tuple[Package, ...]:
        """Every locked package, kind by kind in the order of the table."""
        return tuple(package for kind in ECOSYSTEMS for package in kind.packages(self.parts[kind.kind]))

    @property
    def python(self) -> CondaPackage:
        """The interpreter's record."""
        return next(package for package in self.conda.packages if package.name == "python")

    @property
    def python_version(self) -> str:
        """Major and minor, e.g. ``3.13``."""
        return ".".join(self.python.version.split(".")[:2])

    def version_of(self, name: str) -> str | None:
        """Return a PyPI or conda package's version, or None."""
        version_by_name = {package.name: package.version for package in self.conda.packages}
        version_by_name |= {wheel.name: wheel.version for wheel in self.pypi.wheels}
        return version_by_name.get(name)


def load(
    root: Path, images: Mapping[str, ImageSpec], name: str, *, channel: str = "local", platform: Platform = FIRST
) -> Locks:
    """Read the locks of one image.

    Raises:
        HelioError: a lock is missing or malformed.
    """
    image = images[name]
    files = {kind.part: _lock_file(kind, image, channel, platform) for kind in ECOSYSTEMS}
    parts = {
        kind.kind: _parsed(kind.kind, _read(root, files[kind.part], name), files[kind.part]) for kind in ECOSYSTEMS
    }
    inputs: list[object] = []
    for ancestor in lineage(images, name):
        mine = [_lock_file(kind, ancestor, channel, platform) for kind in ECOSYSTEMS]
        inputs += [
            *(of_bytes(_read(root, file, name).encode()) for file in mine),
            _recipe(_read(root, f"images/{ancestor.name}/image.toml", name)),
            files_digest(root / "images" / ancestor.name / "files"),
        ]
    return Locks(
        image=image,
        parts=parts,
        digest="sha256:" + key_of([LINKER_VERSION, inputs]),
        epoch=max(part.timestamp for part in parts.values()),
        files=files,
    )


@lru_cache(maxsize=32)
def _parsed(kind: str, text: str, file: str) -> Any:
    """Parse one lock. A verb of several stages reads an image's more than once."""
    return ecosystems.of(kind).parse(text, file)


def _lock_file(kind: Ecosystem[Any], image: ImageSpec, channel: str, platform: Platform) -> str:
    folder, _, name = kind.lock_file(image.environment, image.name, channel).rpartition("/")
    return f"{folder}/{file_names.of(name, platform)}"


def packages(locks: Locks, environment: EnvironmentSpec) -> tuple[Package, ...]:
    """Return the environment's packages as the planner sees them, with the paths that another package wins."""
    losers: dict[str, list[str]] = {}
    left_out: dict[str, list[str]] = {}
    names = {package.name for package in locks.conda.packages} | {wheel.name for wheel in locks.pypi.wheels}
    for path, text in environment.clobber.items():
        # "winner over loser, loser": both sides are named, so that no file is dropped by surprise. `files` are the
        # image's own; where `nothing` wins, there is no file.
        winner, _, rest = text.partition(" over ")
        for name in (winner, *rest.split(", ")):
            if name not in names and not (name == winner and winner in ("files", NOTHING)):
                raise HelioError(
                    Stage.SPEC,
                    f"`{name}` is not a locked package",
                    where=f"environments/{environment.name}/environment.yml at x-helioimages.clobber.{path}",
                    detail=f"expected `winner over loser`, not {text!r}",
                )
        for loser in rest.split(", "):
            (left_out if winner == NOTHING else losers).setdefault(loser, []).append(path)
    # What conda packages take from each other is no business of a wheel of the same name.
    lost: dict[str, list[str]] = {}
    for path, text in locks.conda.clobbers.get(locks.pypi.platform.subdir, {}).items():
        if any(fnmatch.fnmatchcase(path, pattern) for pattern in environment.clobber):
            continue  # people have said it since
        for loser in text.partition(" over ")[2].split(", "):
            lost.setdefault(loser, []).append(glob.escape(path))
    return tuple(
        replace(
            package,
            dropped=(*losers.get(package.name, ()), *(lost.get(package.name, ()) if kind is CONDA else ())),
            left_out=tuple(left_out.get(package.name, ())),
        )
        for kind in (CONDA, PYPI)
        for package in kind.packages(locks.parts[kind.kind])
    )


def _recipe(text: str) -> dict[str, object]:
    """Return what of an image.toml makes bytes: how a hub offers the image, and how it is tested, do not."""
    return {key: value for key, value in tomllib.loads(text).items() if key not in _NO_BYTES}


def files_digest(folder: Path) -> str:
    """Return a digest of a folder's paths, contents, links and executable bits; of an absent folder too."""
    rows = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            rows.append([name, "link", str(path.readlink())])
        elif path.is_file():
            rows.append([name, "exec" if path.stat().st_mode & stat.S_IXUSR else "file", of_bytes(path.read_bytes())])
    return "sha256:" + key_of(rows)


def _read(root: Path, file: str, image: str) -> str:
    try:
        return (root / file).read_text("utf-8")
    except FileNotFoundError as error:
        raise HelioError(Stage.LOCK, f"`{file}` is missing", hint=f"run `buildimages lock {image}`") from error
    except UnicodeDecodeError as error:
        raise HelioError(Stage.LOCK, f"cannot read `{file}`", where=file, detail=str(error)) from error

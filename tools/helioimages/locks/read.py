"""The committed locks of one image, read together, and their digest."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..conda import lock as conda_lock
from ..core.digest import key_of, of_bytes
from ..core.entries import LINKER_VERSION
from ..core.errors import HelioError, Stage
from ..debian import lock as apt_lock
from ..pypi import lock as pypi_lock
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from . import file_names
from .file_names import CONDA_LOCK, FIRST
from .package import Package

#: Sections of image.toml that nothing in the image depends on.
_NO_BYTES = ("hub", "smoke", "budget", "build")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """What one image is made of.

    Attributes:
        digest: of everything that decides the image's bytes: the locks, image.toml and files of the image and of its
            ancestors, and the linker's version.
        epoch: SOURCE_DATE_EPOCH, seconds since 1970 UTC: the newest timestamp of the locks.
        files: lock file of each part, relative to the checkout, for messages.
    """

    image: ImageSpec
    conda: conda_lock.CondaLock
    pypi: pypi_lock.PyPILock
    apt: apt_lock.AptLock
    digest: str
    epoch: int
    files: Mapping[str, str]

    @property
    def python(self) -> conda_lock.CondaPackage:
        """The interpreter's record."""
        return next(package for package in self.conda.packages if package.name == "python")

    @property
    def python_version(self) -> str:
        """Major and minor, e.g. ``3.13``."""
        return ".".join(self.python.version.split(".")[:2])

    def version_of(self, name: str) -> str | None:
        """Return a PyPI or conda package's version, or None."""
        everything: tuple[conda_lock.CondaPackage | pypi_lock.Wheel, ...] = (*self.pypi.wheels, *self.conda.packages)
        return next((package.version for package in everything if package.name == name), None)


def load(
    root: Path, images: Mapping[str, ImageSpec], name: str, *, channel: str = "local", platform: str = FIRST
) -> Locks:
    """Read the locks of one image.

    Raises:
        HelioError: a lock is missing or malformed.
    """
    image = images[name]
    folder = f"environments/{image.environment}"
    files = {
        "conda": f"{folder}/{file_names.of(CONDA_LOCK[channel], platform)}",
        "pypi": f"{folder}/{file_names.of(file_names.PYLOCK, platform)}",
        "apt": file_names.image_lock(name, platform),
    }
    texts = {part: _read(root, file, name) for part, file in files.items()}
    conda = conda_lock.parse(texts["conda"], files["conda"])
    pypi = pypi_lock.parse(texts["pypi"], files["pypi"])
    apt = apt_lock.parse(texts["apt"], files["apt"])
    inputs = []
    for ancestor in lineage(images, name):
        ancestor_folder = f"environments/{ancestor.environment}"
        inputs += [
            *(
                of_bytes(_read(root, file, name).encode())
                for file in (
                    f"{ancestor_folder}/{file_names.of(CONDA_LOCK[channel], platform)}",
                    f"{ancestor_folder}/{file_names.of(file_names.PYLOCK, platform)}",
                    file_names.image_lock(ancestor.name, platform),
                )
            ),
            _recipe(_read(root, f"images/{ancestor.name}/image.toml", name)),
            files_digest(root / "images" / ancestor.name / "files"),
        ]
    return Locks(
        image=image,
        conda=conda,
        pypi=pypi,
        apt=apt,
        digest="sha256:" + key_of([LINKER_VERSION, inputs]),
        epoch=max(conda.timestamp, pypi.timestamp, apt.timestamp),
        files=files,
    )


def packages(locks: Locks, environment: EnvironmentSpec) -> tuple[Package, ...]:
    """Return every locked package as the planner sees it, with the paths that another package wins."""
    losers: dict[str, list[str]] = {}
    names = {package.name for package in locks.conda.packages} | {wheel.name for wheel in locks.pypi.wheels}
    for path, text in environment.clobber.items():
        # "winner over loser, loser": both sides are named, so that nothing is dropped by surprise. `files` are the
        # image's own.
        winner, _, rest = text.partition(" over ")
        for name in (winner, *rest.split(", ")):
            if name not in names and not name == winner == "files":
                raise HelioError(
                    Stage.SPEC,
                    f"`{name}` is not a locked package",
                    where=f"environments/{environment.name}/environment.yml at x-helioimages.clobber.{path}",
                    detail=f"expected `winner over loser`, not {text!r}",
                )
        for loser in rest.split(", "):
            losers.setdefault(loser, []).append(path)
    parts: tuple[tuple[str, tuple[conda_lock.CondaPackage | pypi_lock.Wheel, ...]], ...] = (
        ("conda", locks.conda.packages),
        ("wheel", locks.pypi.wheels),
    )
    found = [
        Package(
            kind=kind,
            name=record.name,
            version=record.version,
            file_name=record.file_name,
            sha256=record.sha256,
            # A conda channel need not tell sizes. The plan is made of the locks alone, so that whoever has the locks
            # has the layers, fetched or not: such a package counts as the smallest.
            size=record.size or 0,
            dropped=tuple(losers.get(record.name, ())),
        )
        for kind, records in parts
        for record in records
    ]
    return tuple(found)


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

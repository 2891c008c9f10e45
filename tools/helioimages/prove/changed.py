"""Which images a change concerns: the paths that differ from a git revision, matched with what each image is made of.

The rooms of the tool say which of its code makes an image's bytes, which runs notebooks, and which only serves hubs or
people.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..locks import file_names
from ..locks.checkout import Checkout
from ..locks.file_names import CONDA_LOCK
from ..spec.image import ImageSpec

#: The rooms whose code decides an image's bytes, or those of a package that is built here.
BYTES = ("core", "conda", "pypi", "debian", "oci", "spec", "machine", "cache", "locks", "make")
#: The rooms that decide how its notebooks are run.
TESTS = ("engines", "smoke")
#: Sections of image.toml that neither an image nor its test depends on.
_FOR_HUBS = ("hub",)
_PACKAGE = "tools/helioimages/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One changed file and what it is to the image.

    Attributes:
        path: relative to the checkout.
        what: for people, e.g. ``locked packages``; an ancestor's file says whose.
    """

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} ({self.what})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """An image whose inputs changed, and each file that is a reason, by path."""

    image: str
    reasons: tuple[Reason, ...]

    def lines(self) -> tuple[str, ...]:
        """Return what people read: a line a reason."""
        return tuple(f"{self.image}: {reason}" for reason in self.reasons)


def paths(root: Path, since: str) -> tuple[str, ...]:
    """Return the files that differ between a revision and the work tree, untracked ones included, sorted.

    Args:
        root: the checkout, or a folder of one; paths are relative to it.
        since: a revision, as git names them.

    Raises:
        HelioError: no git, no repository, or no such revision.
    """
    commit = resolve(root, since)
    different = _git(root, "diff", "--name-only", "--no-renames", "--relative", "-z", commit, "--")
    untracked = _git(root, "ls-files", "--others", "--exclude-standard", "-z")
    return tuple(sorted({path for path in (different + untracked).split("\0") if path}))


def resolve(root: Path, since: str) -> str:
    """Return a revision's commit.

    Raises:
        HelioError: as in `paths`.
    """
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", since + "^{commit}").strip()
    except HelioError as error:
        if error.detail:
            raise
        raise HelioError(
            Stage.USAGE,
            f"git knows no commit `{since}`",
            hint="a shallow clone lacks it: git fetch --unshallow",
        ) from error


def at(root: Path, commit: str) -> Callable[[str], str | None]:
    """Return a reader of files as a commit has them; None for one that it lacks or that is not text."""

    def read(path: str) -> str | None:
        try:
            return _git(root, "show", f"{commit}:./{path}")
        except (HelioError, UnicodeDecodeError):
            return None

    return read


def changed(
    checkout: Checkout, names: Sequence[str], different: Iterable[str], before: Callable[[str], str | None]
) -> tuple[ImageChange, ...]:
    """Return the images that have a reason, in the order of ``names``.

    Args:
        names: the images asked for.
        different: changed files, relative to the checkout.
        before: gives a file's earlier text.
    """
    concerned = []
    relevant = sorted(path for path in different if not _only_for_hubs(checkout.root, path, before))
    for name in names:
        line = checkout.lineage(name)
        reasons = []
        for path in relevant:
            what = _shared(path, checkout.channel, checkout.platform)
            for image in line:
                own = what or _own(path, image, checkout.channel, checkout.platform)
                if own:
                    whose = "" if what or image.name == name else f", of its ancestor `{image.name}`"
                    reasons.append(Reason(path=path, what=own + whose))
                    break
        if reasons:
            concerned.append(ImageChange(image=name, reasons=tuple(reasons)))
    return tuple(concerned)


def _shared(path: str, channel: str, platform: Platform) -> str | None:
    """Say what a file is that every image has in common."""
    room = path.removeprefix(_PACKAGE).partition("/")[0] if path.startswith(_PACKAGE) else ""
    if path == "images/Dockerfile.j2":
        return "the recipe's template"
    if path == "tools/requirements.lock":
        return "libraries that make bytes"
    if room in BYTES:
        return "makes bytes"
    if room in TESTS:
        return "runs notebooks"
    if re.fullmatch(r"channel/apt-lock(\..+)?\.json", path) and path != file_names.builder_lock(platform):
        return None
    if path.startswith("channel/") and not path.endswith(".md") and channel == "local":
        return "the local channel"
    return None


def _own(path: str, image: ImageSpec, channel: str, platform: Platform) -> str | None:
    """Say what a file is to the image that it belongs to."""
    environment, folder = f"environments/{image.environment}/", f"images/{image.name}/"
    known = {
        environment + "environment.yml": "its environment",
        environment + file_names.of(CONDA_LOCK[channel], platform): "locked packages",
        environment + file_names.of(file_names.PYLOCK, platform): "locked packages",
        environment + file_names.of(file_names.BUILD_LOCK, platform): "locked packages",
        environment + "imports.toml": "its smoke test",
        folder + "image.toml": "its image.toml",
        folder + file_names.of(file_names.APT_LOCK, platform): "locked packages",
        folder + "Dockerfile": "its recipe",
    }
    if path in known:
        return known[path]
    if path.startswith(folder + "files/"):
        return "its files"
    if path.startswith(f"smoke-notebooks/{image.name}/"):
        return "its smoke test"
    return None


def _only_for_hubs(root: Path, path: str, before: Callable[[str], str | None]) -> bool:
    """Say whether an image.toml differs in nothing but how hubs offer the image, or in nothing that TOML sees."""
    if not (path.startswith("images/") and path.endswith("/image.toml") and (root / path).is_file()):
        return False
    old = before(path)
    if old is None:
        return False
    try:
        sides = [tomllib.loads(text) for text in (old, (root / path).read_text("utf-8"))]
    except (ValueError, RecursionError):
        return False
    left, right = ({key: side[key] for key in side if key not in _FOR_HUBS} for side in sides)
    return left == right


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise HelioError(Stage.HOST, "`git` is missing", detail=str(error), hint="run `apt-get install git`") from error
    if done.returncode:
        raise HelioError(
            Stage.USAGE,
            f"`git {arguments[0]}` fails",
            where=str(root),
            detail=done.stderr.decode("utf-8", "replace").strip(),
        )
    return done.stdout.decode("utf-8", "surrogateescape")

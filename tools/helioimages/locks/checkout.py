"""One checkout: its images and environments, which of them a verb means, and their locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.near import meant
from ..core.platform import FIRST, Platform
from ..core.progress import say
from ..machine.checkout import load_environments, load_images
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec
from ..spec.lineage import lineage
from .read import Locks, load


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """What people wrote, and for which platform and conda channel it is made.

    Attributes:
        root: the folder that has ``images/`` and ``environments/``.
        platform: what it is for.
        channel: ``local`` or ``conda-forge``: which of the conda locks is built.
        images, environments: by name, parents before children.
        frozen: locks that are stale are built as they are.
    """

    root: Path
    platform: Platform
    channel: str
    images: Mapping[str, ImageSpec]
    environments: Mapping[str, EnvironmentSpec]
    frozen: bool = False

    @classmethod
    def of(cls, root: Path, *, platform: Platform = FIRST, channel: str = "local", frozen: bool = False) -> Checkout:
        """Read a checkout.

        Raises:
            HelioError: a file is wrong.
        """
        return cls(
            root=root,
            platform=platform,
            channel=channel,
            images=load_images(root),
            environments=load_environments(root),
            frozen=frozen,
        )

    def selected(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the images asked for, all if none, parents before children.

        Raises:
            HelioError: there is no such image, or no image at all.
        """
        if not self.images:
            raise HelioError(
                Stage.USAGE,
                f"`{self.root}` is not a checkout",
                detail="expected images/*/image.toml, found none",
                hint="name a checkout with --root",
            )
        for name in names:
            if name not in self.images:
                raise HelioError(
                    Stage.USAGE,
                    f"there is no image `{name}`",
                    detail=f"expected one of: {', '.join(self.images)}",
                    hint=meant(name, self.images),
                )
        return tuple(name for name in self.images if not names or name in names)

    def chosen(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the images that a verb shall make: those named, else all but the heavy ones, which it says.

        Raises:
            HelioError: there is no such image, or no image at all.
        """
        light = tuple(name for name, image in self.images.items() if not image.heavy)
        if names or not light:
            return self.selected(names)
        if heavy := [name for name in self.images if name not in light]:
            say(f"==> left out, as heavy: {', '.join(heavy)} (name an image to have it)")
        return light

    def lineage(self, name: str) -> tuple[ImageSpec, ...]:
        """Return an image and its ancestors, the oldest first."""
        return lineage(self.images, name)

    def with_ancestors(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return images and all their ancestors, parents before children, each once."""
        wanted = {ancestor.name for name in names for ancestor in self.lineage(name)}
        return tuple(name for name in self.images if name in wanted)

    def locks(self, name: str) -> Locks:
        """Read the locks of one image.

        Raises:
            HelioError: a lock is missing or malformed.
        """
        return load(self.root, self.images, name, channel=self.channel, platform=self.platform)

    def locks_of(self, names: Sequence[str]) -> dict[str, Locks]:
        """Read the locks of images and of their ancestors, parents before children.

        Raises:
            HelioError: a lock is missing, malformed, or for another platform.
        """
        locks = {name: self.locks(name) for name in self.with_ancestors(names)}
        for name, lock in locks.items():
            if lock.pypi.platform != self.platform:
                raise HelioError(
                    Stage.LOCK,
                    f"the locks of `{name}` are for another platform",
                    where=f"{lock.files['pypi']} at tool.helioimages.platform",
                    detail=f"expected {self.platform}, not {lock.pypi.platform}",
                    hint=f"run `buildimages lock {name} --platform {self.platform}`",
                )
        return locks

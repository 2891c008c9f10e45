"""What lock files are called: those of several platforms lie beside each other in one checkout.

The first platform's have the plain names; those of another one carry it before their ending, e.g.
``pylock.linux-arm64.toml``. Each platform has files of its own, also of the formats that could hold several: an image's
digest depends on its lock files' text, and locking one platform may not move the other's images.
"""

from __future__ import annotations

from ..conda import ecosystem as conda
from ..core.platform import FIRST, Platform
from ..debian import ecosystem as debian
from ..pypi import ecosystem as pypi

#: The file that holds the conda part, by channel.
CONDA_LOCK = conda.LOCK_FILES
PYLOCK = pypi.LOCK_FILE
APT_LOCK = debian.LOCK_FILE
#: The locked tools that builds from source use.
BUILD_LOCK = "build-lock.toml"
#: The packages for people.
TABLE = "packages.txt"


def of(name: str, platform: Platform) -> str:
    """Return a lock file's name for a platform.

    >>> of("pylock.toml", Platform.of("linux/arm64/v8")), of(PYLOCK, FIRST)
    ('pylock.linux-arm64.toml', 'pylock.toml')

    Raises:
        HelioError: images cannot be made for the platform.
    """
    # linux/arm64/v8 is what linux/arm64 means.
    word = f"{platform.os}-{platform.debian}"
    if word == f"{FIRST.os}-{FIRST.debian}":
        return name
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{word}.{ending}"


def builder_lock(platform: Platform) -> str:
    """Return the builder's Debian lock, relative to the checkout."""
    return f"channel/{of(APT_LOCK, platform)}"


def image_lock(image: str, platform: Platform) -> str:
    """Return an image's Debian lock, relative to the checkout."""
    return f"images/{image}/{of(APT_LOCK, platform)}"

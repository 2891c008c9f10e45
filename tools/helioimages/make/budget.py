"""What an image may weigh: its stated budget, and what registries take of one layer."""

from __future__ import annotations

from collections.abc import Sequence

from ..conda.lock import CondaPackage
from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..core.words import human_size
from ..debian.lock import Deb
from ..locks.read import Locks
from ..oci.image import Image
from ..pypi.lock import Wheel
from .plan import ImagePlan

#: Bytes of one layer that the strictest of the large registries still takes (GHCR; ECR takes five times as much).
LAYER_LIMIT = 10 << 30


def check(plan: ImagePlan, made: Image) -> None:
    """Refuse an image that grew over its stated size; warn of a layer that some registries refuse.

    Raises:
        HelioError: names the image's ten largest packages, its ancestors' among them, by the size of their files.
    """
    image = plan.spec
    for layer in made.layers:
        if layer.size > LAYER_LIMIT:
            say(
                f"warning: {image.name}: layer {layer.digest} has {human_size(layer.size)}, some registries take"
                f" {human_size(LAYER_LIMIT)} at most"
            )
    if not image.budget_bytes or made.size <= image.budget_bytes:
        return
    # The key's own unit, rounded up: what one would write there.
    written, needed = image.budget_bytes >> 20, -(-made.size >> 20)
    allowed = f"expected at most {human_size(image.budget_bytes)} ({written} MiB)"
    rows = [f"{allowed} not {human_size(made.size)} ({needed} MiB); the largest:"]
    rows += [f"{human_size(of_file):>9}  {name}" for of_file, name in largest(plan.locks)]
    raise HelioError(
        Stage.BUILD,
        f"image `{image.name}` is over its budget",
        where=f"images/{image.name}/image.toml at budget.compressed-mib",
        detail="\n".join(rows),
        hint="leave packages out, or raise the budget on purpose",
    )


def largest(lock: Locks, count: int = 10) -> Sequence[tuple[int, str]]:
    """Return size in bytes and ``name version (kind)`` of the packages with the largest files, the largest first.

    One whose size the lock does not tell counts as nothing.
    """
    kinds: dict[str, tuple[CondaPackage | Wheel | Deb, ...]] = {
        "conda": lock.conda.packages,
        "PyPI": lock.pypi.wheels,
        "Debian": lock.apt.packages,
    }
    rows = [
        (package.size or 0, f"{package.name} {package.version} ({kind})")
        for kind, part in kinds.items()
        for package in part
    ]
    return sorted(rows, key=lambda row: (-row[0], row[1]))[:count]

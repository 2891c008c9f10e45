"""An image's labels: OCI's own names, then ours. Pure. Spec: image-spec annotations.md."""

from __future__ import annotations

from ..conda.lock import CondaPackage
from ..locks import cuda
from ..locks.read import Locks
from ..oci.image import rfc3339
from ..pypi.lock import Wheel
from ..spec.environment import EnvironmentSpec
from ..spec.image import ImageSpec

#: Names the parent's manifest, so only a build knows it; a plan does not.
BASE_DIGEST = "org.opencontainers.image.base.digest"


def labels(image: ImageSpec, lock: Locks, environment: EnvironmentSpec) -> dict[str, str]:
    """Return what an image says of itself beyond its parent's labels, but for `BASE_DIGEST`.

    Raises:
        HelioError: the locked packages are for two CUDA majors.
    """
    created = rfc3339(lock.epoch)
    table = {
        "org.opencontainers.image.title": image.title,
        "org.opencontainers.image.description": image.description,
        "org.opencontainers.image.licenses": image.licenses,
        # The content's own revision, not the commit: equal locks give equal images from any commit. The commit is in
        # the provenance.
        "org.opencontainers.image.revision": lock.digest,
        "org.opencontainers.image.version": created[:10].replace("-", "."),
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.base.name": image.parent or "scratch",
        "io.helioimages.lock": lock.digest,
        "io.helioimages.channel": lock.conda.channel,
        "io.helioimages.python": lock.python.version,
    }
    for name in ("jupyterhub", "jupyterlab", "dask"):
        if version := lock.version_of(name):
            table[f"io.helioimages.{name}"] = version
    python: tuple[CondaPackage | Wheel, ...] = (*lock.conda.packages, *lock.pypi.wheels)
    brought = cuda.find(
        ((package.name, package.version) for package in python),
        declared=environment.virtual_packages.get("__cuda"),
        where=f"environments/{environment.name}/environment.yml",
    )
    if brought:
        table |= brought.labels()
    if lock.apt.healed:
        table["io.helioimages.debian.healed"] = "; ".join(lock.apt.healed)
    return table | dict(image.labels)

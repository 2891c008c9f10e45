"""An image that is published already: nothing of it is fetched, made, run or sent, but tags that are missing.

It is put together from what the cache beside it says (`make.travel.recall_images`), and believed where four things
agree with it: the diff_ids of the committed Dockerfiles, its ancestors' too; the registry, which has the image under
this digest and each of its layers with its size; the documents that hang on it; and the report of a run of these very
notebooks in it. Else it is built, as if there were nothing. Who signs vouches for what was made and run, so it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core import threads
from ..core.errors import HelioError
from ..core.progress import say
from ..locks.checkout import Checkout
from ..make import images, inputs, travel
from ..make.building import Built
from ..make.machine import Machine
from ..oci.registry import Registry
from ..smoke import run
from . import documents, passed, provenance, sbom

#: Requests at once: they wait for the registry, not for a processor.
_JOBS = 16
#: What hangs on an image that was published, besides its report.
_DOCUMENTS = {documents.PACKAGES, sbom.CYCLONEDX, sbom.SPDX, provenance.IN_TOTO}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An image that is published: its plan and layers, without their bytes, and the address of its report."""

    built: Built
    report: str


def look(checkout: Checkout, machine: Machine, client: Registry, names: Sequence[str], prefix: str) -> dict[str, Known]:
    """Return those of some images that are published already, by name.

    Raises:
        HelioError: a lock is missing or stale, or the registry does not answer.
    """
    plans = inputs.plans(checkout, checkout.locks_of(checkout.selected(names)))
    recalled = travel.recall_images(machine.caches, plans)
    known = {}
    for name in names:
        if name not in recalled:
            continue
        fault = _fault(checkout, client, recalled[name], prefix + name)
        report = None
        if not fault:
            digest = recalled[name].image.digest
            report = passed.look(client, prefix + name, digest, run.key(digest, checkout.lineage(name), checkout.root))
            fault = "" if report else "no report says that these notebooks passed in it"
        if report is None:
            say(f"    {name} is known to the cache, and made nevertheless: {fault}")
            continue
        known[name] = Known(built=recalled[name], report=f"{client.host}/{prefix}{name}@{report.digest}")
    return known


def _fault(checkout: Checkout, client: Registry, built: Built, repository: str) -> str:
    """Say why an image that a cache knows is not taken as it is; empty if it may be."""
    try:
        images.render(checkout.root, {image.spec.name: image for image in built.line}, check=True)
    except HelioError as error:
        return error.message
    digest = built.image.digest
    if client.head_manifest(repository, digest) is None:
        return f"{repository} does not have it"

    def size(blob: str) -> int | None:
        return client.blob_size(repository, blob)

    blobs = {blob.digest: blob.size for blob in (*built.image.layers, built.image.manifest.config)}
    with threads.pool(_JOBS) as pool:
        sizes = dict(zip(blobs, pool.map(size, blobs), strict=True))
    if lost := [blob for blob, said in blobs.items() if sizes[blob] != said]:
        return f"{repository} does not have {len(lost)} of its layers, or with another size"
    if _DOCUMENTS - {referrer.artifact_type for referrer in client.referrers(repository, digest)}:
        return "not all documents hang on it"
    return ""

"""An image that is published already: nothing of it is fetched, made, run or sent, but tags that are missing.

It is put together from what the cache beside it says (`make.travel.recall_images`), and believed where four things
agree with it: the diff_ids of the committed Dockerfiles, its ancestors' too; the registry, which has the image under
this digest and each of its layers with its size; the documents that hang on it; and the report of a run of these very
notebooks in it. Whoever signs has vouched for it already if the same key signed all of this: what the cache says, the
image, its documents and the report. Else it is built, as if there were nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishPlace:
    """Where images are published: a registry and what is before their names; and the private key that signs them."""

    client: Registry
    prefix: str
    key: Path | None = None


def look(checkout: Checkout, machine: Machine, place: PublishPlace, names: Sequence[str]) -> dict[str, Known]:
    """Return those of some images that are published already, by name.

    Args:
        machine: its caches believe, where there is a key, only what one has signed.

    Raises:
        HelioError: a lock is missing or stale, or the registry does not answer.
    """
    client, prefix = place.client, place.prefix
    plans = inputs.plans(checkout, checkout.locks_of(checkout.selected(names)))
    recalled = travel.recall_images(machine.caches, plans)
    known = {}
    for name in names:
        if name not in recalled:
            continue
        fault = _fault(checkout, client, recalled[name], prefix + name)
        report = None
        if not fault:
            report, fault = _report(checkout, place, name, recalled[name].image.digest)
        if report is None:
            say(f"    {name} is known to the cache, and made nevertheless: {fault}")
            continue
        known[name] = Known(built=recalled[name], report=f"{client.host}/{prefix}{name}@{report.digest}")
    return known


def _report(checkout: Checkout, place: PublishPlace, name: str, digest: str) -> tuple[passed.Passed | None, str]:
    """Return the report of an image's notebooks, or why it does not count: it, or what it hangs on."""
    client, repository = place.client, place.prefix + name
    run_key = run.key(digest, checkout.lineage(name), checkout.root)
    if place.key is None:
        report, fault = passed.look(client, repository, digest, run_key), ""
    else:
        # Only those who sign need the libraries of cryptography.
        from . import signed, signing

        public = signing.load_private(place.key).public_key()
        report = passed.look(client, repository, digest, run_key, partial(signing.good, public))
        fault = signed.fault(client, repository, digest, report.digest, public) if report else ""
    if report is None:
        return None, "no report says that these notebooks passed in it"
    return (None, fault) if fault else (report, "")


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

"""A work in a registry: one artifact that refers to its image, and one that tells its DOI and refers to that.

Referrers change no byte of what they refer to: the image's digest is the paper's, and the work's stays when it gets a
DOI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.digest import of_bytes
from ..core.errors import HelioError, Stage
from ..machine.store import Store
from ..oci.image import artifact
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from ..publish.referrers import CREATED, TITLE, read_blob
from . import work
from .work import Work

WORK = "application/vnd.helioimages.work.v1"
#: What tells the DOI that a work got.
DOI = "application/vnd.helioimages.work.doi.v1"
#: Of the artifact: `Work.id`.
ID = "io.helioimages.work.id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where works hang: a repository, read and written through a store."""

    client: Registry
    repository: str
    store: Store


def attach(shelf: Shelf, image: Descriptor, made: Work, contents: Mapping[str, bytes]) -> str:
    """Hang a work's whole crate on its image, unless it is there, and return the artifact's digest.

    Args:
        contents: path -> bytes, of all files of the crate.

    Raises:
        HelioError: the registry refuses.
    """
    return _push(shelf, WORK, image, made, contents)


def attach_doi(shelf: Shelf, made: Work, contents: Mapping[str, bytes]) -> str:
    """Hang the documents with a work's DOI on the work, and return the artifact's digest; empty if it is not there.

    Raises:
        HelioError: the registry refuses.
    """
    done = ""
    for referrer in sorted(shelf.client.referrers(shelf.repository, made.image.digest), key=lambda row: row.digest):
        if referrer.artifact_type != WORK:
            continue
        # Registries without the referrers API go on listing what was deleted.
        there = shelf.client.get_manifest(shelf.repository, referrer.digest)
        if there and Manifest.parse(there[1], referrer.digest).annotations.get(ID) == made.id:
            subject = Descriptor(media_type=referrer.media_type, digest=referrer.digest, size=referrer.size)
            done = _push(shelf, DOI, subject, made, contents)
    return done


def read(shelf: Shelf, digest: str) -> Work:
    """Return the work of an artifact; one that got a DOI since, with it.

    Args:
        digest: of the artifact, of type `WORK`.

    Raises:
        HelioError: it is malformed, or the registry refuses.
    """
    made = _read(shelf, digest)
    told = [
        (work.doi, referrer.digest)
        for referrer in shelf.client.referrers(shelf.repository, digest)
        if referrer.artifact_type == DOI
        and shelf.client.head_manifest(shelf.repository, referrer.digest)
        and (work := _read(shelf, referrer.digest)).id == made.id
        and work.doi
    ]
    # Nothing says which of several is the later one.
    return replace(made, doi=min(told)[0]) if told else made


def files(shelf: Shelf, digest: str) -> dict[str, Descriptor]:
    """Return the files of a work's artifact by their path in the crate."""
    return {layer.annotations.get(TITLE, ""): layer for layer in _manifest(shelf, digest).layers}


def fetch(shelf: Shelf, digest: str, target: Path) -> None:
    """Write the crate of a work's artifact into a folder.

    Raises:
        HelioError: it is no work's artifact, a file leads out of the folder, or the registry refuses.
    """
    where = f"{shelf.client.host}/{shelf.repository}@{digest}"
    if _manifest(shelf, digest).artifact_type != WORK:
        raise HelioError(
            Stage.USAGE,
            f"`{where}` is not a published work",
            detail=f"expected an artifact of type {WORK}",
            hint="`buildimages publish-work` and the catalogue tell the digest of a work",
        )
    for path, blob in files(shelf, digest).items():
        if not work.PATH.fits(path):
            raise HelioError(
                Stage.CHECK,
                "a work leads out of itself",
                where=where,
                detail=f"expected {work.PATH.meaning} not {path}",
            )
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        with open(target / path, "wb") as stream:
            shelf.client.pull_blob(shelf.repository, blob, stream)


def _push(shelf: Shelf, kind: str, subject: Descriptor, made: Work, contents: Mapping[str, bytes]) -> str:
    client, repository, store = shelf.client, shelf.repository, shelf.store
    layers = [
        Descriptor(
            media_type=work.media_type(path),
            digest=store.put_blob(data),
            size=len(data),
            annotations={TITLE: path},
        )
        for path, data in sorted(contents.items())
    ]
    said = {ID: made.id, CREATED: made.when}
    manifest = replace(artifact(subject, kind, layers[0], said), layers=tuple(layers))
    digest = of_bytes(manifest.dump())
    if any(referrer.digest == digest for referrer in client.referrers(repository, subject.digest)):
        return digest
    store.put_blob(b"{}")
    for blob in (*{layer.digest: layer for layer in layers}.values(), manifest.config):
        client.push_blob(repository, blob, store.blob(blob.digest))
    return client.attach(repository, manifest)


def _manifest(shelf: Shelf, digest: str) -> Manifest:
    answer = shelf.client.get_manifest(shelf.repository, digest)
    if answer is None:
        raise HelioError(
            Stage.PUBLISH,
            f"the registry lists {digest} but does not have it",
            where=f"{shelf.client.host}/{shelf.repository}",
        )
    return Manifest.parse(answer[1], f"{shelf.repository}@{digest}")


def _read(shelf: Shelf, digest: str) -> Work:
    for layer in _manifest(shelf, digest).layers:
        if layer.annotations.get(TITLE) == work.NAME:
            data = read_blob(shelf.client, shelf.repository, layer, shelf.store)
            return work.parse(data, f"{shelf.repository}@{digest} at {work.NAME}")
    raise HelioError(
        Stage.CHECK,
        f"an artifact of a work has no {work.NAME}",
        where=f"{shelf.client.host}/{shelf.repository}@{digest}",
    )

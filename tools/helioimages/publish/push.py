"""Publish: push by digest, test, then tag.

`push_untagged` brings what the registry lacks and names nothing; the smoke test runs that digest; `promote` gives it
its tags. A registry that already has the image costs one request.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path

from ..core import threads
from ..core.errors import HelioError, Stage
from ..core.progress import bar
from ..core.words import count
from ..machine.store import Store, has
from ..oci.image import Image
from ..oci.reference import is_host, is_repository
from ..oci.registry import Registry
from ..oci.types import Descriptor
from ..spec import tags as tagging


@dataclass(frozen=True, slots=True, kw_only=True)
class PushReport:
    """What a push did.

    Attributes:
        reference: ``host/repository@sha256:…``, what an engine pulls.
        bytes_sent: of blobs; the manifest's few kilobytes are not counted.
        blobs_sent, blobs_mounted, blobs_present: numbers of layers and configs, by how the registry came to them.
    """

    reference: str
    digest: str
    bytes_sent: int
    blobs_sent: int
    blobs_mounted: int
    blobs_present: int
    seconds: float


class Lost(HelioError):
    """A layer that was to stay in the registry is not to be had there any more; its bytes are needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """What `promote` did: tags that were set, and tags that were right already."""

    digest: str
    moved: tuple[str, ...]
    unchanged: tuple[str, ...]


def push_untagged(
    client: Registry,
    image: Image,
    repository: str,
    store: Store,
    *,
    jobs: int = 4,
    mount_from: Sequence[str] = (),
) -> PushReport:
    """Push an image under its digest only.

    Args:
        store: has the layers' blobs, but for those that are lent.
        jobs: blobs sent at a time.
        mount_from: repositories of the same registry that have some of the layers, likeliest first: the parent image's.

    Raises:
        Lost: the registry lacks a layer that is lent.
        HelioError: a blob is missing or damaged in the store, or the registry refuses.
    """
    start = time.monotonic()
    client.expect_push(repository)
    elsewhere = {lent.layer.digest: lent.layer.size for lent in store.lent.values()}
    lent = {digest for digest, size in elsewhere.items() if not has(store.blob(digest), size)}
    reference = f"{client.host}/{repository}@{image.digest}"
    blobs = {blob.digest: blob for blob in (*image.layers, image.manifest.config)}
    present, outcome = len(blobs), {"sent": 0, "mounted": 0, "present": 0}
    bytes_sent = 0
    if client.head_manifest(repository, image.digest) is None:
        with threads.pool(jobs) as pool:
            known = dict(zip(blobs, pool.map(lambda digest: client.has_blob(repository, digest), blobs), strict=True))
        # The largest first: no worker is left with it alone at the end.
        missing = sorted(
            (blobs[digest] for digest in blobs if not known[digest]), key=lambda blob: (-blob.size, blob.digest)
        )
        present -= len(missing)
        _check_store([blob for blob in missing if blob.digest not in lent], image, store)

        def push(blob: Descriptor, advance: Callable[[int], None]) -> tuple[Descriptor, str]:
            if blob.digest in lent:
                if not client.mount_blob(repository, blob.digest, mount_from):
                    raise _lost(reference, f"expected {blob.digest} in one of {', '.join(mount_from) or 'none'}")
                return blob, "mounted"
            done = client.push_blob(
                repository,
                blob,
                store.blob(blob.digest),
                mount_from=mount_from,
                advance=advance,
                missing=True,
            )
            if done != "sent":
                advance(blob.size)
            return blob, done

        def push_all(advance: Callable[[int], None]) -> None:
            nonlocal bytes_sent
            with threads.pool(jobs) as pool:
                running = [pool.submit(push, blob, advance) for blob in missing]
                try:
                    for future in as_completed(running):
                        blob, done = future.result()
                        outcome[done] += 1
                        bytes_sent += blob.size if done == "sent" else 0
                finally:
                    for future in running:
                        future.cancel()

        if missing:
            with bar(f"push {repository}", sum(blob.size for blob in missing), unit="bytes") as advance:
                push_all(advance)
        try:
            client.put_manifest(repository, image.digest, image.manifest_bytes, image.manifest.media_type)
        except HelioError as error:
            # It may have lost one since it was asked; with the bytes at hand the next try tells.
            if lent:
                raise _lost(reference, error.message) from error
            raise
    return PushReport(
        reference=reference,
        digest=image.digest,
        bytes_sent=bytes_sent,
        blobs_sent=outcome["sent"],
        blobs_mounted=outcome["mounted"],
        blobs_present=present + outcome["present"],
        seconds=round(time.monotonic() - start, 3),
    )


def _lost(reference: str, detail: str) -> Lost:
    return Lost(Stage.PUBLISH, "the registry lost a layer that it had", where=reference, detail=detail)


def existing_tags(client: Registry, repository: str, *, jobs: int = 8) -> dict[str, str]:
    """Return the digest of every tag of a repository, without those that only list referrers (``sha256-…``)."""
    names = tuple(tag for tag in client.tags(repository) if not tag.startswith("sha256-"))
    with threads.pool(jobs) as pool:
        descriptors = tuple(pool.map(lambda tag: client.head_manifest(repository, tag), names))
    return {
        tag: descriptor.digest for tag, descriptor in zip(names, descriptors, strict=True) if descriptor is not None
    }


def promote(client: Registry, repository: str, digest: str, tags: Sequence[str]) -> Promotion:
    """Give tags to an image that is in the repository, in the order given. Call it after the smoke test passed.

    Every tag is checked before any is set, so a refusal changes nothing.

    Raises:
        HelioError: the image is not there, or an immutable tag names another image.
    """
    where = f"{client.host}/{repository}"
    client.expect_push(repository)
    answer = client.get_manifest(repository, digest)
    if answer is None:
        raise HelioError(
            Stage.PUBLISH, f"`{where}` has no image {digest}", hint="push it before it gets tags: `buildimages publish`"
        )
    descriptor, data = answer
    old = {tag: client.head_manifest(repository, tag) for tag in tags}
    for tag, now in old.items():
        tagging.check_move(tag, old=now.digest if now else None, new=digest, repository=where)
    unchanged = tuple(tag for tag, now in old.items() if now is not None and now.digest == digest)
    moved = tuple(tag for tag in old if tag not in unchanged)
    for tag in moved:
        client.put_manifest(repository, tag, data, descriptor.media_type)
    return Promotion(digest=digest, moved=moved, unchanged=unchanged)


def check_place(host: str | None, repositories: Sequence[str] = ()) -> None:
    """Refuse what can be no registry and no repository, before any work is done for it.

    Args:
        host: None is the embedded registry.

    Raises:
        HelioError: says what was expected.
    """
    if host is not None and not is_host(host):
        raise HelioError(
            Stage.USAGE,
            f"`{host}` is not a registry",
            where="--registry",
            detail="expected host[:port], e.g. ghcr.io",
            hint="what follows the host goes before the images' names: --prefix heliocloud/",
        )
    for repository in repositories:
        if not is_repository(repository):
            raise HelioError(
                Stage.USAGE,
                f"`{repository}` cannot be a repository",
                where="--prefix",
                detail="expected lower-case letters and digits, with single . _ - or / between them",
                hint="a prefix ends in /, e.g. --prefix heliocloud/",
            )


def words_of(command: str) -> list[str]:
    """Return the words of a command as a shell takes it apart.

    Raises:
        HelioError: a quote is open, or there is no word.
    """
    try:
        words, fault = shlex.split(command), "it is empty"
    except ValueError as error:
        words, fault = [], str(error)
    if not words:
        raise HelioError(
            Stage.USAGE,
            f"`{command}` is not a command",
            where="--before-tag",
            detail=f"expected a program and its options: {fault}",
        )
    return words


def approve(command: str, reference: str, predicates: Path) -> None:
    """Run what must succeed before tags name an image, e.g. ``cosign sign --yes``; the reference is its last argument.

    Args:
        predicates: the folder of what is to be said of the image, as `trust.write_predicates` left it; the command
            finds it in ``HELIOIMAGES_PREDICATES``.

    Raises:
        HelioError: there is no such program, or it failed; no tag was set then.
    """
    argv = [*words_of(command), reference]
    try:
        # Its words are for people: stdout belongs to our own result.
        environment = os.environ | {"HELIOIMAGES_PREDICATES": str(predicates)}
        code = subprocess.run(argv, stdout=sys.stderr, check=False, env=environment).returncode
        fault = f"exit status {code}" if code else ""
    except OSError as error:
        fault = error.strerror or str(error)
    if fault:
        raise HelioError(
            Stage.PUBLISH,
            f"`{reference}` gets no tag: `{argv[0]}` refuses it",
            where="--before-tag",
            detail=f"{shlex.join(argv)}: {fault}",
            hint="mend that and publish again: what was pushed and tested is kept",
        )


def _check_store(missing: Sequence[Descriptor], image: Image, store: Store) -> None:
    """Fail before the first byte is sent when a blob is not there or was cut; the registry verifies the rest."""
    store.put_blob(image.config_bytes)
    for blob in missing:
        path = store.blob(blob.digest)
        size = path.stat().st_size if path.exists() else None
        if size != blob.size:
            raise HelioError(
                Stage.PUBLISH,
                f"the store lacks a blob of the image: {blob.digest}",
                detail=f"expected {count(blob.size, 'byte')}, "
                + ("found no file" if size is None else f"not {size:,}"),
                hint="run `buildimages build`",
            )

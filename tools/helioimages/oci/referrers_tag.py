"""The list of what refers to a manifest, under the tag ``sha256-<hex>``, for registries without the referrers API.

Spec: OCI distribution-spec v1.1, "Unavailable Referrers API".
"""

from __future__ import annotations

from typing import Protocol

from ..core.errors import HelioError, Stage
from ..core.words import count
from .transport import Refusal
from .types import INDEX, Descriptor, ImageIndex


class Manifests(Protocol):
    """What keeps manifests, as `registry.Registry` does."""

    @property
    def host(self) -> str:
        """The registry."""

    def get_manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes] | None:
        """Return a manifest or index with its bytes; None if it is not there."""

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> bool:
        """Push a manifest's bytes under a tag or its digest."""


def tag_of(digest: str) -> str:
    """Return the tag under which the list for a manifest is.

    >>> tag_of("sha256:0a")
    'sha256-0a'
    """
    return digest.replace(":", "-")


def listed(registry: Manifests, repository: str, subject: str) -> tuple[Descriptor, ...]:
    """Return what the list of a manifest names, nothing when there is no list.

    Raises:
        HelioError: the registry refuses, or the list is malformed.
    """
    answer = registry.get_manifest(repository, tag_of(subject))
    return ImageIndex.parse(answer[1], f"{registry.host}/{repository} at referrers").manifests if answer else ()


def add(registry: Manifests, repository: str, subject: str, referrer: Descriptor, *, tries: int) -> None:
    """Put an artifact into the list under its subject's tag, and look whether it is there.

    Two publishers at once overwrite each other's list.

    Raises:
        HelioError: it is not there after all tries.
    """
    tag = tag_of(subject)
    for _ in range(tries):
        known = listed(registry, repository, subject)
        if referrer.digest in {other.digest for other in known}:
            return
        try:
            registry.put_manifest(repository, tag, ImageIndex(manifests=(*known, referrer)).dump(), INDEX)
        except Refusal as error:
            # The document itself was taken a moment ago, so it is not that we may not push.
            # Nor is it the tag when the registry has lost sight of what the list names.
            if not known or "BLOB_UNKNOWN" in error.detail:
                raise
            raise HelioError(
                Stage.PUBLISH,
                f"the registry `{registry.host}` does not let a tag move that lists documents",
                where=f"{registry.host}/{repository}:{tag}",
                detail=f"it has no referrers API, so each document is added to this list\n{error.detail}",
                hint="exclude `sha256-*` from the registry's immutable tags (ECR, Harbor and Artifact Registry "
                "have filters), or publish to a registry with OCI 1.1's referrers API",
            ) from error
    if referrer.digest not in {other.digest for other in listed(registry, repository, subject)}:
        raise HelioError(
            Stage.PUBLISH,
            f"the registry `{registry.host}` does not keep a document of an image",
            where=f"{registry.host}/{repository}:{tag}",
            detail=f"expected {referrer.digest} in the list of what refers to {subject} ({count(tries, 'try')})",
            hint="several publishers at once overwrite each other's lists; publish again when they are done",
        )

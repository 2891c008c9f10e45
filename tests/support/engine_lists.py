"""What an engine has, while other tests make and remove containers and images of their own.

`client.images.list()` asks for the images, then for each of them: one that another test has removed meanwhile is an
error. `client.containers.list()` is as bad without `ignore_removed`. So tests ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docker import DockerClient
from docker.models.containers import Container


def _images(client: DockerClient, name: str | None = None) -> Sequence[dict[str, Any]]:
    """Return what one answer of the engine says of each image that has a name, or of those of one repository."""
    return client.api.images(name=name)


def image_names(client: DockerClient) -> frozenset[str]:
    """Return the names of all images: by tag and by digest."""
    return frozenset(
        name for image in _images(client) for key in ("RepoTags", "RepoDigests") for name in image[key] or ()
    )


def image_ids(client: DockerClient, repository: str) -> frozenset[str]:
    """Return the ids of a repository's images."""
    return frozenset(image["Id"] for image in _images(client, repository))


def containers(client: DockerClient, **filters: str) -> list[Container]:
    """Return the containers that pass filters of the engine's API, those that ended too."""
    return client.containers.list(all=True, filters=filters, ignore_removed=True)

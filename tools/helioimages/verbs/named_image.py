"""A published image as people name it: HOST/NAME[:TAG], or NAME[:TAG] in the registry that an option says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..make.machine import Machine
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..publish import release


def reference_of(text: str, host: str, prefix: str) -> Reference:
    """Return what a word names.

    Args:
        host, prefix: of a word without a host.

    Raises:
        HelioError: it does not follow the grammar.

    >>> str(reference_of("helio:1", "ghcr.io", "org/")), str(reference_of("quay.io/a/b", "ghcr.io", "org/"))
    ('ghcr.io/org/helio:1', 'quay.io/a/b')
    """
    return Reference.parse(text if is_whole(text) else f"{host}/{prefix}{text}")


def check(text: str, prefix: str = "") -> None:
    """Refuse a word that names no image, before anything is fetched or installed.

    Raises:
        HelioError: it does not follow the grammar.
    """
    reference_of(text, "localhost", prefix)


@contextlib.contextmanager
def reached(
    machine: Machine, text: str, registry: str | None, prefix: str = ""
) -> Iterator[tuple[Registry, Reference]]:
    """Connect to the registry that an image is in, and yield both.

    Args:
        registry, prefix: of a word without a host; None is the embedded registry.

    Raises:
        HelioError: the word does not follow the grammar, or no registry answers.
    """
    with release.connect(machine.store, Reference.parse(text).host if is_whole(text) else registry) as client:
        yield client, reference_of(text, client.host, prefix)


def is_whole(text: str) -> bool:
    """Say whether a word names its registry."""
    return "/" in text.partition("@")[0]

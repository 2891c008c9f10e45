"""A machine that looks into caches, as the command line names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ..cache.access import Cache
from ..cache.entry import CachePlace, place, place_of
from ..machine.store import Store
from ..make.machine import Machine
from ..oci.registry import Registry
from ..publish.credentials import from_docker_config
from .command import Common


def machine(
    common: Common, caches: Sequence[str], key: Path | None, *, registry: str | None = None, prefix: str = ""
) -> Machine:
    """Return this computer, with the caches that the user names, and the one beside what is published to.

    Args:
        caches: each ``HOST/PREFIX``.
        key: a public key; None asks for no signatures.
        registry: that is published to; None is the embedded one, whose cache is the store.

    Raises:
        HelioError: one is not a cache's name, or the key cannot be read.
    """
    places = [place(text) for text in caches]
    if registry is not None:
        places.append(place_of(registry, prefix))
    plain = common.machine()
    if not places:
        return plain

    def cache(where: CachePlace) -> Cache:
        return Cache(client=Registry(where.host, credentials=from_docker_config()), place=where)

    made = dataclasses.replace(
        plain,
        store=Store(plain.store.root, travelled=True),
        caches=tuple(cache(where) for where in dict.fromkeys(places)),
    )
    if key is None:
        return made
    # Only those who check need the libraries of cryptography.
    from ..publish import signing

    public = signing.load_public(key)
    return made.believing(signing.name(public), partial(signing.good, public))

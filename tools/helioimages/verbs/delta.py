"""The verb `delta`: what a node must pull to go from one image to another."""

from __future__ import annotations

import functools

import click

from ..catalogue import delta as deltas
from ..catalogue import lookup
from ..core.errors import HelioError, Stage
from ..publish import release
from . import options
from .command import Common, verb
from .output import as_json


@verb
@click.option("--registry", help="Host of short names such as helio:2026.11.21; the embedded one by default.")
@options.prefix
def delta(common: Common, registry: str | None, prefix: str) -> None:
    """Say what a node that has image A must pull for image B, and which packages are the reason: A B.

    A and B are images of this checkout (built or only locked), tags or digests in a registry, digests of images built
    here, or folders of OCI layouts.
    """
    if len(common.names) != 2:
        raise HelioError(
            Stage.USAGE,
            "delta compares two images",
            detail=f"expected 2 names not {len(common.names)}",
            hint="delta A B",
        )
    checkout, machine = common.checkout(), common.machine()
    connect = functools.partial(release.connect, machine.store)
    old, new = (
        lookup.side(checkout, machine.store, connect, name, registry=registry, prefix=prefix) for name in common.names
    )
    pull = deltas.delta(old, new)
    print(as_json(pull) if common.as_data else "\n".join(pull.lines()))

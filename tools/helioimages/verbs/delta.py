"""The verb `delta`: what a node must pull to go from one image to another."""

from __future__ import annotations

import click

from ..catalogue import delta as deltas
from ..catalogue import lookup
from ..core.errors import HelioError, Stage
from . import options
from .command import Common, verb
from .workspace import as_json


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
    ws = common.workspace()
    old, new = (
        lookup.side(ws.checkout, ws.store, ws.registry, name, registry=registry, prefix=prefix) for name in common.names
    )
    found = deltas.delta(old, new)
    print(as_json(found) if common.as_data else "\n".join(found.lines()))

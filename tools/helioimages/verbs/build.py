"""The verb `build`: locks -> images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..make import images
from ..make.ready import ready
from . import caching, options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@click.option("--output", type=click.Path(path_type=Path), help="Also write an OCI layout into this folder.")
@options.cache
def build(common: Common, output: Path | None, caches: Sequence[str], cache_key: Path | None) -> None:
    """Build images from their locks."""
    checkout, machine = common.checkout(), caching.machine(common, caches, cache_key)
    chosen = checkout.chosen(common.names)
    ready(checkout, chosen)
    built = images.build(checkout, machine, chosen)
    if output:
        images.layout(machine.store, built, output)
    rows = {
        name: {"digest": made.image.digest, "size": made.image.size, "tag": made.tag} for name, made in built.items()
    }
    print(as_json(rows) if common.as_data else "\n".join(f"{name} {row['digest']}" for name, row in rows.items()))

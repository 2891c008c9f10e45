"""The verb `build`: locks -> images."""

from __future__ import annotations

from pathlib import Path

import click

from ..machine import host
from ..make import images
from .command import Common, verb
from .output import as_json


@verb
@click.option("--output", type=click.Path(path_type=Path), help="Also write an OCI layout into this folder.")
def build(common: Common, output: Path | None) -> None:
    """Build images from their locks."""
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    built = images.build(checkout, machine, checkout.chosen(common.names))
    if output:
        images.layout(machine.store, built, output)
    rows = {
        name: {"digest": made.image.digest, "size": made.image.size, "tag": made.tag} for name, made in built.items()
    }
    print(as_json(rows) if common.as_data else "\n".join(f"{name} {row['digest']}" for name, row in rows.items()))

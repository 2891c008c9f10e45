"""The verb `build`: locks -> images."""

from __future__ import annotations

from pathlib import Path

import click

from ..machine import host
from .command import Common, verb
from .workspace import as_json


@verb
@click.option("--output", type=click.Path(path_type=Path), help="Also write an OCI layout into this folder.")
def build(common: Common, output: Path | None) -> None:
    """Build images from their locks."""
    host.ensure()
    ws = common.workspace()
    built = ws.build(ws.chosen(common.names))
    if output:
        ws.layout(built, output)
    rows = {name: {"digest": one.image.digest, "size": one.image.size, "tag": one.tag} for name, one in built.items()}
    print(as_json(rows) if common.as_data else "\n".join(f"{name} {row['digest']}" for name, row in rows.items()))

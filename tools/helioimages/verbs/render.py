"""The verb `render`: built images as their Dockerfiles."""

from __future__ import annotations

import click

from ..machine import host
from .command import Common, verb
from .workspace import as_json


@verb
@click.option("--check", is_flag=True, help="Write nothing; fail if this machine builds other layers.")
def render(common: Common, check: bool) -> None:
    """Write the images' Dockerfiles, or prove them."""
    host.ensure()
    ws = common.workspace()
    built = ws.build(ws.chosen(common.names))
    ws.render(built, check=check)
    word = "agree" if check else "written"
    tags = {name: one.tag for name, one in built.items()}
    print(as_json(tags) if common.as_data else f"{', '.join(built)}: Dockerfiles {word}")

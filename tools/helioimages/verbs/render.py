"""The verb `render`: built images as their Dockerfiles."""

from __future__ import annotations

import click

from ..machine import host
from ..make import images
from .command import Common, verb
from .output import as_json


@verb
@click.option("--check", is_flag=True, help="Write nothing; fail if this machine builds other layers.")
def render(common: Common, check: bool) -> None:
    """Write the images' Dockerfiles, or prove them."""
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    built = images.build(checkout, machine, checkout.chosen(common.names))
    images.render(checkout.root, built, check=check)
    word = "agree" if check else "written"
    tags = {name: image.tag for name, image in built.items()}
    print(as_json(tags) if common.as_data else f"{', '.join(built)}: Dockerfiles {word}")

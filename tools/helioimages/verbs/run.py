"""The verb `run`: start an image on this machine."""

from __future__ import annotations

import click

from ..core.errors import HelioError, Stage
from ..engines import engine
from ..machine import host
from ..make import images
from ..publish import release
from . import options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8888, show_default=True, help="On loopback.")
@options.gpus
def run(common: Common, port: int, gpus: str | None) -> None:
    """Start an image locally (the hubs' default one if none is named) and print its address."""
    if len(common.names) > 1:
        raise HelioError(
            Stage.USAGE,
            "`run` starts one image",
            detail=f"expected one name not {len(common.names)}: {', '.join(common.names)}",
            hint=f"buildimages run {common.names[-1]}",
        )
    engine.gpu_request(gpus)
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    default = [name for name, image in checkout.images.items() if image.hub.default]
    # Without a default, the last is the one with the most in it.
    name = checkout.selected(common.names or default)[-1]
    built = images.build(checkout, machine, (name,))[name]
    with release.connect(machine.store, None) as client:
        reference = release.push_built(client, machine, built, "").reference
    address = machine.engine.serve(reference, port=port, gpus=gpus)
    print(as_json({"image": name, "reference": reference, "address": address}) if common.as_data else address)

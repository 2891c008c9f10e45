"""The verb `run`: start an image on this machine."""

from __future__ import annotations

import click

from ..core.errors import HelioError, Stage
from ..engines import engine
from ..machine import host
from . import options
from .command import Common, verb
from .workspace import as_json


@verb
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
    ws = common.workspace()
    default = [name for name, image in ws.images.items() if image.hub.default]
    # Without a default, the last is the one with the most in it.
    name = ws.checkout.selected(common.names or default)[-1]
    built = ws.build((name,))[name]
    with ws.registry(None) as client:
        reference = ws.push(client, built, "").reference
    address = ws.engine.serve(reference, port=port, gpus=gpus)
    print(as_json({"image": name, "reference": reference, "address": address}) if common.as_data else address)

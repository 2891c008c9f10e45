"""The verb `run`: start an image on this machine."""

from __future__ import annotations

import socket

import click

from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..engines import engine
from ..machine import host
from ..make import images
from ..publish import release
from . import options
from .command import Common, verb
from .output import as_json

#: JupyterLab's own.
_USUAL = 8888


@verb(builds=True)
@click.option("--port", type=click.IntRange(1, 65535), help="On loopback; 8888 by default, or if taken any free one.")
@click.option("--stop", is_flag=True, help="End and remove what `run` started, and start nothing.")
@options.gpus
def run(common: Common, port: int | None, stop: bool, gpus: str | None) -> None:
    """Start an image locally (the hubs' default one if none is named) and print its address."""
    if stop:
        ended = engine.running(common.machine().store)
        count = ended.end_served() if ended else 0
        print(as_json({"stopped": count}) if common.as_data else f"{count} stopped" if count else "nothing runs")
        return
    if len(common.names) > 1:
        raise HelioError(
            Stage.USAGE,
            "`run` starts one image",
            detail=f"expected one name not {len(common.names)}: {', '.join(common.names)}",
            hint=f"buildimages run {common.names[-1]}",
        )
    engine.gpu_request(gpus)
    if port and not host.is_free(port):
        raise HelioError(
            Stage.USAGE,
            f"port {port} of 127.0.0.1 is taken",
            hint="choose another --port, or leave it out to have any free one",
        )
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    default = [name for name, image in checkout.images.items() if image.hub.default]
    # Without a default, the last is the one with the most in it.
    name = checkout.selected(common.names or default)[-1]
    built = images.build(checkout, machine, (name,))[name]
    with release.connect(machine.store, None) as client:
        reference = release.push_built(client, machine, built, "").reference
    address = machine.engine.serve(reference, port=port or _port(), gpus=gpus)
    print(as_json({"image": name, "reference": reference, "address": address}) if common.as_data else address)


def _port() -> int:
    """Return the usual port or, said, another one that is free."""
    if host.is_free(_USUAL):
        return _USUAL
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    say(f"    port {_USUAL} is taken, so {port}")
    return port

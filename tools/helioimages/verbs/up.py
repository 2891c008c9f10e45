"""The verb `up`: the whole main job."""

from __future__ import annotations

from pathlib import Path

from ..core.progress import say
from ..machine import host
from ..publish import release
from . import options
from .command import Common, verb
from .publish import show


@verb
@options.registry
@options.prefix
@options.report
@options.again
@options.sign
def up(common: Common, registry: str | None, prefix: str, output: Path, again: bool, key: Path | None) -> None:
    """The whole main job: set up this machine, build, test and publish every image."""
    host.ensure()
    checkout, machine = common.checkout(), common.machine()
    order = release.Order(host=registry, prefix=prefix, out=output.resolve(), reuse=not again, key=key)
    done = release.publish(checkout, machine, checkout.chosen(common.names), order)
    show(common, done)
    if not common.as_data:
        default = [image for image in done if checkout.images[image.image].hub.default]
        say(f"\nStart one:\n  {starting((default or done)[-1].reference, machine.engine.address)}")
        say("Stop what this started: buildimages down")


def starting(reference: str, engine: str) -> str:
    """Return the command that starts an image, with the engine's address where docker does not find it by itself."""
    docker = "docker" if engine == f"unix://{host.SOCKETS[0]}" else f"docker -H {engine}"
    return f"{docker} run --rm -p 127.0.0.1:8888:8888 {reference}"

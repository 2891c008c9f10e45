"""The verb `up`: the whole main job."""

from __future__ import annotations

from ..core.progress import say
from ..engines import own_engine
from ..machine import host
from ..make.machine import Machine
from ..publish import release
from . import options
from .command import Common, verb
from .publish import run, show


@verb(builds=True)
@options.publishing
def up(common: Common, where: options.Publishing) -> None:
    """The whole main job: set up this machine, build, test and publish every image."""
    machine, done = run(common, where, announce=_announce)
    show(common, done)
    if not common.as_data:
        images = common.checkout().images
        default = [image for image in done if images[image.image].hub.default]
        say(f"\nStart one:\n  {starting((default or done)[-1].reference, machine.engine.address)}")
        if machine.engine.address != f"unix://{host.SOCKETS[0]}":
            say(plain_lines(machine.engine.address, ours=own_engine.running(machine.store)))
        say("Stop what this started: buildimages down")


def _announce(machine: Machine, image: release.Published) -> None:
    """Say that an image can be used, while others are made."""
    say(f"    {image.image} is published; start it:\n      {starting(image.reference, machine.engine.address)}")


def plain_lines(engine: str, *, ours: bool) -> str:
    """Return what makes plain docker lines, as the documentation has them, reach an engine that docker does not find.

    Args:
        ours: this project started it.
    """
    why = "no engine of this machine ran, so one of this project's own does" if ours else "docker looks elsewhere"
    return f"For plain `docker …` lines ({why}):\n  export DOCKER_HOST={engine}"


def starting(reference: str, engine: str) -> str:
    """Return the command that starts an image, with the engine's address where docker does not find it by itself."""
    docker = "docker" if engine == f"unix://{host.SOCKETS[0]}" else f"docker -H {engine}"
    return f"{docker} run --rm -p 127.0.0.1:8888:8888 {reference}"

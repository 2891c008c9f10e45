"""The verb `render`: built images as their Dockerfiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..make import images
from ..make.ready import ready
from . import caching, options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@click.option("--check", is_flag=True, help="Write nothing; fail if this machine builds other layers.")
@options.cache
def render(common: Common, check: bool, caches: Sequence[str], cache_key: Path | None) -> None:
    """Write the images' Dockerfiles, or prove them."""
    source = click.get_current_context().get_parameter_source("caches")
    if check and caches and source is click.core.ParameterSource.COMMANDLINE:
        raise HelioError(
            Stage.USAGE,
            "`render --check` reads no cache",
            where="--cache",
            detail="it proves that this machine makes the layers that the Dockerfiles name",
            hint="leave out one of the two",
        )
    # Whatever HELIOIMAGES_CACHE says: what is proved is made here.
    checkout, machine = common.checkout(), common.machine() if check else caching.machine(common, caches, cache_key)
    chosen = checkout.chosen(common.names)
    ready(checkout, chosen)
    built = images.build(checkout, machine, chosen)
    images.render(checkout.root, built, check=check)
    word = "agree" if check else "written"
    tags = {name: image.tag for name, image in built.items()}
    print(as_json(tags) if common.as_data else f"{', '.join(built)}: Dockerfiles {word}")

"""The verb `context`: a folder for a plain `docker build`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..core.progress import say
from ..make import images
from ..make.ready import ready
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@click.argument("folder", type=click.Path(path_type=Path))
def context(common: Common, folder: Path) -> None:
    """Lay out a folder for a plain `docker build`: NAME FOLDER."""
    checkout, machine = common.checkout(), common.machine()
    if not common.names and str(folder) in checkout.images:
        raise HelioError(
            Stage.USAGE, f"a folder for `{folder}` is not named", hint=f"buildimages context {folder} FOLDER"
        )
    chosen = checkout.chosen(common.names)
    folders = {name: folder / name if len(common.names) != 1 else folder for name in chosen}
    for made in folders.values():
        images.check_context(made)
    ready(checkout, chosen)
    for name, made in folders.items():
        built = images.build(checkout, machine, (name,))[name]
        images.context(checkout.root, machine.store, built, made)
        say(f"    docker build --network none --tag {name} {shlex.quote(str(made))}")
    print(as_json({"folder": str(folder)}) if common.as_data else folder)

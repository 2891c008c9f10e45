"""The verb `context`: a folder for a plain `docker build`."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..machine import host
from .command import Common, verb
from .workspace import as_json


@verb
@click.argument("folder", type=click.Path(path_type=Path))
def context(common: Common, folder: Path) -> None:
    """Lay out a folder for a plain `docker build`: NAME FOLDER."""
    ws = common.workspace()
    if not common.names and str(folder) in ws.images:
        raise HelioError(
            Stage.USAGE, f"a folder for `{folder}` is not named", hint=f"buildimages context {folder} FOLDER"
        )
    host.ensure()
    for name in ws.chosen(common.names):
        ws.context(ws.build((name,))[name], folder / name if len(common.names) != 1 else folder)
    print(as_json({"folder": str(folder)}) if common.as_data else folder)

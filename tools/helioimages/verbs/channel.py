"""The verb `channel`: compile the local conda channel."""

from __future__ import annotations

from ..machine import host
from .command import Common, verb
from .workspace import as_json


@verb(images=False)
def channel(common: Common) -> None:
    """Compile the local conda channel and print its folder."""
    host.ensure()
    folder = common.workspace().channel_dir()
    print(as_json({"folder": str(folder)}) if common.as_data else folder)

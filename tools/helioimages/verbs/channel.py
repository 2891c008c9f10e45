"""The verb `channel`: compile the local conda channel."""

from __future__ import annotations

from ..machine import host
from ..make import relocking
from .command import Common, verb
from .output import as_json


@verb(images=False)
def channel(common: Common) -> None:
    """Compile the local conda channel and print its folder."""
    host.ensure()
    folder = relocking.channel_dir(common.checkout(), common.machine())
    print(as_json({"folder": str(folder)}) if common.as_data else folder)

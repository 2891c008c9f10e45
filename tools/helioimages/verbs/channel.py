"""The verb `channel`: compile the local conda channel, and give it to others."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from ..core.progress import say
from ..machine import host
from ..make import relocking, serving
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.option("--output", type=click.Path(path_type=Path), help="Write it into this folder, as conda clients take it.")
@click.option("--serve", is_flag=True, help="Serve it on loopback until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of --serve; a free one by default.")
def channel(common: Common, output: Path | None, serve: bool, port: int) -> None:
    """Compile the local conda channel and print its folder."""
    host.ensure()
    folder = relocking.channel_dir(common.checkout(), common.machine())
    with contextlib.ExitStack() as stack:
        if serve and output is None:
            output = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="channel."))) / "local"
        if output is not None:
            serving.export(folder, output)
            folder = output
        address = None
        if serve:
            server = stack.enter_context(serving.server_of(folder, port))
            address = f"http://127.0.0.1:{server.server_port}/{folder.resolve().name}"
        result = {"folder": str(folder)} | ({"address": address} if address else {})
        print(as_json(result) if common.as_data else address or folder, flush=True)
        if serve:
            say("    served until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                server.serve_forever()

"""The verb `publish`: push by digest, test, then tag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..machine import host
from . import options
from .command import Common, verb
from .workspace import Published, as_json


@verb
@options.registry
@options.prefix
@options.report
@options.again
@options.sign
@click.option(
    "--before-tag",
    default="",
    metavar="COMMAND",
    help="Must succeed before tags move, e.g. 'cosign sign --yes'; the reference is its last argument.",
)
def publish(
    common: Common, registry: str | None, prefix: str, output: Path, again: bool, key: Path | None, before_tag: str
) -> None:
    """Push by digest, run the notebooks in that digest, then tag."""
    host.ensure()
    ws = common.workspace()
    wanted, out = ws.chosen(common.names), output.resolve()
    done = ws.publish(wanted, host=registry, prefix=prefix, out=out, reuse=not again, key=key, before_tag=before_tag)
    show(common, done)


def show(common: Common, done: Sequence[Published]) -> None:
    """Print what was published."""
    if common.as_data:
        print(as_json(done))
        return
    for one in done:
        print(f"{one.image}: {one.reference}")
        print(f"  tags    {', '.join(one.tags)}")
        print(f"  sent    {one.bytes_sent / 1e6:,.1f} MB in {one.seconds:.1f} s")
        print(f"  report  {one.report}")

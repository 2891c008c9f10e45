"""The verb `publish`: push by digest, test, then tag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ..machine import host
from ..publish import release
from . import options
from .command import Common, verb
from .output import as_json


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
    checkout, machine = common.checkout(), common.machine()
    order = release.Order(
        host=registry, prefix=prefix, out=output.resolve(), reuse=not again, key=key, before_tag=before_tag
    )
    show(common, release.publish(checkout, machine, checkout.chosen(common.names), order))


def show(common: Common, done: Sequence[release.Published]) -> None:
    """Print what was published."""
    if common.as_data:
        print(as_json(done))
        return
    for image in done:
        print(f"{image.image}: {image.reference}")
        print(f"  tags    {', '.join(image.tags)}")
        print(f"  sent    {image.bytes_sent / 1e6:,.1f} MB in {image.seconds:.1f} s")
        print(f"  report  {image.report}")

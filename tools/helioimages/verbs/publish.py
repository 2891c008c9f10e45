"""The verb `publish`: push by digest, test, then tag."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import click

from ..core.words import human_size
from ..make.machine import Machine
from ..make.ready import ready
from ..publish import release
from . import caching, options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@options.publishing
@click.option(
    "--before-tag",
    default="",
    metavar="COMMAND",
    help="Must succeed before tags move, e.g. 'cosign sign --yes'; the reference is its last argument.",
)
def publish(common: Common, where: options.Publishing, before_tag: str) -> None:
    """Push by digest, run the notebooks in that digest, then tag."""
    show(common, run(common, where, before_tag)[1])


def run(
    common: Common,
    where: options.Publishing,
    before_tag: str = "",
    announce: Callable[[Machine, release.Published], None] = lambda *_: None,
) -> tuple[Machine, tuple[release.Published, ...]]:
    """Publish what the command line names; returns the machine that did it, too.

    Args:
        announce: called with each image when it is published.
    """
    checkout = common.checkout()
    machine = caching.machine(common, where.caches, where.cache_key, registry=where.registry, prefix=where.prefix)
    order = release.PublishOrder(
        host=where.registry,
        prefix=where.prefix,
        out=where.output.resolve(),
        reuse=not where.again,
        key=where.key,
        before_tag=before_tag,
    )
    names = checkout.chosen(common.names)
    ready(checkout, names)
    return machine, release.publish(checkout, machine, names, order, functools.partial(announce, machine))


def show(common: Common, done: Sequence[release.Published]) -> None:
    """Print what was published."""
    if common.as_data:
        print(as_json(done))
        return
    for image in done:
        print(f"{image.image}: {image.reference}")
        print(f"  tags    {', '.join(image.tags)}")
        print(f"  sent    {human_size(image.bytes_sent)} in {image.seconds:.1f} s")
        print(f"  report  {image.report}")

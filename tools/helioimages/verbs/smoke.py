"""The verb `smoke`: run the notebooks in the images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ..core.progress import say
from ..engines import devices
from ..make import images
from ..make.ready import ready
from ..publish import release
from ..smoke import run
from ..smoke import stage as smoking
from . import caching, options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@options.report
@click.option("--only", multiple=True, metavar="NOTEBOOK", help="Run these notebooks only.")
@click.option("--network", is_flag=True, help="Let notebooks reach the network.")
@click.option("-p", "--parameter", "parameters", multiple=True, type=(str, str), help="A papermill parameter.")
@options.gpus
@options.cache
def smoke(
    common: Common,
    output: Path,
    only: Sequence[str],
    network: bool,
    parameters: Sequence[tuple[str, str]],
    gpus: str | None,
    caches: Sequence[str],
    cache_key: Path | None,
) -> None:
    """Run the smoke notebooks inside images."""
    devices.check(gpus)
    checkout, machine = common.checkout(), caching.machine(common, caches, cache_key)
    wanted = checkout.chosen(common.names)
    for name in wanted:
        run.check_only(checkout.lineage(name), checkout.root, only)
    ready(checkout, wanted)
    built = images.build(checkout, machine, wanted)
    how = smoking.Options(only=tuple(only), network=network, parameters=dict(parameters), gpus=gpus)
    reports = {}
    with release.connect(machine.store, None) as client:
        for name in wanted:
            pushed = release.push_built(client, machine, built[name], "")
            out = output.resolve() / name
            smoking.smoke(checkout, machine, built[name], pushed.reference, out, how)
            say(f"    {name}: passed; {out / 'report.html'}")
            reports[name] = json.loads((out / "report.json").read_text("utf-8"))
    if common.as_data:
        print(as_json(reports))

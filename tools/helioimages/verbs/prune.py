"""The verb `prune`: give disk space back."""

from __future__ import annotations

import click

from ..core.errors import HelioError
from ..core.words import human_size
from ..engines import engine, space
from ..make.inputs import plan_of
from ..make.prune import prune as sweep
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.option("--dry-run", is_flag=True, help="Remove nothing, say what would go.")
@click.option("--older", default=60, show_default=True, metavar="MINUTES", help="What is younger stays.")
def prune(common: Common, dry_run: bool, older: int) -> None:
    """Remove from the store what no lock of this checkout asks for: old packages, layers, file systems, caches.

    Nothing is lost: a build fetches or makes it again. What the embedded registry and the engine hold stays; how much
    that is, and what frees it, is said.
    """
    checkout, machine = common.checkout(), common.machine()
    plans = [plan_of(checkout, name) for name in checkout.images]
    rows = sweep(checkout, machine.store, plans, age_s=older * 60, dry_run=dry_run)
    if common.as_data:
        print(as_json(rows))
        return
    for row in rows:
        print(
            f"{row.kind:<30}{human_size(row.removed_bytes):>10} in {row.removed} {'would go' if dry_run else 'gone'}"
            f", {human_size(row.kept_bytes)} stay"
        )
    print(f"{'all':<30}{human_size(sum(row.removed_bytes for row in rows)):>10}")
    try:
        running = engine.running(machine.store)
    except HelioError:
        # DOCKER_HOST names one that does not answer; the store was pruned all the same.
        running = None
    for beside in space.beside(machine.store, running):
        print(f"\nnot touched: {beside.name}, {human_size(beside.size)}\n  {beside.remove}")

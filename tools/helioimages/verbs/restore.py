"""The verb `restore`: run a published work again, in the same image, and compare what it gives."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..core.words import count
from ..engines import devices
from ..machine import host
from ..oci.reference import Reference
from ..publish import release
from ..works import attached, restoring, running
from . import options
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.argument("crate", metavar="CRATE")
@click.option("--from", "elsewhere", metavar="HOST/NAME", help="Where the image is, if not where the crate says.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("_restored"),
    show_default=True,
    help="Executed notebooks.",
)
@click.option("--network/--no-network", default=False, show_default=True, help="Notebooks may reach it, if they could.")
@options.gpus
def restore(common: Common, crate: str, elsewhere: str | None, output: Path, network: bool, gpus: str | None) -> None:
    """Run the notebooks of a crate again, in the image with the digest that it names, and compare.

    The crate is the folder that `publish-work` wrote, a zip of it, or HOST/NAME@DIGEST of the work in a registry.
    Numbers and text must be the same, with tolerance 0: else the exit code is 12.
    """
    devices.check(gpus)
    order = restoring.RestoreOrder(
        source=Path(crate),
        output=output,
        elsewhere=Reference.parse(elsewhere) if elsewhere else None,
        network=network,
        options=running.WorkRunOptions(gpus=gpus),
    )
    host.ensure()
    machine = common.machine()
    connect = functools.partial(release.connect, machine.store)
    with tempfile.TemporaryDirectory(prefix="crate-") as folder:
        if not order.source.exists() and "@sha256:" in crate:
            place = Reference.parse(crate)
            with connect(place.host) as client:
                shelf = attached.Shelf(client=client, repository=place.repository, store=machine.store)
                attached.fetch(shelf, place.digest, Path(folder))
            order = replace(order, source=Path(folder))
        verdict = restoring.restore(order, machine.engine, connect)
    print(as_json(verdict) if common.as_data else "\n".join(_lines(verdict)))
    if not verdict.same:
        raise HelioError(
            Stage.CHECK,
            f"`{crate}` gives other numbers now",
            where=verdict.image,
            detail="\n".join(verdict.differences[:20]),
            hint=f"the executed notebooks are in {output}",
        )


def _lines(verdict: restoring.RestoreVerdict) -> list[str]:
    same = "the same numbers" if verdict.same else "other numbers"
    figures = f"; figures of {count(verdict.figures, 'cell')} differ" if verdict.figures else ""
    cells = f"{count(verdict.cells, 'cell')} compared" + (f", {verdict.left_out} left out" if verdict.left_out else "")
    return [
        f"{same}{figures}",
        f"  work   {verdict.title}",
        f"  image  {verdict.image}",
        f"  ran    {count(verdict.notebooks, 'notebook')}; {cells}, tolerance 0",
        *(f"  {line}" for line in verdict.differences[:20]),
    ]

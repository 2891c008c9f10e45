"""The verb `publish-work`: a team's notebooks and what they give in an image, as a crate and in the registry."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ..core.errors import HelioError, Stage
from ..core.words import count
from ..engines import devices
from ..machine import host
from ..works import running, spase, stage
from ..works.work import WorkSettings
from . import named_image, options
from .command import Common, verb
from .output import as_json

_NO_AUTHORITY = "Unassigned"


@verb(images=False)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--image", required=True, help="That the notebooks run in: NAME[:TAG], or HOST/NAME[:TAG].")
@options.registry
@options.prefix
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("_work"),
    show_default=True,
    help="Crate.",
)
@click.option("--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="For papermill; may be repeated.")
@click.option("--network/--no-network", default=False, show_default=True, help="Notebooks may reach it.")
@click.option(
    "--authority",
    envvar="HELIOIMAGES_SPASE_AUTHORITY",
    default=_NO_AUTHORITY,
    show_default=True,
    help="Naming authority of the SPASE records (HELIOIMAGES_SPASE_AUTHORITY).",
)
@click.option(
    "--measurement",
    "measurements",
    multiple=True,
    type=click.Choice(spase.MEASUREMENTS),
    metavar="TYPE",
    help="What figures and numbers show, in SPASE's words; keywords of CITATION.cff say it too.",
)
@click.option("--publisher", default="Zenodo", show_default=True, help="The archive that the crate is going to.")
@click.option("--push/--no-push", default=True, show_default=True, help="Hang the work on the image in its registry.")
@options.gpus
def publish_work(
    common: Common,
    folder: Path,
    image: str,
    registry: str | None,
    prefix: str,
    output: Path,
    parameters: tuple[str, ...],
    network: bool,
    authority: str,
    measurements: tuple[str, ...],
    publisher: str,
    push: bool,
    gpus: str | None,
) -> None:
    """Run a folder's notebooks in a published image, and publish them with all that they give.

    The folder needs a CITATION.cff. What comes of it is a crate: a folder for an archive such as Zenodo, with the
    notebooks, their executed copies, figures and numbers, and the documents that describe them (Workflow Run RO-Crate,
    SPASE, DataCite, CITATION.cff). The same hangs on the image in its registry.
    """
    devices.check(gpus)
    given = dict(map(_pair, parameters))
    if not spase.AUTHORITY.fits(authority):
        raise HelioError(Stage.USAGE, f"`{authority}` names no authority", detail=f"expected {spase.AUTHORITY.meaning}")
    settings = WorkSettings(
        authority=authority,
        publisher=publisher,
        measurements=tuple(sorted(set(measurements))),
        network=network,
        parameters=given,
    )
    order = stage.WorkOrder(
        folder=folder,
        output=output,
        settings=settings,
        options=running.WorkRunOptions(parameters=given, network=network, gpus=gpus),
        now=time.time(),
        push=push,
    )
    stage.check(order)
    named_image.check(image, prefix)
    host.ensure()
    machine = common.machine()
    with named_image.reached(machine, image, registry, prefix) as (client, reference):
        place = stage.Place(
            client=client,
            reference=reference,
            platform=common.platform,
            store=machine.store,
            engine=machine.engine,
        )
        done = stage.publish(place, order)
    print(as_json(done) if common.as_data else "\n".join(_lines(done)))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise HelioError(Stage.USAGE, f"`--parameter {text}` is not a parameter", detail="expected NAME=VALUE")
    return name, value


def _lines(done: stage.Done) -> list[str]:
    return [
        done.crate,
        f"  work     {done.id}: {done.title}",
        f"  ran      {count(done.notebooks, 'notebook')}, {count(done.figures, 'figure')}",
        f"  in       {done.image}",
        *([f"  artifact {done.artifact}"] if done.artifact else []),
        f"  again    buildimages restore {done.crate}",
        f"  DOI      buildimages set-doi {done.crate} DOI",
    ]

"""The verb `profiles`: what a hub offers, generated from what the registry holds."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click

from ..catalogue import from_file, permalinks
from ..catalogue import profiles as profiling
from ..catalogue.model import document
from ..core.errors import HelioError, Stage
from ..core.progress import say
from . import options
from .catalogue import CatalogueOptions, read
from .command import Common, verb


@verb
@options.registry
@options.prefix
@click.option("--catalogue", "file", type=click.Path(path_type=Path, dir_okay=False), help="A catalogue.json instead.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["z2jh", "dockerspawner", "dask-gateway", "permalinks"]),
    default="z2jh",
    show_default=True,
    help="Whose configuration.",
)
@click.option(
    "--unlisted",
    type=click.Choice(["own", "any", "none"]),
    default="own",
    show_default=True,
    help="Which images users may type in: other tags of these images, any image, none.",
)
@click.option(
    "--site", default="", metavar="URL", help="Where `catalogue`'s pages are: users get a link to them (z2jh)."
)
@click.option("--hub", default="https://hub.example.org", show_default=True, help="Of --format permalinks.")
@click.option("--notebook", default="", help="What permalinks open: a path in the home.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write this file, not stdout.")
@click.option("--check", is_flag=True, help="Write nothing; fail with a diff if --output is not up to date.")
@options.check_key
def profiles(
    common: Common,
    registry: str | None,
    prefix: str,
    file: Path | None,
    form: str,
    unlisted: str,
    site: str,
    hub: str,
    notebook: str,
    output: Path | None,
    check: bool,
    key: Path | None,
) -> None:
    """Write a hub's choices of images and sizes: z2jh's profileList, DockerSpawner's or Dask Gateway's.

    Permalinks are for a hub with jupyterhub-fancy-profiles that offers this profileList: an image, a size, a notebook.
    """
    if site and not site.startswith(("https://", "http://")):
        raise HelioError(
            Stage.USAGE, f"`{site}` is no address of a site", where="--site", detail="expected https://… or http://…"
        )
    if common.as_data and form != "z2jh":
        raise HelioError(Stage.USAGE, f"`{form}` has no form in JSON", hint="leave out --json, or take --format z2jh")
    checkout, machine = common.checkout(), common.machine()
    wanted = CatalogueOptions(names=common.names, host=registry, prefix=prefix, key=key)
    whole = from_file.parse(_read(file), str(file)) if file else document(read(checkout, machine, wanted))
    # Who gives a key wants what it signed, not what nobody did.
    offers = profiling.offers(whole, checkout.images, signed=key is not None)
    if form == "dockerspawner":
        text = profiling.as_dockerspawner(offers)
    elif form == "dask-gateway":
        text = profiling.as_gateway(offers)
    else:
        repositories = [f"{whole['registry']}/{page['repository']}" for page in whole["images"]]
        allowed = {"none": "", "any": profiling.ANY, "own": profiling.unlisted_images(repositories)}[unlisted]
        gone = profiling.gone(whole)
        made = profiling.profile_list(offers, checkout.images, unlisted=allowed, gone=gone, site=site)
        if form == "permalinks":
            text = permalinks.as_text(made, hub, notebook)
        else:
            text = json.dumps(made, indent=2) + "\n" if common.as_data else profiling.as_z2jh(made)
    tell = say if common.as_data else print
    if check:
        _check(output, text)
        tell(f"{output}: up to date")
    elif output:
        output.write_text(text, "utf-8")
        tell(str(output))
    else:
        print(text, end="")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise HelioError(
            Stage.USAGE,
            f"cannot read `{file}`",
            detail=error.strerror or str(error),
            hint="`buildimages catalogue` writes a catalogue",
        ) from error


def _check(output: Path | None, text: str) -> None:
    if output is None:
        raise HelioError(Stage.USAGE, "--check compares with a file", hint="name it with --output")
    committed = output.read_text("utf-8") if output.exists() else ""
    if committed != text:
        lines = difflib.unified_diff(
            committed.splitlines(), text.splitlines(), f"{output} (there)", f"{output} (now)", n=2, lineterm=""
        )
        raise HelioError(
            Stage.CHECK,
            f"`{output}` is not what the registry offers now",
            detail="\n".join(lines),
            hint="run the same without --check",
        )

"""The verb `devcontainer`: a folder's file for editors that work in containers."""

from __future__ import annotations

from pathlib import Path

import click

from ..core import files
from ..core.errors import HelioError, Stage
from ..engines import dev_container
from ..machine import host
from ..publish.holdings import image_of
from . import named_image, options
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.argument("image")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    show_default=True,
    help="The folder that the editor opens.",
)
@click.option("--replace", is_flag=True, help="Also if the folder has such a file that says something else.")
@options.registry
@options.prefix
def devcontainer(common: Common, image: str, output: Path, replace: bool, registry: str | None, prefix: str) -> None:
    """Write .devcontainer/devcontainer.json, by which an editor works in a published image.

    IMAGE is NAME[:TAG] or HOST/NAME[:TAG]. Without a tag the file names the image by its digest: all who open the
    folder get the same. A GPU is used where there is one, if the image has CUDA.
    """
    named_image.check(image, prefix)
    if registry is None and not named_image.is_whole(image):
        host.ensure((host.REGISTRY,))
    with named_image.reached(common.machine(), image, registry, prefix) as (client, asked):
        published = image_of(client, asked, common.platform)
        at = f":{asked.tag}" if asked.tag and not asked.digest else f"@{published.digest}"
        reference = f"{client.host}/{asked.repository}{at}"
    text = dev_container.text(asked.repository.rpartition("/")[2], reference, published.config)
    path = output / dev_container.FILE
    if path.exists() and not replace and path.read_text("utf-8") != text:
        raise HelioError(
            Stage.USAGE,
            f"`{path}` is there, and says something else",
            detail=f"expected none, or one of {reference}",
            hint="--replace writes it all the same",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)
    print(as_json({"file": path, "image": reference}) if common.as_data else path)

"""The verb `cite`: the software of an image as references."""

from __future__ import annotations

from pathlib import Path

import click

from ..cite import formats, stage
from ..core import files
from ..core.progress import say
from . import named_image, options
from .command import Common, verb
from .output import as_json

_FORMATS = {"text": formats.as_text, "bibtex": formats.as_bibtex, "cff": formats.as_cff}
_FILES = {"references.txt": "text", "references.bib": "bibtex", "CITATION.cff": "cff"}


@verb(images=False)
@click.argument("image")
@click.option(
    "--notebook",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Cite what it imports, and of what that needs all that asks for a citation.",
)
@click.option(
    "--format", "form", type=click.Choice(list(_FORMATS)), default="text", show_default=True, help="What is printed."
)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help="Write all formats into this folder.")
@options.registry
@options.prefix
def cite(
    common: Common,
    image: str,
    notebook: Path | None,
    form: str,
    output: Path | None,
    registry: str | None,
    prefix: str,
) -> None:
    """Cite the software in a published image: IMAGE is NAME[:TAG] or HOST/NAME[:TAG].

    Versions are the image's, the image is named by its digest. How packages ask to be cited is read from their own
    files, and from a reviewed table.
    """
    machine = common.machine()
    with named_image.reached(machine, image, registry, prefix) as (client, reference):
        place = stage.ImagePlace(
            client=client,
            reference=reference,
            platform=common.platform,
            store=machine.store,
            jobs=common.jobs,
        )
        cited = stage.cite(place, notebook)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for name, kind in _FILES.items():
            files.write(output / name, _FORMATS[kind](cited))
            say(f"wrote {output / name}")
    if common.as_data:
        print(as_json(cited))
    elif output is None:
        print(_FORMATS[form](cited), end="")

"""The verb `set-doi`: a published work got its DOI."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.progress import say
from ..publish import release
from ..works import attached, registering
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.argument("crate", type=click.Path(path_type=Path))
@click.argument("doi")
@click.option("--push/--no-push", default=True, show_default=True, help="Tell the registry that has the work, too.")
def set_doi(common: Common, crate: Path, doi: str, push: bool) -> None:
    """Write a DOI into the documents of a crate of `publish-work`.

    In the registry it becomes an artifact that refers to the work: neither the work's digest nor the image's changes.
    """
    told = registering.with_doi(crate, doi)
    digest = ""
    if push:
        machine = common.machine()
        with release.connect(machine.store, told.work.image.registry) as client:
            shelf = attached.Shelf(client=client, repository=told.work.image.name, store=machine.store)
            digest = attached.attach_doi(shelf, told.work, told.documents)
        if not digest:
            say(f"warning: {told.work.image.reference} has no such work: only {crate} knows the DOI")
    result = {"doi": told.work.doi, "crate": str(crate), "artifact": digest}
    print(as_json(result) if common.as_data else f"https://doi.org/{told.work.doi}")

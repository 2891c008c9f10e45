"""The verb `catalogue`: a static site and a JSON document of what a registry holds, for hub admins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from ..catalogue import lookup
from ..catalogue import read as catalogue_read
from ..catalogue import site as catalogue_site
from ..catalogue.model import Catalogue, document
from ..core.progress import say
from ..machine.checkout import load_yanks
from . import options
from .command import Common, verb
from .workspace import Workspace


def read(
    ws: Workspace,
    names: Sequence[str],
    registry: str | None,
    prefix: str,
    *,
    key: Path | None = None,
    keep: Callable[[bytes, str, str], str] | None = None,
) -> Catalogue:
    """Read the catalogue of a registry; of the checkout's images if none are named."""
    with ws.registry(registry) as client:
        made = catalogue_read.Source(
            client=client,
            store=ws.store,
            prefix=prefix,
            known=lookup.known_locks(ws.checkout),
            yanks=load_yanks(ws.root),
            verify=_verifier(key) if key else None,
        )
        source = dataclasses.replace(made, keep=keep) if keep else made
        return catalogue_read.read(source, names or tuple(ws.images), jobs=max(8, ws.jobs))


def _verifier(path: Path) -> Callable[[bytes, str], tuple[str, frozenset[str]]]:
    # Only those who check need the libraries of cryptography.
    from ..prove import signatures
    from ..publish import signing

    key = signing.load_public(path)
    return lambda data, signature: signatures.said(key, data, signature)


@verb
@options.registry
@options.prefix
@click.option("--output", type=click.Path(path_type=Path), default=Path("_catalogue"), show_default=True, help="Site.")
@options.check_key
def catalogue(common: Common, registry: str | None, prefix: str, output: Path, key: Path | None) -> None:
    """Make a site of a registry's images to choose a tag from; open its index.html.

    Names may be any repositories, this checkout's or not.
    """
    ws = common.workspace()
    with catalogue_site.writing(output) as site:
        found = read(ws, common.names, registry, prefix, key=key, keep=site.keep)
        site.write(found)
    whole = ", ".join(f"{image.name} {len(image.entries)}" for image in found.images)
    say(f"    builds: {whole}")
    print(
        json.dumps(document(found), indent=1, ensure_ascii=False, sort_keys=True)
        if common.as_data
        else output / "index.html"
    )

"""The verb `catalogue`: a static site and a JSON document of what a registry holds, for hub admins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from ..catalogue import lookup
from ..catalogue import read as catalogue_read
from ..catalogue import site as catalogue_site
from ..catalogue.model import Catalogue, document
from ..core.progress import say
from ..machine.checkout import load_yanks
from .command import verb, workspace
from .workspace import Workspace

key_option = click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Check signatures with this public key (cosign.pub).",
)


def read(ws: Workspace, names, registry: str | None, prefix: str, jobs: int, key: Path | None, **options) -> Catalogue:
    """Read the catalogue of a registry; of the checkout's images if none are named."""
    with ws.registry(registry) as client:
        source = catalogue_read.Source(
            client=client,
            store=ws.store,
            prefix=prefix,
            known=lookup.known_locks(ws.checkout),
            yanks=load_yanks(ws.root),
            verify=_verifier(key) if key else None,
            **options,
        )
        return catalogue_read.read(source, names or tuple(ws.images), jobs=max(8, jobs))


def _verifier(path: Path) -> Callable[[bytes, str], tuple[str, frozenset[str]]]:
    # Only those who check need the libraries of cryptography.
    from ..prove import signatures
    from ..publish import signing

    key = signing.load_public(path)
    return lambda data, signature: signatures.said(key, data, signature)


@verb
@click.option("--registry", help="Host, e.g. ghcr.io; the embedded one on loopback by default.")
@click.option("--prefix", default="", help="Put before image names, e.g. heliocloud/.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("_catalogue"), show_default=True, help="Site.")
@key_option
def catalogue(names, root, jobs, platform, channel, as_data, registry, prefix, output, key):
    """Make a site of a registry's images to choose a tag from; open its index.html.

    Names may be any repositories, this checkout's or not.
    """
    ws = workspace(root, jobs, platform, channel)
    with catalogue_site.writing(output) as site:
        found = read(ws, names, registry, prefix, jobs, key, keep=site.keep)
        site.write(found)
    whole = ", ".join(f"{image.name} {len(image.entries)}" for image in found.images)
    say(f"    builds: {whole}")
    print(
        json.dumps(document(found), indent=1, ensure_ascii=False, sort_keys=True) if as_data else output / "index.html"
    )

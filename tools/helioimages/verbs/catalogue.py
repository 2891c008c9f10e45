"""The verb `catalogue`: a static site and a JSON document of what a registry holds, for hub admins."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from ..catalogue import advisories, lookup
from ..catalogue import read as catalogue_read
from ..catalogue import site as catalogue_site
from ..catalogue.model import Catalogue, document
from ..cite import modules
from ..core.errors import HelioError
from ..core.progress import say
from ..locks.checkout import Checkout
from ..locks.reasons import Key, needs_of
from ..machine.checkout import load_notes, load_yanks
from ..make.machine import Machine
from ..oci.reference import Reference
from ..publish import release
from ..pypi.lock import Wheel
from . import options
from .command import Common, verb


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueOptions:
    """What is read of a registry.

    Attributes:
        names: of images; all of the checkout's if empty.
        host: of the registry; None is the embedded one.
        prefix: put before image names, e.g. ``heliocloud/``.
        key: checks signatures; None checks none.
    """

    names: tuple[str, ...]
    host: str | None
    prefix: str
    key: Path | None = None


def read(
    checkout: Checkout,
    machine: Machine,
    wanted: CatalogueOptions,
    *,
    keep: Callable[[bytes, str, str], str] | None = None,
) -> Catalogue:
    """Read the catalogue of a registry."""
    with release.connect(machine.store, wanted.host) as client:
        source = catalogue_read.CatalogueSource(
            client=client,
            store=machine.store,
            prefix=wanted.prefix,
            known=lookup.known_locks(checkout),
            yanks=load_yanks(checkout.root),
            verify=_verifier(wanted.key) if wanted.key else None,
        )
        if keep:
            source = dataclasses.replace(source, keep=keep)
        return catalogue_read.read(source, wanted.names or tuple(checkout.images), jobs=max(8, machine.jobs))


def write_site(
    checkout: Checkout,
    machine: Machine,
    wanted: CatalogueOptions,
    output: Path,
    *,
    audit: advisories.Audit | None = None,
    also: Sequence[Reference] = (),
) -> Catalogue:
    """Write a registry's catalogue as a site, and return it.

    Args:
        output: the site's folder; a catalogue there is replaced.
        audit: what is known of faults.
        also: repositories whose notebooks are found on the page of notebooks, too.

    Raises:
        HelioError: the registry refuses, has none of the images, or the folder is not a catalogue's.
    """
    with catalogue_site.writing(output) as site:
        offered = read(checkout, machine, wanted, keep=site.keep)
        # Its figures are shown beside its own images, not here.
        others = [
            read(
                checkout,
                machine,
                CatalogueOptions(names=(other.repository,), host=other.host, prefix="", key=wanted.key),
            )
            for other in also
        ]
        named = [image.name for image in offered.images]
        site.write(
            offered,
            others,
            audit=audit,
            notes=load_notes(checkout.root),
            reasons=_reasons(checkout, machine, named),
            modules=_modules(checkout, machine, named),
        )
    return offered


def _reasons(checkout: Checkout, machine: Machine, names: Sequence[str]) -> dict[str, dict[Key, str]]:
    """Return why packages are in the images that this checkout has, as its locks are now."""
    told: dict[str, dict[Key, str]] = {}
    for name in names:
        if name not in checkout.images:
            continue
        try:
            needs = needs_of(checkout, checkout.locks(name), machine.store)
        except HelioError:
            # An image without a whole lock can be shown all the same.
            continue
        told[name] = {key: str(reason) for key, reason in needs.reasons().items()}
    return told


def _modules(checkout: Checkout, machine: Machine, names: Sequence[str]) -> dict[str, str]:
    """Return how the modules of packages are called, as far as their wheels are here."""
    wheels: dict[str, Wheel] = {}
    for name in names:
        with contextlib.suppress(HelioError, KeyError):
            wheels |= {wheel.name: wheel for wheel in checkout.locks(name).pypi.wheels}
    return modules.of_wheels(wheels.values(), machine.store)


def _verifier(path: Path) -> Callable[[bytes, str], tuple[str, frozenset[str]]]:
    # Only those who check need the libraries of cryptography.
    from ..prove import signatures
    from ..publish import signing

    key = signing.load_public(path)
    return lambda data, signature: signatures.attested(key, data, signature)


@verb
@options.registry
@options.prefix
@click.option("--output", type=click.Path(path_type=Path), default=Path("_catalogue"), show_default=True, help="Site.")
@options.check_key
@click.option(
    "--audit",
    "audited",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What `audit --catalogue FILE --json` wrote: each build's advisories.",
)
@click.option(
    "--also",
    multiple=True,
    metavar="HOST/NAME",
    help="A repository of another registry or team: its image is on the first page, too, its notebooks on theirs.",
)
def catalogue(
    common: Common,
    registry: str | None,
    prefix: str,
    output: Path,
    key: Path | None,
    audited: Path | None,
    also: tuple[str, ...],
) -> None:
    """Make a site of a registry's images to choose a tag from; open its index.html.

    Names may be any repositories, this checkout's or not. The page of notebooks says who published what: it is searched
    by a word of their titles, by authors and by packages.
    """
    elsewhere = [Reference.parse(text) for text in also]
    checkout, machine = common.checkout(), common.machine()
    audit = advisories.parse(audited.read_bytes(), str(audited)) if audited else None
    wanted = CatalogueOptions(names=common.names, host=registry, prefix=prefix, key=key)
    offered = write_site(checkout, machine, wanted, output, audit=audit, also=elsewhere)
    whole = ", ".join(f"{image.name} {len(image.entries)}" for image in offered.images)
    say(f"    builds: {whole}")
    print(
        json.dumps(document(offered), indent=1, ensure_ascii=False, sort_keys=True)
        if common.as_data
        else output / "index.html"
    )

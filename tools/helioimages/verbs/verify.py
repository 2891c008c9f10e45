"""The verb ``verify``."""

from __future__ import annotations

from pathlib import Path

import click

from ..catalogue import lookup
from ..core.errors import HelioError, Stage
from ..core.progress import stage
from ..machine import host
from ..make import images
from ..oci.reference import Reference
from ..prove import verify as verifying
from ..publish import release
from . import options
from .command import Common, verb
from .output import as_json


@verb(builds=True)
@click.option("--registry", help="Host of short names such as helio:2026.11.21; the embedded one by default.")
@options.prefix
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Public key (cosign.pub) that must have signed the image and its documents.",
)
@click.option(
    "--identity",
    metavar="HOST/REPOSITORY",
    help="What the signature must name, for a mirror: where the image came from ('*' for anything). "
    "By default the repository that is verified.",
)
@click.option(
    "--rebuild/--no-rebuild", default=True, show_default=True, help="Build it from this checkout and compare."
)
@click.option("--image", "name", metavar="NAME", help="The image of this checkout; by default as the repository ends.")
def verify(
    common: Common,
    registry: str | None,
    prefix: str,
    key: Path | None,
    identity: str | None,
    rebuild: bool,
    name: str | None,
) -> None:
    """Check a published image: digests, SBOM, provenance, signature, and that this checkout builds the same bytes.

    NAMES is one reference, host[:port]/repository[:tag][@digest], or an image of this checkout: NAME[:tag][@digest].
    """
    if len(common.names) != 1:
        raise HelioError(Stage.USAGE, "which image?", hint="buildimages verify HOST/REPOSITORY:TAG")
    if identity and key is None:
        raise HelioError(Stage.USAGE, "an identity is a signature's", hint="give its key: --key cosign.pub")
    text, checkout, machine = common.names[0], common.checkout(), common.machine()
    short = lookup.is_short(checkout, text)
    if not short and "/" not in text:
        raise lookup.no_image(checkout, text)
    host_name = registry if short else Reference.parse(text).host
    with release.connect(machine.store, host_name) as client, verifying.folder(machine.store) as scratch:
        folder = Path(scratch)
        reference = Reference.parse(f"{client.host}/{prefix}{text}" if short else text)
        image = verifying.fetch(client, reference, common.platform)
        with stage("what the registry has"):
            checked, faults = verifying.published(client, reference, image, folder, key=key, identity=identity or "")
        if rebuild:
            host.ensure()
            (wanted,) = checkout.selected((name or reference.repository.rpartition("/")[2],))
            built = images.build(checkout, machine, (wanted,), strict=True)[wanted]
            with stage("compare with this checkout"):
                faults += verifying.rebuilt(built, image, folder, machine.store)
            checked += ("a rebuild from this checkout",)
    verdict = verifying.Verdict(reference=str(reference), digest=image.digest, checked=checked, faults=faults)
    if common.as_data:
        print(as_json(verdict))
    verdict.check()
    if not common.as_data:
        print(
            "\n".join((f"{reference} is equal and whole: {image.digest}", *(f"  checked {text}" for text in checked)))
        )

"""The verb `report`: what an image weighs, and why."""

from __future__ import annotations

import click

from ..catalogue import lookup
from ..catalogue import weight as weighing
from ..core.errors import HelioError, Stage
from ..locks.reasons import needs_of
from ..publish import weights
from .command import Common, verb
from .output import as_json


@verb
@click.option("--weight", is_flag=True, help="Bytes by kind, by image, by package and by what people ask for.")
def report(common: Common, weight: bool) -> None:
    """Say what an image of this checkout weighs, which packages are the reason, and who asks for them: --weight IMAGE.

    Bytes are those of packages as they are fetched; what a wheel draws in is known once its file was in the store.
    """
    if not weight or len(common.names) != 1:
        raise HelioError(
            Stage.USAGE,
            "`report` weighs one image",
            detail=f"expected --weight and one name not {len(common.names)}: {', '.join(common.names) or 'none'}",
            hint=f"buildimages report --weight {common.names[-1] if common.names else 'IMAGE'}",
        )
    checkout, machine = common.checkout(), common.machine()
    (name,) = checkout.selected(common.names)
    locks = checkout.locks_of((name,))
    side = lookup.planned(checkout, machine.store, name)
    sizes = [layer.unpacked for layer in side.layers]
    layers = weighing.Layers(
        size=side.size, exact=all(layer.exact for layer in side.layers), unpacked=sum(sizes) if all(sizes) else 0
    )
    weighed = weighing.weight(
        layers,
        [image.name for image in checkout.lineage(name)],
        weights.owners(locks),
        needs_of(checkout, locks[name], machine.store),
    )
    print(as_json(weighed) if common.as_data else "\n".join(weighed.lines()))

"""The verb `hub-check`: what a hub offers, beside what there is."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from ..catalogue import delta as deltas
from ..catalogue import hub_values, lookup
from ..catalogue.delta import Side
from ..core.errors import HelioError
from ..core.progress import step
from ..core.words import count, human_size
from ..locks.checkout import Checkout
from ..machine.checkout import load_yanks
from ..make.machine import Machine
from ..oci.reference import Reference
from ..oci.transport import Silent
from ..prove import audit as auditing
from ..publish import referrers, release
from ..spec import tags, yanks
from .command import Common, verb
from .output import as_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One image that a hub offers.

    Attributes:
        newest: the newest dated tag of its repository, empty if it is that one or there is none.
        move_bytes: what a node that has the image pulls for the newest; None where nothing moves.
        faults: why it should not be offered as it is, a line each.
        notes: what is good to know.
    """

    where: str
    reference: str
    digest: str = ""
    newest: str = ""
    move_bytes: int | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@verb(images=False)
@click.argument("values", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--advisories", type=click.Path(path_type=Path, exists=True), help="Folder or zip of OSV records.")
def hub_check(common: Common, values: tuple[Path, ...], advisories: Path | None) -> None:
    """Say which images of a hub's Helm values are old, yanked, unsigned or vulnerable, and what moving them costs.

    VALUES are files of Zero to JupyterHub or DaskHub. Exit code 12 if an image is missing, yanked, or has an advisory
    of high severity or more; an old or unsigned one is said.
    """
    checkout, machine = common.checkout(), common.machine()
    offered = [image for path in values for image in hub_values.images(path.read_bytes(), path.name)]
    rows: list[Checked] = []
    # Hubs offer an image under many profiles; it is asked for once, and so is a registry that does not answer.
    asked: dict[str, Checked] = {}
    silent: dict[str, str] = {}
    for image in offered:
        if image.reference not in asked:
            with step(image.reference):
                asked[image.reference] = _check(checkout, machine, image, advisories, silent)
        rows.append(dataclasses.replace(asked[image.reference], where=image.where))
    if common.as_data:
        print(as_json(rows))
    else:
        print("\n".join(line for row in rows for line in lines(row)) or "the files name no image of users")
    sys.exit(12 if any(row.faults for row in rows) else 0)


def lines(row: Checked) -> tuple[str, ...]:
    """Return what is said of one image."""
    move = f"; a node pulls {human_size(row.move_bytes)} for it" if row.move_bytes is not None else ""
    newer = (f"  old: the newest tag is {row.newest}{move}",) if row.newest else ()
    said = (*(f"  fault: {fault}" for fault in row.faults), *newer, *(f"  {note}" for note in row.notes))
    return (f"{row.reference}  ({row.where})", *(said or ("  nothing to say",)))


def _check(
    checkout: Checkout,
    machine: Machine,
    offered: hub_values.OfferedImage,
    advisories: Path | None,
    silent: dict[str, str],
) -> Checked:
    """Look at one image.

    Args:
        silent: host -> fault, of registries that do not answer; filled.
    """
    reference = hub_values.parsed(offered.reference)
    fault = "it is not an image reference" if reference is None else silent.get(reference.host, "")
    if reference is None or fault:
        return Checked(where=offered.where, reference=offered.reference, faults=(fault,))
    try:
        return _look(checkout, machine, offered, reference, advisories)
    except HelioError as error:
        if isinstance(error, Silent):
            silent[reference.host] = _fault(error)
        return Checked(where=offered.where, reference=offered.reference, faults=(_fault(error),))


def _fault(error: HelioError) -> str:
    return ": ".join(filter(None, (error.message, error.hint)))


def _look(
    checkout: Checkout,
    machine: Machine,
    offered: hub_values.OfferedImage,
    reference: Reference,
    advisories: Path | None,
) -> Checked:
    connect = functools.partial(release.connect, machine.store)
    here = lookup.side(checkout, machine.store, connect, str(reference))
    with connect(reference.host) as client:
        there = client.tags(reference.repository)
        image = client.get_image(reference.repository, reference.digest or reference.tag or "latest", checkout.platform)
        digest = image.digest if image else ""
        attached = referrers.artifacts(client, reference.repository, digest, tags=there, store=machine.store)
        dated = tags.newest_first(there)
        newest = dated[0] if dated and not _is(client.head_manifest(reference.repository, dated[0]), digest) else ""
    faults: list[str] = []
    notes: list[str] = []
    yank = yanks.find(
        load_yanks(checkout.root).get(reference.repository.rpartition("/")[2], ()), tags=(reference.tag,), digest=digest
    )
    if yank is not None:
        other = f"; take {yank.replacement}" if yank.replacement else ""
        (faults if yank.level == "yanked" else notes).append(f"{yank.level}: {yank.reason}{other}")
    if not any(artifact.kind == "signature" for artifact in attached):
        notes.append("no signature is attached")
    if not reference.digest and not tags.is_immutable(reference.tag):
        notes.append(f"the tag `{reference.tag or 'latest'}` moves: pin a dated tag or a digest")
    if advisories is not None:
        failing, note = _advisories(here, advisories)
        faults += failing
        notes.append(note)
    cost = None
    if newest:
        newer = lookup.side(checkout, machine.store, connect, f"{reference.host}/{reference.repository}:{newest}")
        cost = deltas.delta(here, newer).pull_bytes
    return Checked(
        where=offered.where,
        reference=offered.reference,
        digest=digest,
        newest=newest,
        move_bytes=cost,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _is(answer: object, digest: str) -> bool:
    return answer is not None and getattr(answer, "digest", "") == digest


def _advisories(side: Side, path: Path) -> tuple[list[str], str]:
    packages, images = side.contents.packages, (side.label,)
    asked = tuple(auditing.AuditedPackage(package=package, file="", images=images) for package in packages)
    report = auditing.audit(asked, auditing.load(path))
    worst: Mapping[str, auditing.Finding] = {finding.known_as: finding for finding in reversed(report.failing("high"))}
    faults = [f"{name}: {finding.name} {finding.version} ({finding.severity})" for name, finding in worst.items()]
    said = f"{count(len(report.findings), 'advisory')} of any severity"
    return faults, f"{said} in {count(len(asked), 'package')}"

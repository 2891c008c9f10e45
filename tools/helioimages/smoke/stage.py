"""The stage `smoke`: an image's notebooks must pass, and its ancestors' too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..locks.checkout import Checkout
from ..make.building import Built
from ..make.machine import Machine
from . import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How notebooks run.

    Attributes:
        only: stems of notebooks to run; all if empty.
        parameters: given to papermill.
        network: the container may reach the network.
        gpus: how many NVIDIA GPUs a container gets, a number or ``all``; None gives none.
    """

    only: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    gpus: str | None = None


def smoke(
    checkout: Checkout, machine: Machine, built: Built, reference: str, out: Path, options: Options = Options()
) -> run.SmokeReport:
    """Run an image's notebooks and its ancestors' in the image.

    Args:
        reference: the image, by digest, where the engine can pull it.
        out: a folder for executed notebooks, ``report.json`` and ``report.html``.

    Raises:
        HelioError: a notebook failed; the report's path is in the hint.
    """
    name = built.spec.name
    report = run.smoke(
        machine.engine,
        reference,
        built.spec,
        checkout.lineage(name),
        checkout.root,
        out,
        only=options.only,
        parameters=options.parameters,
        network=options.network,
        gpus=options.gpus,
    )
    if not report.passed:
        failed = [result for result in report.results if result.status != "passed"]
        raise HelioError(
            Stage.SMOKE,
            f"{len(failed)} of {len(report.results)} notebooks failed in `{name}`",
            where=reference,
            detail="\n".join(f"{result.name}: {result.status} {result.summary}" for result in failed),
            hint=f"open {out / 'report.html'}",
        )
    return report

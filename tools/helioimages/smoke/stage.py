"""The stage `smoke`: an image's notebooks must pass, and its ancestors' too."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import HelioError, Stage
from ..core.words import count
from ..locks.checkout import Checkout
from ..make.building import Built
from ..make.machine import Machine
from . import run
from .run import USUAL, Options

__all__ = ["Options", "smoke"]


def smoke(
    checkout: Checkout, machine: Machine, built: Built, reference: str, out: Path, options: Options = USUAL
) -> run.SmokeReport:
    """Run an image's notebooks and its ancestors' in the image.

    Args:
        reference: the image, by digest, where the engine can pull it.
        out: a folder for executed notebooks, ``report.json`` and ``report.html``.

    Raises:
        HelioError: a notebook failed; the report's path is in the hint.
    """
    name = built.spec.name
    report = run.smoke(machine.engine, reference, checkout.lineage(name), checkout.root, out, options)
    if not report.passed:
        failed = [result for result in report.results if result.status != "passed"]
        raise HelioError(
            Stage.SMOKE,
            f"{len(failed)} of {count(len(report.results), 'notebook')} failed in `{name}`",
            where=reference,
            detail="\n".join(f"{result.name}: {result.status} {result.summary}" for result in failed),
            hint=f"open {out / 'report.html'}",
        )
    return report

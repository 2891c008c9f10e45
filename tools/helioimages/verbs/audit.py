"""The verb ``audit``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from ..core import files
from ..core.errors import HelioError, Stage
from ..core.progress import step
from ..core.words import count
from ..debian.ecosystem import RELEASES
from ..prove import audit as auditing
from ..prove import osv
from ..prove.sarif import document as to_sarif
from .command import Common, verb
from .output import as_json


@verb
@click.option(
    "--advisories",
    type=click.Path(path_type=Path),
    help="Folder or zip of OSV records; works with no network.",
)
@click.option(
    "--catalogue",
    "built",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Look at every build in this catalogue.json instead of the locks.",
)
@click.option("--fetch", is_flag=True, help="Download OSV's databases of PyPI and of the images' Debian first.")
@click.option("--source", default=auditing.OSV_SOURCE, show_default=True, help="Where --fetch downloads from.")
@click.option(
    "--fail-on",
    type=click.Choice(osv.LEVELS),
    default="high",
    show_default=True,
    help=f"Exit with 12 from this severity on; one that nobody rated counts as {osv.UNKNOWN_AS}.",
)
@click.option("--ignore", multiple=True, metavar="ID", help="A fault that was accepted: shown, not counted.")
@click.option(
    "--sarif", type=click.Path(path_type=Path, dir_okay=False), help="Also write what was found as SARIF 2.1.0."
)
def audit(
    common: Common,
    advisories: Path | None,
    built: Path | None,
    fetch: bool,
    source: str,
    fail_on: str,
    ignore: Sequence[str],
    sarif: Path | None,
) -> None:
    """Match the locks, or what is published, with security advisories."""
    # Either a folder, or what is fetched now.
    if (advisories is None) == (not fetch):
        raise HelioError(Stage.USAGE, "which advisories?", hint="give either --advisories PATH or --fetch")
    checkout = common.checkout()
    wanted = checkout.selected(common.names)
    locks = {name: lock for name, lock in checkout.locks_of(wanted).items() if name in wanted}
    if fetch:
        suites = dict.fromkeys(lock.apt.suite for lock in locks.values())
        debian = [f"Debian:{RELEASES.get(suite, suite)}" for suite in suites]
        advisories = auditing.fetch(common.machine().store, ["PyPI", *debian], source=source)
    assert advisories is not None
    packages = (
        auditing.of_catalogue(built.read_bytes(), str(built), locks)
        if built
        else auditing.packages(locks, common.platform.subdir)
    )
    with step("read the advisories"):
        report = auditing.audit(packages, auditing.load(advisories), ignore=ignore)
    if sarif:
        text = json.dumps(to_sarif(report, lambda file: (checkout.root / file).read_text("utf-8")), indent=1)
        files.write(sarif, text + "\n")
    print(as_json(report) if common.as_data else "\n".join(report.lines()))
    if failing := report.failing(fail_on):
        raise HelioError(
            Stage.CHECK,
            f"{count(len(failing), 'advisory')} of severity {fail_on} or more",
            detail="\n".join(
                f"`{match.name}` {match.version}: {match.known_as} ({match.severity})" for match in failing[:20]
            ),
            hint="`buildimages lock --update NAME` takes a fixed version; --ignore ID accepts one",
        )

"""The verb `lock`: what is asked for -> every byte pinned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from ..locks import locking, named
from ..machine import host
from ..make import relocking
from .command import Common, verb
from .output import as_json


@verb
@click.option("--check", is_flag=True, help="Write nothing; fail if a lock is stale.")
@click.option(
    "--update",
    multiple=True,
    metavar="NAME",
    help="Forget a package's version; `all`: every one, `debian`: all of Debian's, `yanked`: what was withdrawn.",
)
@click.option(
    "--exclude-newer",
    metavar="DATE",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]),
    help="Packages uploaded later do not exist, e.g. 2026-10-01 (UTC).",
)
@click.option(
    "--channel-dir",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder with the channel's repodata; NAME=PATH: another channel's.",
)
def lock(
    common: Common, check: bool, update: Sequence[str], exclude_newer: datetime | None, channel_dir: Sequence[Path]
) -> None:
    """Resolve environments and pin every byte."""
    newer = exclude_newer and (exclude_newer if exclude_newer.tzinfo else exclude_newer.replace(tzinfo=UTC))
    checkout, machine = common.checkout(), common.machine()
    # A wrong name or folder is told before minutes go into the channel.
    checkout.selected(())
    locking.selected(common.names, checkout.environments, checkout.images)
    named.check(checkout, update)
    if not check:
        host.ensure()
    wish = locking.Wish(check=check, update=tuple(update), exclude_newer=newer, channel_dirs=tuple(channel_dir))
    report = relocking.lock(checkout, machine, common.names, wish)
    print(as_json(report) if common.as_data else "\n".join(report.lines()) or "every lock is current")

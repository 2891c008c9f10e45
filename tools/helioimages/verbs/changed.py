"""The verb ``changed``: which images a commit concerns."""

from __future__ import annotations

import click

from ..prove import changed as changes
from .command import Common, verb
from .workspace import as_json


@verb
@click.option(
    "--since", required=True, metavar="REF", help="A commit, branch or tag; the work tree is compared with it."
)
@click.option("--names", "only_names", is_flag=True, help="Print the images' names alone, one a line.")
def changed(common: Common, since: str, only_names: bool) -> None:
    """Say which images' inputs changed since a git revision, and which files are the reasons.

    Inputs are what decides an image's bytes or its test: environments, locks, image folders, ancestors', smoke
    notebooks, the local channel, and the modules of this tool that make bytes. Untracked files count.
    """
    ws = common.workspace()
    commit = changes.resolve(ws.root, since)
    different = changes.paths(ws.root, commit)
    found = changes.changed(
        ws.root,
        ws.images,
        ws.checkout.selected(common.names),
        different,
        changes.at(ws.root, commit),
        channel=common.channel,
        platform=common.platform,
    )
    if common.as_data:
        print(as_json(found))
    elif only_names:
        print("".join(f"{one.image}\n" for one in found), end="")
    else:
        print("\n".join(line for one in found for line in one.lines()) or "no image changed")

"""The verb ``changed``: which images a commit concerns."""

from __future__ import annotations

import click

from ..prove import changed as changes
from .command import Common, verb
from .output import as_json


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
    checkout = common.checkout()
    commit = changes.resolve(checkout.root, since)
    different = changes.paths(checkout.root, commit)
    before = changes.at(checkout.root, commit)
    concerned = changes.changed(checkout, checkout.selected(common.names), different, before)
    if common.as_data:
        print(as_json(concerned))
    elif only_names:
        print("".join(f"{change.image}\n" for change in concerned), end="")
    else:
        print("\n".join(line for change in concerned for line in change.lines()) or "no image changed")

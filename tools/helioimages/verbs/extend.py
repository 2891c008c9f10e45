"""The verb `extend`: a repository of notebooks on top of a published image."""

from __future__ import annotations

import functools

import click

from ..core.errors import HelioError, Stage
from ..core.words import count, human_size
from ..extend import git_address, repository, stage
from ..machine import host
from ..publish import release
from . import named_image, options
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.argument("source", metavar="PATH_OR_GIT_URL")
@click.option(
    "--from",
    "parent",
    default="helio",
    show_default=True,
    help="Image: NAME[:TAG], below the prefix, or HOST/NAME:TAG.",
)
@click.option("--ref", default="", help="Branch, tag or commit of the git repository.")
@click.option("--name", default="", help="Of the image that is made; the repository's own by default.")
@options.registry
@options.prefix
@click.option("--write-lock", is_flag=True, help="Write pylock.IMAGE.toml into the folder; it is obeyed from then on.")
@click.option(
    "--timeout",
    type=click.IntRange(1),
    default=1800,
    show_default=True,
    help="Seconds that postBuild may take, and the build of a package.",
)
@click.option("--network/--no-network", default=True, show_default=True, help="Of postBuild.")
def extend(
    common: Common,
    source: str,
    parent: str,
    ref: str,
    name: str,
    registry: str | None,
    prefix: str,
    write_lock: bool,
    timeout: int,
    network: bool,
) -> None:
    """Make an image of a Binder-ready repository on top of a published one, and push it.

    The repository is a folder or a git address, as pip writes it: URL[@REF][#subdirectory=FOLDER]. Its new packages and
    its files become layers; nothing of the image that it extends changes. No checkout of this project is needed.
    """
    if write_lock and git_address.is_address(source):
        raise HelioError(
            Stage.USAGE,
            "`--write-lock` writes into a folder",
            detail=f"`{source}` is an address",
            hint="clone it, extend the folder, and commit the lock",
        )
    named_image.check(parent, prefix)
    machine = common.machine()
    with repository.opened(source, ref, scratch=machine.store.root / "tmp") as opened:
        host.ensure_engine(registry=registry is None or not named_image.is_whole(parent))
        with release.connect(machine.store, registry) as target:
            order = stage.ExtendOrder(
                # A short name is of the registry that the image goes to.
                source=named_image.reference_of(parent, target.host, prefix),
                platform=common.platform,
                name=name,
                prefix=prefix,
                write_lock=write_lock,
                timeout_s=timeout,
                network="bridge" if network else "none",
            )
            made = stage.extend(opened, order, machine, functools.partial(release.connect, machine.store), target)
    print(as_json(made) if common.as_data else "\n".join(_lines(made)))


def _lines(made: stage.Extended) -> list[str]:
    added = ", ".join(f"{name} {version}" for name, version in sorted(made.added.items()))
    return [
        made.reference,
        *(f"  tag     {tag}" for tag in made.tags),
        f"  on      {made.parent}",
        f"  added   {count(len(made.added), 'package')}, {human_size(made.bytes_added)}"
        + (f": {added}" if added else ""),
        *([] if made.reproducible else ["  note    postBuild ran: it is not reproducible"]),
        *([f"  lock    {made.lock}"] if made.lock else []),
        f"  start   buildimages run --from {made.tags[0]}",
    ]

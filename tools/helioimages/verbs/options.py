"""Options that several verbs have, declared once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

registry = click.option("--registry", help="Host, e.g. ghcr.io; the embedded one on loopback by default.")
prefix = click.option("--prefix", default="", help="Put before image names, e.g. heliocloud/.")
report = click.option(
    "--output", type=click.Path(path_type=Path), default=Path("_report"), show_default=True, help="Reports."
)
again = click.option("--again", is_flag=True, help="Run notebooks even if they passed in this very image.")
sign = click.option(
    "--key",
    envvar="COSIGN_KEY",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Sign with this private key: cosign's, or PEM (COSIGN_KEY names it too, COSIGN_PASSWORD opens it).",
)
check_key = click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Check signatures with this public key (cosign.pub).",
)
gpus = click.option("--gpus", metavar="COUNT", help="NVIDIA GPUs for a container: a number, `all` or `none`.")


def cache(function: Callable[..., None]) -> Callable[..., None]:
    """Declare where layers and packages may come from: `--cache` and `--cache-key`, given to `caching.machine`."""
    places = click.option(
        "--cache",
        "caches",
        multiple=True,
        envvar="HELIOIMAGES_CACHE",
        metavar="HOST/PREFIX",
        help="Take layers and packages from the cache that others keep there; may be repeated (HELIOIMAGES_CACHE).",
    )
    key = click.option(
        "--cache-key",
        envvar="HELIOIMAGES_CACHE_KEY",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Believe only what this public key signed there.",
    )
    return places(key(function))


@dataclass(frozen=True, slots=True, kw_only=True)
class Publishing:
    """Where to publish, on what conditions, and where to look first: what `publish` and `up` share.

    Attributes:
        registry: host; None is the embedded one.
        prefix: put before image names.
        output: of reports.
        again: run notebooks even if they passed.
        key: signs; None signs nothing.
        caches, cache_key: see `cache`.
    """

    registry: str | None
    prefix: str
    output: Path
    again: bool
    key: Path | None
    caches: tuple[str, ...]
    cache_key: Path | None


def publishing(function: Callable[..., None]) -> Callable[..., None]:
    """Declare the options of `Publishing`, and hand them over as one argument, ``where``."""

    @functools.wraps(function)
    def gathered(*arguments: object, **given: Any) -> None:
        names = (field.name for field in dataclasses.fields(Publishing))
        where = Publishing(**{name: given.pop(name) for name in names})
        function(*arguments, where=where, **given)

    made: Callable[..., None] = gathered
    for option in (cache, sign, again, report, prefix, registry):
        made = option(made)
    return made

"""Options that several verbs have, declared once."""

from __future__ import annotations

from pathlib import Path

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
gpus = click.option("--gpus", metavar="COUNT", help="NVIDIA GPUs for a container: a number, or `all`.")

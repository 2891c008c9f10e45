"""The verb `import`: an environment of ours from another tool's file."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ..core import files
from ..core.errors import HelioError, Stage
from ..locks.importing import Target, name_of, translate
from ..machine.checkout import load_environments
from ..machine.store import Store, default_root
from ..pypi.index import PackageIndex
from ..pypi.resolve import places
from ..spec import shapes
from ..spec.foreign import read_foreign
from ..spec.recipes import RECIPES, read_recipes
from .command import Common, verb
from .output import as_json


@verb(images=False)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="Of the new environment; the file's own by default.")
@click.option("--parent", help="An environment whose packages it gets too.")
@click.option("--glibc", default="2.41", show_default=True, help="The image's C library, without a parent.")
@click.option("--offline", is_flag=True, help="Believe every name and version; do not ask the package index.")
@click.option("--force", is_flag=True, help="Replace an environment of this name.")
def import_(
    common: Common, path: Path, name: str | None, parent: str | None, glibc: str, offline: bool, force: bool
) -> None:
    """Make an environment of environment.yml, a conda, pixi or uv lock, pylock.toml or requirements.txt.

    Versions stay where they can be had; what could not be kept is told, with the reason. Then comes `buildimages lock`.
    """
    foreign = read_foreign(_text(path), path.name, common.platform.subdir, lambda other: _beside(path, other))
    name = name or name_of(foreign, path.resolve().as_posix())
    if not shapes.NAME.fits(name):
        raise HelioError(
            Stage.USAGE, f"an environment cannot be called `{name}`", detail=f"expected {shapes.NAME.meaning}"
        )
    if not re.fullmatch(r"\d+\.\d+", glibc):
        raise HelioError(Stage.USAGE, f"`{glibc}` is not a version of the C library", detail="expected e.g. 2.41")
    environments = load_environments(common.root)
    if parent and parent not in environments:
        raise HelioError(
            Stage.USAGE, f"there is no environment `{parent}`", detail=f"expected one of {', '.join(environments)}"
        )
    file = common.root / "environments" / name / "environment.yml"
    if file.exists() and not force:
        raise HelioError(
            Stage.USAGE,
            f"there is an environment `{name}` already",
            where=f"environments/{name}/environment.yml",
            hint="give the new one another name with --name, or replace it with --force",
        )
    target = Target(
        name=name,
        channel=common.channel,
        python=_python(common.root),
        platform=common.platform,
        glibc=glibc,
        parent=parent,
    )
    index = None if offline else PackageIndex(places(), Store(default_root()).root / "cache" / "index")
    imported = translate(foreign, target, index.many if index else None)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, imported.environment(path.name))
    report = {"environment": f"environments/{name}/environment.yml", **imported.as_data()}
    print(as_json(report) if common.as_data else "\n".join([*imported.lines(), f"next: buildimages lock {name}"]))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HelioError(Stage.USAGE, f"cannot read `{path}`", detail=str(error)) from error


def _beside(path: Path, name: str) -> str | None:
    """Return the text of a file that a requirements file names, None if it is not there."""
    other = path.parent / name
    return other.read_text("utf-8") if "://" not in name and other.is_file() else None


def _python(root: Path) -> str:
    """Return the series of Python that the local channel has, e.g. ``3.13``."""
    recipes = read_recipes((root / RECIPES).read_text("utf-8"))
    paths = (recipe.python_site_packages_path for recipe in recipes.packages if recipe.name == "python")
    return next(iter(re.findall(r"python(\d+\.\d+)", " ".join(paths))), "3.13")

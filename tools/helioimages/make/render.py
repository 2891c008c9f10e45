"""Render: a built image as its committed Dockerfile: the same plan that `building` writes as OCI, as text.

The Dockerfile names every layer by diff_id, which is equal on every machine and under every compressor, so that a
git diff of it shows what changes for hubs, and `render --check` on a clean machine proves the build reproducible.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packageurl import PackageURL

from ..core.errors import HelioError, Stage
from ..core.package import Package
from .plan import ImagePlan, LayerPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeLayer:
    """One ADD: the layer's diff_id and the comment above it."""

    diff_id: str
    comment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerfileRecipe:
    """All that a Dockerfile says.

    Attributes:
        parent: reference of the parent image, None for one from scratch.
        layers: lowest first, without the parent's.
        env, labels: what this image adds to its parent's.
        user: numeric, as in the image config.
    """

    name: str
    lock_digest: str
    parent: str | None
    layers: tuple[RecipeLayer, ...]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    ports: tuple[str, ...]
    workdir: str
    user: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]


def recipe_of(plan: ImagePlan, diff_ids: Sequence[str]) -> DockerfileRecipe:
    """Return what the Dockerfile of an image says.

    Args:
        diff_ids: of the image's own layers, in the plan's order.
    """
    image, parent = plan.spec, plan.parent
    return DockerfileRecipe(
        name=image.name,
        lock_digest=plan.locks.digest,
        # By its lock tag: its digest depends on the compressor, and a Dockerfile holds what all machines agree on.
        parent=f"helioimages/{parent.name}:{parent.tag}" if parent else None,
        layers=tuple(
            RecipeLayer(diff_id=diff_id, comment=described(layer, plan.locks.conda.channels))
            for diff_id, layer in zip(diff_ids, plan.layers, strict=True)
        ),
        env=plan.env,
        labels=plan.new_labels,
        ports=image.ports,
        workdir=image.workdir,
        user=str(image.user.uid) if image.user else "",
        entrypoint=image.entrypoint,
        cmd=image.cmd,
    )


def described(layer: LayerPlan, channels: Sequence[str]) -> str:
    """Return the comment above a layer's ADD.

    Where packages are of other channels than our own, each conda package has its channel and build string: one version
    may be in several, built differently. Images of the local channel alone have one build of each.
    """
    if tuple(channels) == ("local",) or not layer.packages:
        return layer.comment
    return f"{layer.name}: " + ", ".join(_package(package) for package in layer.packages)


def _package(package: Package) -> str:
    if package.kind != "conda":
        return f"{package.name} {package.version}"
    qualifiers = PackageURL.from_string(package.purl).qualifiers
    return f"{qualifiers['channel']}::{package.name} {package.version} {qualifiers['build']}"


def dockerfile(recipe: DockerfileRecipe, template: str) -> str:
    """Return the Dockerfile's text.

    Args:
        template: the content of ``images/Dockerfile.j2``.

    Raises:
        HelioError: the template uses a name that is not there, or is malformed.
    """
    # Few commands write a Dockerfile, and a tenth of each one's start would be this.
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=False, autoescape=False
    )
    environment.filters["quoted"] = quoted
    try:
        return environment.from_string(template).render(recipe=recipe)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        raise HelioError(
            Stage.BUILD,
            "cannot render `images/Dockerfile.j2`",
            where="images/Dockerfile.j2" + (f" at line {line}" if line else ""),
            detail=str(error),
        ) from error


def quoted(text: str) -> str:
    """Return ``text`` as a Dockerfile's double-quoted word: nothing in it is expanded."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", "\\\n")
    return f'"{escaped}"'


def check(recipe: DockerfileRecipe, template: str, committed: Path, shown: str, *, healed: bool = False) -> None:
    """Compare a built image with its committed Dockerfile.

    Args:
        healed: the Debian packages are not the committed ones (see `healing`), so the Debian layer and what names the
            lock may differ; every other layer must still come out as committed.

    Raises:
        HelioError: they differ; the detail is a unified diff that names the layers and their packages.
    """
    actual = dockerfile(recipe, template)
    try:
        expected = committed.read_text("utf-8")
    except FileNotFoundError as error:
        raise HelioError(
            Stage.CHECK, f"`{shown}` is missing", hint=f"run `buildimages render {recipe.name}` and commit it"
        ) from error
    if actual == expected:
        return
    if healed:
        other = [layer for layer in recipe.layers if not layer.comment.startswith("Debian ")]
        if all(layer.diff_id.removeprefix("sha256:") in expected for layer in other):
            return
    diff = difflib.unified_diff(
        expected.splitlines(), actual.splitlines(), f"{shown} (committed)", f"{shown} (built here)", n=1, lineterm=""
    )
    raise HelioError(
        Stage.CHECK,
        f"`{shown}` is not what this machine builds",
        where=shown,
        detail="\n".join(diff),
        hint=f"if a lock changed, run `buildimages render {recipe.name}` and commit; else it is not reproducible",
    )

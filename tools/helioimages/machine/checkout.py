"""The checkout's own files: every ``environment.yml`` and ``image.toml`` below a root, parents before children."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from ..core.errors import HelioError, Stage
from ..spec import notes, yanks
from ..spec.environment import EnvironmentSpec, parse_environment
from ..spec.image import ImageSpec, parse_image
from ..spec.lineage import parents_first


def load_environments(root: Path) -> dict[str, EnvironmentSpec]:
    """Read every ``environments/*/environment.yml``, parents before children.

    What a parent says of the machine (``virtual-packages``), its children say too, unless they say otherwise.

    Raises:
        HelioError: a file is wrong, its name differs from its folder's, or a parent is missing or in a circle.
    """
    specs = {}
    for path in sorted((root / "environments").glob("*/environment.yml")):
        file = path.relative_to(root).as_posix()
        spec = parse_environment(_text(path, file), path, file, partial(_beside, path, file))
        _same_name(spec.name, path, file)
        specs[spec.name] = spec
    ordered = parents_first(specs, "environment.yml", "x-helioimages.parent", "environments")
    for name, environment in ordered.items():
        if environment.parent is not None:
            inherited = ordered[environment.parent].virtual_packages
            ordered[name] = replace(environment, virtual_packages={**inherited, **environment.virtual_packages})
    return ordered


def _beside(path: Path, file: str, name: str) -> str | None:
    """Return the text of a file beside an environment.yml, None if there is no such file."""
    other = path.parent / name
    return _text(other, f"{file.rpartition('/')[0]}/{name}") if other.is_file() else None


def load_images(root: Path) -> dict[str, ImageSpec]:
    """Read every ``images/*/image.toml``, parents before children; errors as in `load_environments`."""
    specs = {}
    for path in sorted((root / "images").glob("*/image.toml")):
        file = path.relative_to(root).as_posix()
        spec = parse_image(_text(path, file), path, file)
        _same_name(spec.name, path, file)
        specs[spec.name] = spec
    return parents_first(specs, "image.toml", "parent", "images")


def _same_name(name: str, path: Path, file: str) -> None:
    if name != path.parent.name:
        raise HelioError(
            Stage.SPEC,
            f"`{file}` has the name of another folder",
            where=f"{file} at name",
            detail=f"expected {path.parent.name!r} not {name!r}",
        )


def _text(path: Path, file: str) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise HelioError(Stage.SPEC, f"cannot read `{file}`", where=file, detail=str(error)) from error


def load_notes(root: Path) -> dict[str, dict[str, str]]:
    """Read every ``images/*/CHANGES.md``: image -> tag -> what people say of the builds that have it.

    Raises:
        HelioError: as `notes.parse` says, or a file is not UTF-8.
    """
    notes_by_image: dict[str, dict[str, str]] = {}
    for path in sorted((root / "images").glob(f"*/{notes.FILE}")):
        file = path.relative_to(root).as_posix()
        notes_by_image[path.parent.name] = notes.parse(_text(path, file), file)
    return notes_by_image


def load_yanks(root: Path) -> dict[str, tuple[yanks.Yank, ...]]:
    """Read every ``images/*/yanked.toml`` of a checkout: image -> entries; an image without the file has none.

    Raises:
        HelioError: as `yanks.parse` says, or the file is not UTF-8.
    """
    yanks_by_image: dict[str, tuple[yanks.Yank, ...]] = {}
    for path in sorted((root / "images").glob(f"*/{yanks.FILE}")):
        file = path.relative_to(root).as_posix()
        text = _text(path, file)
        yanks_by_image[path.parent.name] = yanks.parse(text, path.parent.name, file)
    return yanks_by_image

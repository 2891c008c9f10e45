"""The stage `cite`: an image in a registry, and perhaps a notebook, in; a list of references out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from ..core import threads
from ..core.digest import key_of
from ..core.package import Package
from ..core.platform import Platform
from ..core.progress import bar
from ..machine.store import Store, has
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..oci.types import Descriptor
from ..publish.contents import layer_names
from ..publish.holdings import LATEST, image_of, packages_of
from ..pypi import markers
from . import bibtex, facts, imports, references
from .facts import Facts
from .references import References

#: Raised when the same files would tell something else.
VERSION = 1
#: Layers that hold no Python packages of an index.
_OTHERS = ("debian", "conda", "files", "postBuild")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlace:
    """Where an image is, and what of this machine helps to read it."""

    client: Registry
    reference: Reference
    platform: Platform
    store: Store
    jobs: int


def cite(place: ImagePlace, notebook: Path | None) -> References:
    """Return what is to be cited of an image.

    Args:
        notebook: narrows the list to what it imports; files beside it are followed.

    Raises:
        HelioError: the image or the notebook cannot be read.
    """
    names = None
    if notebook is not None:
        names = imports.of_notebook(notebook.read_bytes(), str(notebook), _beside(notebook.parent))
    image = image_of(place.client, place.reference, place.platform)
    packages = packages_of(place.client, place.reference.repository, image, place.store)
    pythons = [package.version for package in packages if (package.kind, package.name) == ("conda", "python")]
    values = markers.environment(pythons[0] if pythons else "3.0", image.config.platform)
    labels = image.config.labels
    named = references.CitedImage(
        title=labels.get("org.opencontainers.image.title") or place.reference.repository,
        version=labels.get("org.opencontainers.image.version") or place.reference.tag or LATEST,
        reference=f"{place.client.host}/{place.reference.repository}@{image.digest}",
        year=(image.config.created or "")[:4],
    )
    return references.gather(_facts(place, image, packages, values), named, names)


def _beside(folder: Path) -> imports.Read:
    def read(name: str) -> str | None:
        try:
            return (folder / name).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    return read


def _facts(place: ImagePlace, image: Image, packages: Iterable[Package], values: Mapping[str, str]) -> list[Facts]:
    """Return what the image's Python packages say: of their wheels in the store, else of the image's layers."""
    wheels = {canonicalize_name(wheel.name): wheel for wheel in packages if wheel.kind == "wheel"}
    facts_by_name: dict[str, Facts] = {}
    here = {
        name: wheel
        for name, wheel in wheels.items()
        if wheel.sha256 and wheel.file_name.endswith(".whl") and has(place.store.artefact(wheel.sha256), None)
    }
    with bar("packages", len(here)) as advance:
        for name, wheel in here.items():
            facts_by_name[name] = _remembered(place.store, wheel.sha256, values)
            advance(1)
    if wheels.keys() - facts_by_name.keys():
        names = layer_names(image.config)
        layers = [layer for layer, name in zip(image.layers, names, strict=True) if name not in _OTHERS]
        with bar("layers", len(layers)) as advance, threads.pool(place.jobs) as pool:
            for of_layer in pool.map(lambda layer: _of_layer(place, layer, values), layers):
                facts_by_name = {**of_layer, **facts_by_name}
                advance(1)
    return [facts for name, facts in facts_by_name.items() if name in wheels]


def _remembered(store: Store, sha256: str, values: Mapping[str, str]) -> Facts:
    key = key_of(["cite", VERSION, sha256, sorted(values.items())])
    if known := store.recall("cite", key):
        return _parsed(known)
    told = facts.of_wheel(store.artefact(sha256), values)
    store.remember("cite", key, dataclasses.asdict(told))
    return told


def _of_layer(place: ImagePlace, layer: Descriptor, values: Mapping[str, str]) -> Mapping[str, Facts]:
    store = place.store
    key = key_of(["cite", VERSION, layer.digest, sorted(values.items())])
    if (known := store.recall("cite", key)) is not None:
        return {row["name"]: _parsed(row) for row in known}
    path = store.blob(layer.digest)
    if not has(path, layer.size):
        with store.writing(path) as file:
            place.client.pull_blob(place.reference.repository, layer, file)
    told = facts.of_layer(path, values)
    store.remember("cite", key, [dataclasses.asdict(package) for package in told.values()])
    return told


def _parsed(row: Mapping[str, object]) -> Facts:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    values["entries"] = tuple(bibtex.BibEntry(**entry) for entry in values["entries"])  # type: ignore[attr-defined]
    return Facts(**values)  # type: ignore[arg-type]

"""Files of the parent that a new package would lie over: refused, as it is between two packages of one image.

What the parent holds is read from its SBOM (CycloneDX), and for an image that itself extends another, from its own few
layers and from the SBOM of the image below it. Bytes that are equal are no clash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

from ..core.entries import Entry, Kind
from ..core.errors import HelioError, Stage
from ..core.reading import Table, load_json
from ..machine.store import Store
from ..make.labels import BASE_DIGEST
from ..make.plan import PREFIX
from ..oci.image import Image
from ..oci.layer import read_layer
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..publish import referrers, sbom
from ..publish.contents import FORM
from ..publish.holdings import image_of
from .interpreter import blob
from .parent import Parent

#: Path -> (who brings it, sha256 of its content; empty for a link, which equals nothing).
Held = Mapping[str, tuple[str, str]]
_BASE_NAME = "org.opencontainers.image.base.name"
_DEEPEST = 8
_HINT = "leave it out, or ask for a version of it that does not bring the file: the files of the image stay"


def check(new: Held, below: Held) -> None:
    """Refuse new files that lie over others.

    Raises:
        HelioError: names both packages, and the path.
    """
    above = {folder: path for path in new for folder in _above(path)}
    for path, (other, held) in below.items():
        if path in new and new[path][1] != held and "/__pycache__/" not in path:
            raise _clash(f"`{new[path][0]}` brings {path}, which `{other}` of the image has with other content")
        if path in above:
            raise _clash(f"`{new[above[path]][0]}` brings {above[path]}, but {path} of `{other}` is a file")
    folders = {folder for path in below for folder in _above(path)}
    for path, (origin, _) in new.items():
        if path in folders:
            raise _clash(f"`{origin}` brings {path}, which is a folder in the image")


def files_of(parent: Parent, store: Store, connect: Callable[[str], Registry]) -> Held:
    """Return the files of the parent's environment.

    Args:
        connect: opens the registry of an image that the parent extends.

    Raises:
        HelioError: nothing says what the parent, or an image below it, holds.
    """
    return _files(parent, parent.image, store, connect, 0)


def _files(
    parent: Parent, image: Image, store: Store, connect: Callable[[str], Registry], depth: int
) -> dict[str, tuple[str, str]]:
    if (said := _of_sbom(parent.client, parent.repository, image, store)) is not None:
        return said
    labels = image.config.labels
    digest, name = labels.get(BASE_DIGEST, ""), labels.get(_BASE_NAME, "")
    if not digest or "/" not in name or depth > _DEEPEST:
        raise HelioError(
            Stage.USAGE,
            f"nothing says which files `{parent.name}` has",
            where=f"{parent.client.host}/{parent.repository}@{image.digest}",
            detail="expected its SBOM (CycloneDX) among its referrers",
            hint="publish it with `buildimages publish`",
        )
    place = Reference.parse(name)
    with connect(place.host) as client:
        reference = Reference(host=place.host, repository=place.repository, digest=digest)
        base = image_of(client, reference, parent.platform)
        below = Parent(client=client, repository=place.repository, tag=place.tag, image=base, packages=parent.packages)
        held = _files(below, base, store, connect, depth + 1)
    there = {layer.digest for layer in base.layers}
    for layer in image.layers:
        if layer.digest not in there:
            entries = read_layer(blob(parent, store, layer))
            ours = (entry for entry in entries if _ours(entry.path) and _is_file(entry))
            held.update((entry.path, _held(entry, parent)) for entry in ours)
    return held


def _is_file(entry: Entry) -> bool:
    return entry.kind is not Kind.DIR


def _held(entry: Entry, parent: Parent) -> tuple[str, str]:
    return parent.name, hashlib.sha256(entry.content.read()).hexdigest() if entry.content else ""


def _of_sbom(client: Registry, repository: str, image: Image, store: Store) -> dict[str, tuple[str, str]] | None:
    """Return the files that an image's SBOM lists; None if there is none.

    Spec: CycloneDX 1.6, ``components`` of a component.
    """
    attached = referrers.artifacts(client, repository, image.digest, tags=client.tags(repository), store=store)
    for artifact in attached:
        if artifact.type == sbom.CYCLONEDX:
            data = referrers.read_blob(client, repository, artifact.files[0], store)
            return dict(_listed(load_json(data, f"{client.host}/{repository}@{artifact.digest}", FORM)))
    return None


def _listed(document: Table) -> Iterator[tuple[str, tuple[str, str]]]:
    for component in document.tables("components"):
        whose = f"{component.text('name', '')} {component.text('version', '')}".strip()
        for file in component.tables("components"):
            if _ours(path := file.text("name", "")):
                yield path, (whose, next((digest.text("content") for digest in file.tables("hashes")), ""))


def _ours(path: str) -> bool:
    return path.startswith(f"{PREFIX.lstrip('/')}/")


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _clash(message: str) -> HelioError:
    return HelioError(Stage.LINK, message, hint=_HINT)

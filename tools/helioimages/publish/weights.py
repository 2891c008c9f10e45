"""What an image's packages weigh, who asks for them and what each needs: a document that hangs on the image.

A catalogue has no checkout and no packages, so what `report --weight` reads of them is written down when an image is
published. It changes no byte of the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..core.digest import canonical_json
from ..core.errors import Stage
from ..core.package import Package
from ..core.reading import Form, Shape, Table, load_json
from ..locks import ecosystems
from ..locks.checkout import Checkout
from ..locks.read import Locks
from ..locks.reasons import Key, Needs, needs_of
from ..machine.store import Store
from ..make.building import Built
from ..oci.registry import Registry
from . import documents
from .documents import Document

TYPE = "application/vnd.helioimages.weight.v1+json"
_FORM = Form(stage=Stage.CHECK, message="cannot read what an image weighs", comma=False, json=True)
_KEY = Shape.of("[a-z]+:.+", "a kind of package and a name, e.g. wheel:numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What is written down of one image.

    Attributes:
        line: the names of its ancestors, the oldest first, and its own.
        unpacked: bytes of each layer's tar stream, base layer first.
        owners: which of the line brings a package.
        needs: the packages with their sizes in bytes, who asks for them, and what each needs.
    """

    line: tuple[str, ...]
    unpacked: tuple[int, ...]
    owners: Mapping[Key, str] = field(hash=False)
    needs: Needs = field(hash=False)


def attach(client: Registry, repository: str, checkout: Checkout, built: Built, store: Store) -> Document:
    """Hang on an image what it weighs, and return that document.

    Raises:
        HelioError: the registry refuses.
    """
    text = dump(of_built(built, needs_of(checkout, built.locks, store)))
    document = Document(name="weight.json", media_type=TYPE, data=text)
    attachment = documents.Attachment(artifact_type=TYPE, files=(document,))
    documents.attach_files(client, repository, built.image, attachment, store)
    return document


def of_built(built: Built, needs: Needs) -> Weights:
    """Return what is written down of an image that was built."""
    return Weights(
        line=tuple(image.spec.name for image in built.line),
        unpacked=tuple(layer.layer.uncompressed_size for image in built.line for layer in image.layers),
        owners=owners({image.spec.name: image.locks for image in built.line}),
        needs=needs,
    )


def owners(line: Mapping[str, Locks]) -> dict[Key, str]:
    """Return which image brings a package: the first one that has it.

    Args:
        line: the locks of an image and of its ancestors, the oldest first.
    """
    brings: dict[Key, str] = {}
    for name, locks in line.items():
        for package in locks.packages:
            brings.setdefault((package.kind, package.name), name)
    return brings


def dump(weights: Weights) -> bytes:
    """Return the document, version 1: what `parse` reads. Equal weights are equal bytes."""
    needs = weights.needs
    rows = [
        {
            "kind": package.kind,
            "name": package.name,
            "version": package.version,
            "size": package.size,
            "image": weights.owners[key],
            "asked": list(needs.asked.get(key, ())),
            "needs": sorted(f"{kind}:{name}" for kind, name in needs.needs.get(key, ())),
        }
        for key, package in sorted(needs.packages.items())
    ]
    return canonical_json(
        {
            "version": 1,
            "line": list(weights.line),
            "unpacked": [{"size": size} for size in weights.unpacked],
            "whole": needs.whole,
            "packages": rows,
        }
    )


def parse(data: bytes, where: str) -> Weights:
    """Read the document.

    Raises:
        HelioError: it is none of version 1, or names what it does not have.
    """
    table = load_json(data, where, _FORM)
    if (version := table.whole("version")) != 1:
        raise table.wrong("version", "version 1", version)
    line = table.strings("line", required=True)
    packages: dict[Key, Package] = {}
    brings: dict[Key, str] = {}
    asked: dict[Key, tuple[str, ...]] = {}
    named: list[tuple[Key, Table, tuple[str, ...]]] = []
    for row in table.tables("packages", required=True):
        kind = row.text("kind")
        if not ecosystems.known(kind):
            raise row.wrong("kind", "a kind of package", kind)
        key = (kind, row.text("name"))
        packages[key] = Package(kind=kind, name=key[1], version=row.text("version"), size=row.whole("size", minimum=0))
        brings[key] = row.text("image")
        if brings[key] not in line:
            raise row.wrong("image", f"one of {', '.join(line)}", brings[key])
        if who := row.strings("asked"):
            asked[key] = who
        named.append((key, row, row.strings("needs", shape=_KEY)))
    return Weights(
        line=line,
        unpacked=tuple(row.whole("size", minimum=0) for row in table.tables("unpacked", required=True)),
        owners=brings,
        needs=Needs(packages=packages, asked=asked, needs=_needs(named, packages), whole=table.flag("whole")),
    )


def _needs(
    named: Sequence[tuple[Key, Table, tuple[str, ...]]], packages: Mapping[Key, Package]
) -> dict[Key, tuple[Key, ...]]:
    needs: dict[Key, tuple[Key, ...]] = {}
    for key, row, texts in named:
        keys: list[Key] = []
        for index, text in enumerate(texts):
            kind, _, name = text.partition(":")
            if (kind, name) not in packages:
                raise row.wrong(f"needs[{index}]", "a package of this list", text)
            keys.append((kind, name))
        if keys:
            needs[key] = tuple(keys)
    return needs

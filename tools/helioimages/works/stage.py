"""The stage `publish-work`: a folder and an image in; a crate, and an artifact that refers to the image, out.

Nothing is written before every notebook ran to its end.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core import files
from ..core.errors import HelioError, Stage
from ..core.package import Package
from ..core.platform import Platform
from ..core.progress import say
from ..core.words import count, human_size
from ..engines.engine import Engine
from ..machine.store import Store
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..publish import referrers
from ..publish.holdings import LATEST, image_of
from . import attached, documents, folder, running, shown, spase, work
from .citation import Citation
from .work import Work, WorkFile, WorkImage, WorkNotebook, WorkSettings

#: A marker of folders that are ours, so that a wrong --output replaces nobody's files.
_OURS = work.NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an image is, and what runs it."""

    client: Registry
    reference: Reference
    platform: Platform
    store: Store
    engine: Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What is to be published, and how.

    Attributes:
        folder: of the team.
        output: becomes the crate.
        now: seconds since 1970 UTC, where neither SOURCE_DATE_EPOCH nor the CITATION.cff says when.
        push: hang it on the image, too.
    """

    folder: Path
    output: Path
    settings: WorkSettings
    options: running.WorkRunOptions
    now: float
    push: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was published.

    Attributes:
        artifact: its digest in the registry, empty if it was not pushed.
    """

    id: str
    title: str
    crate: str
    image: str
    artifact: str
    notebooks: int
    figures: int


def publish(place: Place, order: WorkOrder) -> Done:
    """Run a folder's notebooks in an image and publish what they gave.

    Raises:
        HelioError: the folder cannot be published, the image is not there, or a notebook failed; nothing is left then.
    """
    said, paths, notebooks = check(order)
    settings = order.settings
    if not settings.measurements:
        settings = replace(settings, measurements=spase.measured(said.keywords))
    image = image_of(place.client, place.reference, place.platform)
    described = _described(place, image)
    place.engine.pull(described.reference)
    with folder.scratch(order.folder, paths) as top:
        inputs = folder.of(top / "work", paths, work.INPUTS)
        contents = {file.path: (top / "work" / path).read_bytes() for file, path in zip(inputs, paths, strict=True)}
        ran = []
        for notebook in running.run(place.engine, described.reference, top, notebooks, order.options):
            book, results = _kept(notebook, top / "work")
            contents |= results
            ran.append(book)
    made = Work(
        citation=said,
        image=described,
        books=tuple(ran),
        inputs=inputs,
        results=tuple(_file(path, contents[path]) for path in sorted(contents.keys() - {file.path for file in inputs})),
        settings=settings,
        when=when(order.now, said),
        doi=said.doi,
    )
    contents |= documents.of(made)
    if sum(map(len, contents.values())) > 2 * folder.MOST_BYTES:
        raise HelioError(
            Stage.USAGE,
            "what the notebooks gave is too large to be published with them",
            detail=f"expected at most {human_size(2 * folder.MOST_BYTES)}",
            hint="let them write large files to /tmp, and deposit these in an archive of data",
        )
    _tell(made)
    shelf = attached.Shelf(client=place.client, repository=described.name, store=place.store)
    digest = attached.attach(shelf, image.descriptor, made, contents) if order.push else ""
    write(order.output, contents)
    return Done(
        id=made.id,
        title=said.title,
        crate=str(order.output),
        image=described.reference,
        artifact=digest,
        notebooks=len(ran),
        figures=sum(len(book.figures) for book in ran),
    )


def check(order: WorkOrder) -> tuple[Citation, tuple[str, ...], tuple[str, ...]]:
    """Return what the folder's CITATION.cff says, its files and its notebooks, before any work is done.

    Raises:
        HelioError: one of them cannot be published, or the output is somebody else's.
    """
    paths = folder.paths(order.folder, order.output)
    notebooks = folder.books(paths, order.folder)
    said = folder.said(order.folder)
    check_output(order.output)
    return said, paths, notebooks


def when(now: float, said: Citation) -> str:
    """Return when a work is published: as SOURCE_DATE_EPOCH says, else its CITATION.cff, else the clock.

    Raises:
        HelioError: SOURCE_DATE_EPOCH is no number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    if epoch and not epoch.isdecimal():
        raise HelioError(Stage.USAGE, f"SOURCE_DATE_EPOCH={epoch} is not a time", detail="expected seconds since 1970")
    if not epoch and said.released:
        return f"{said.released}T00:00:00Z"
    moment = datetime.datetime.fromtimestamp(int(epoch) if epoch else int(now), datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def check_output(output: Path) -> None:
    """Refuse a folder that has something else in it, before any work.

    Raises:
        HelioError: it has.
    """
    if output.exists() and (not output.is_dir() or (any(output.iterdir()) and not (output / _OURS).is_file())):
        raise HelioError(
            Stage.USAGE,
            f"`{output}` is not empty, and no crate",
            detail="a crate replaces the whole folder",
            hint="name a new folder with --output",
        )


def write(output: Path, contents: Mapping[str, bytes]) -> None:
    """Write a crate's files, and remove those of the crate that was there."""
    if (output / _OURS).is_file():
        before = work.parse((output / _OURS).read_bytes(), str(output / _OURS))
        known = [*documents.of(before), *(file.path for file in (*before.inputs, *before.results))]
        for path in known:
            if path not in contents:
                (output / path).unlink(missing_ok=True)
    for path, data in contents.items():
        (output / path).parent.mkdir(parents=True, exist_ok=True)
        files.write(output / path, data)


def _described(place: Place, image: Image) -> WorkImage:
    packages = _packages(place, image.digest)
    if not packages:
        say("warning: nothing published with the image says what it holds: the licences of its packages are left out")
    python = next((package.version for package in packages if (package.kind, package.name) == ("conda", "python")), "")
    labels = image.config.labels
    return WorkImage(
        registry=place.client.host,
        name=place.reference.repository,
        tag="" if place.reference.digest else place.reference.tag or LATEST,
        digest=image.digest,
        title=labels.get("org.opencontainers.image.title", ""),
        platform=image.config.platform,
        python=python or labels.get("io.helioimages.python", ""),
        licenses=tuple(sorted({package.licenses for package in packages if package.licenses})),
    )


def _packages(place: Place, digest: str) -> tuple[Package, ...]:
    repository = place.reference.repository
    tags = place.client.tags(repository)
    artifacts = referrers.artifacts(place.client, repository, digest, tags=tags, store=place.store)
    known = referrers.contents_of(place.client, repository, artifacts, place.store)
    return known.packages if known else ()


def _kept(ran: running.Ran, place: Path) -> tuple[WorkNotebook, dict[str, bytes]]:
    """Return a notebook as the crate has it, and its files: the executed copy, pictures, numbers, and what it wrote."""
    stem = ran.path.removesuffix(".ipynb")
    contents: dict[str, bytes] = {}
    figures: list[str] = []
    for cell, png in shown.figures(ran.node):
        number = sum(path.startswith(f"{work.FIGURES}/{stem}/cell-{cell}-") for path in figures) + 1
        figures.append(f"{work.FIGURES}/{stem}/cell-{cell}-{number}.png")
        contents[figures[-1]] = png
    numbers = ""
    if recorded := shown.numbers(ran.node):
        numbers = f"{work.NUMBERS}/{stem}.json"
        contents[numbers] = (json.dumps(recorded, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
    made = tuple(f"{work.MADE}/{path}" for path in ran.made)
    contents |= {f"{work.MADE}/{path}": (place / path).read_bytes() for path in ran.made}
    executed = f"{work.EXECUTED}/{ran.path}"
    contents[executed] = shown.clean(ran.node)
    book = WorkNotebook(
        path=f"{work.INPUTS}/{ran.path}",
        title=ran.title,
        language=ran.language,
        executed=executed,
        figures=tuple(figures),
        made=made,
        numbers=numbers,
    )
    return book, contents


def _file(path: str, data: bytes) -> WorkFile:
    return WorkFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _tell(made: Work) -> None:
    outputs = sum(len(book.figures) + bool(book.numbers) + len(book.made) for book in made.books)
    if outputs and not made.settings.measurements:
        say(
            f"    no SPASE records of {count(outputs, 'output')}: nothing says what was measured (--measurement, or a "
            "keyword of CITATION.cff)"
        )

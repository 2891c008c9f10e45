"""A published work as frozen values: who, in which image, which notebooks, and the files of all that. Pure.

Its folder, the crate, has the team's files as they are in ``work/``, and beside them what came of them: ``executed/``,
``figures/``, ``numbers/`` and ``made/``. Documents that describe it are made of these values alone, so that the same
work has the same documents.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..core.digest import key_of
from ..core.platform import Platform
from ..core.reading import PLATFORM, SHA256, Form, Shape, Table, load_json
from . import citation as citations
from .citation import Citation

#: The document that another run of this tool reads.
NAME = "work.json"
FORMAT = 1
INPUTS, EXECUTED, FIGURES, NUMBERS, MADE = "work", "executed", "figures", "numbers", "made"

_FORM = Form(json=True, hint="it is written by `buildimages publish-work`")
_MEDIA_TYPES = {
    "cdf": "application/x-cdf",
    "cff": "application/yaml",
    "csv": "text/csv",
    "fits": "application/fits",
    "gif": "image/gif",
    "h5": "application/x-hdf5",
    "hdf5": "application/x-hdf5",
    "html": "text/html",
    "ipynb": "application/x-ipynb+json",
    "jpg": "image/jpeg",
    "json": "application/json",
    "md": "text/markdown",
    "nc": "application/x-netcdf",
    "pdf": "application/pdf",
    "png": "image/png",
    "py": "text/x-python",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "xml": "application/xml",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFile:
    """A file of the crate.

    Attributes:
        path: within it, with slashes.
        size: in bytes.
        sha256: hexadecimal.
    """

    path: str
    size: int
    sha256: str

    @property
    def media_type(self) -> str:
        """What it is, by its name."""
        return media_type(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkImage:
    """The image that notebooks ran in.

    Attributes:
        registry: host with its port.
        name: the repository.
        tag: that it was asked for by, empty if by digest alone.
        digest: ``sha256:…``, of its manifest.
        licenses: of its packages, as its SBOM tells them; empty where nothing does.
        python: its version, e.g. ``3.13.7``; empty if unknown.
    """

    registry: str
    name: str
    tag: str
    digest: str
    title: str
    platform: Platform
    python: str = ""
    licenses: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """How engines call it, by digest."""
        return f"{self.registry}/{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkNotebook:
    """A notebook that ran.

    Attributes:
        path: of the notebook, within the crate.
        executed: of its executed copy.
        figures, made: of what it drew, and of the files that it wrote.
        numbers: of those that it recorded, empty if none.
        language: of its cells.
    """

    path: str
    title: str
    language: str
    executed: str
    figures: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    numbers: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings:
    """What a team says of a work beside its CITATION.cff.

    Attributes:
        authority: that names its SPASE records.
        publisher: where it is going to be deposited.
        measurements: SPASE's measurement types of its figures and numbers; no such records without one.
        network: the notebooks could reach it.
        parameters: given to papermill.
    """

    authority: str
    publisher: str = "Zenodo"
    measurements: tuple[str, ...] = ()
    network: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A work.

    Attributes:
        books: in the order in which they ran.
        inputs, results: files, by path.
        when: RFC 3339, of its publication.
        doi: empty until it has one.
    """

    citation: Citation
    image: WorkImage
    books: tuple[WorkNotebook, ...]
    inputs: tuple[WorkFile, ...]
    results: tuple[WorkFile, ...]
    settings: WorkSettings
    when: str
    doi: str = ""

    @property
    def id(self) -> str:
        """A name by content: the image, the team's files, and what the notebooks were given."""
        files = [[file.path, file.sha256] for file in self.inputs]
        given = dict(sorted(self.settings.parameters.items()))
        return key_of(["work", FORMAT, self.image.digest, files, given])[:16]

    @property
    def date(self) -> str:
        """The day of its publication."""
        return self.when[:10]

    def file(self, path: str) -> WorkFile:
        """Return the file of a path."""
        return next(file for file in (*self.inputs, *self.results) if file.path == path)


def media_type(path: str) -> str:
    """Return what a file is, by its name."""
    return _MEDIA_TYPES.get(path.rpartition(".")[2].lower(), "application/octet-stream")


def slug(text: str) -> str:
    """Return a text as a part of an identifier.

    >>> slug("Ångström's 1st look: AIA/EVE")
    'ngstr-m-s-1st-look-AIA-EVE'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "x"


def dump(work: Work) -> str:
    """Return the work as JSON; `parse` reads it."""
    document = {
        "version": FORMAT,
        "id": work.id,
        "title": work.citation.title,
        "authors": [author.whole for author in work.citation.authors],
        "licenses": list(work.citation.licenses),
        "when": work.when,
        "doi": work.doi,
        "image": dataclasses.asdict(work.image) | {"platform": str(work.image.platform)},
        "notebooks": [dataclasses.asdict(book) for book in work.books],
        "inputs": [dataclasses.asdict(file) for file in work.inputs],
        "results": [dataclasses.asdict(file) for file in work.results],
        "settings": dataclasses.asdict(work.settings),
        "citation": dict(work.citation.document),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def parse(text: str | bytes, where: str = NAME) -> Work:
    """Read what `dump` wrote.

    Raises:
        HelioError: it is malformed, or of a later format.
    """
    table = load_json(text, where, _FORM)
    table.version("version", FORMAT)
    settings = table.table("settings", required=True)
    # The same checks as when it was published: the file may have been edited since.
    said = citations.parse(json.dumps(table.take("citation", dict)), f"{where} at citation")
    return Work(
        citation=said,
        image=_image(table.table("image", required=True)),
        books=tuple(_book(row) for row in table.tables("notebooks", required=True)),
        inputs=tuple(_file(row) for row in table.tables("inputs")),
        results=tuple(_file(row) for row in table.tables("results")),
        settings=WorkSettings(
            authority=settings.text("authority"),
            publisher=settings.text("publisher"),
            measurements=settings.strings("measurements"),
            network=settings.flag("network"),
            parameters=settings.mapping("parameters"),
        ),
        when=table.text("when"),
        doi=table.text("doi", ""),
    )


#: A path within the crate, which leads nowhere else.
PATH = Shape.of(r"(?!/)(?!(?:.*/)?\.\.?(?:/|$))[^\x00-\x1f\\]+", "a path within the folder")
_DIGEST = Shape.of(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits")


def _image(row: Table) -> WorkImage:
    return WorkImage(
        registry=row.text("registry"),
        name=row.text("name"),
        tag=row.text("tag", ""),
        digest=row.text("digest", shape=_DIGEST),
        title=row.text("title", ""),
        platform=Platform.of(row.text("platform", shape=PLATFORM)),
        python=row.text("python", ""),
        licenses=row.strings("licenses"),
    )


def _book(row: Table) -> WorkNotebook:
    return WorkNotebook(
        path=row.text("path", shape=PATH),
        title=row.text("title"),
        language=row.text("language", ""),
        executed=row.text("executed", shape=PATH),
        figures=row.strings("figures", shape=PATH),
        made=row.strings("made", shape=PATH),
        numbers=row.text("numbers", ""),
    )


def _file(row: Table) -> WorkFile:
    return WorkFile(path=row.text("path", shape=PATH), size=row.whole("size"), sha256=row.text("sha256", shape=SHA256))

"""A work as SPASE records: the image and the notebooks, what they drew and counted, and what binds them. Pure.

SPASE names no container and no notebook: both are Software here, and an executed notebook is a Document. Figures are
DisplayOutput, numbers NumericalOutput. These must say what was measured, in SPASE's words, which nobody can guess: they
are left out where neither an option nor a keyword of the work says it.

Spec: SPASE base model 2.7.0 (``http://www.spase-group.org/data/schema``).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass

from ..core.reading import Shape
from ..core.words import human_size
from .citation import Author
from .work import Work, WorkNotebook, slug

VERSION = "2.7.0"
FOLDER = "spase"
_SCHEMA = "http://www.spase-group.org/data/schema"
_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
#: What a naming authority is called.
AUTHORITY = Shape.of(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters and digits, e.g. NASA")
#: SPASE's list "Measurement Type".
MEASUREMENTS = (
    "ActivityIndex", "Dopplergram", "Dust", "ElectricField", "EnergeticParticles", "Ephemeris", "ImageIntensity",
    "InstrumentStatus", "IonComposition", "Irradiance", "MagneticField", "Magnetogram", "NeutralAtomImages",
    "NeutralGas", "Profile", "Radiance", "Spectrum", "SPICE", "ThermalPlasma", "Waves", "Waves.Active",
    "Waves.Passive",
)  # fmt: skip
#: Of its list "Format", what files' names tell.
_FORMATS = {
    "cdf": "CDF",
    "csv": "CSV",
    "fits": "FITS",
    "gif": "GIF",
    "h5": "HDF5",
    "hdf5": "HDF5",
    "html": "HTML",
    "ipynb": "JSON",
    "jpg": "JPEG",
    "json": "JSON",
    "nc": "NetCDF",
    "pdf": "PDF",
    "png": "PNG",
    "txt": "Text",
    "xml": "XML",
}
_PICTURES = ("PNG", "GIF", "JPEG", "PDF")

#: Archives' addresses; another one is found by the work that it holds.
_ARCHIVES = {"zenodo": "https://zenodo.org"}

#: A tag, and its text or its children.
Node = tuple[str, "str | list[Node]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaseRecord:
    """One record: its file in the crate, its ResourceID, and its XML."""

    path: str
    resource_id: str
    name: str
    text: str


def measured(keywords: Iterable[str]) -> tuple[str, ...]:
    """Return the measurement types that keywords name.

    >>> measured(["magnetic field", "AIA", "irradiance"])
    ('Irradiance', 'MagneticField')
    """
    words = {"".join(word.split()).lower() for word in keywords}
    return tuple(name for name in MEASUREMENTS if name.lower() in words)


def records(work: Work) -> tuple[SpaseRecord, ...]:
    """Return all records of a work; the collection, which names the others, is the last."""
    people = [_person(work, author) for author in dict.fromkeys(work.citation.authors)]
    made = [_image(work)]
    for book in work.books:
        made += [_software(work, book), _document(work, book)]
    if work.settings.measurements:
        for book in work.books:
            drawn = [path for path in book.made if _format(path) in _PICTURES]
            counted = [path for path in book.made if _format(path) and path not in drawn]
            made += [_output(work, book, path, "DisplayOutput") for path in (*book.figures, *drawn)]
            numbers = [book.numbers] if book.numbers else []
            made += [_output(work, book, path, "NumericalOutput") for path in (*numbers, *counted)]
    return (*people, _repository(work), *made, _collection(work, made))


def _image(work: Work) -> SpaseRecord:
    image = work.image
    said = f"The container image {image.reference}, in which the notebooks ran."
    return _record(
        work,
        "Software",
        f"image/{slug(image.name)}/{image.digest[7:23]}",
        f"{image.title or image.name}, container image",
        [
            *_access(work, f"docker://{image.reference}", image.licenses),
            ("SoftwareVersion", image.tag or image.digest),
            *([("CodeLanguage", f"Python {image.python}")] if image.python else []),
            ("Prerequisites", "A container engine: Docker, Podman or Apptainer"),
            ("ExecutionEnvironment", _environment(work)),
        ],
        said,
    )


def _software(work: Work, book: WorkNotebook) -> SpaseRecord:
    inputs: list[Node] = [
        ("InputProperty", [("Name", name), ("Description", f"A parameter of papermill, given as {value}")])
        for name, value in sorted(work.settings.parameters.items())
    ]
    return _record(
        work,
        "Software",
        f"notebook/{work.books.index(book) + 1}-{slug(book.path)}",
        book.title,
        [
            *_access(work, _address(work), work.citation.licenses, book.path),
            *([("SoftwareVersion", work.citation.version)] if work.citation.version else []),
            ("CodeLanguage", f"{book.language or 'python'} (Jupyter Notebook)"),
            ("Prerequisites", f"The container image {work.image.reference}"),
            ("ExecutionEnvironment", _environment(work)),
            *inputs,
        ],
        f"The notebook {book.path} of {work.citation.title}.",
    )


def _document(work: Work, book: WorkNotebook) -> SpaseRecord:
    return _record(
        work,
        "Document",
        f"executed/{work.books.index(book) + 1}-{slug(book.path)}",
        f"{book.title}, executed",
        [
            *_access(work, _address(work), work.citation.licenses, book.executed),
            *_keywords(work),
            ("DocumentType", "Report"),
            ("MIMEType", work.file(book.executed).media_type),
        ],
        f"The notebook {book.path} as it ran in {work.image.reference}, with its outputs.",
    )


def _output(work: Work, book: WorkNotebook, path: str, kind: str) -> SpaseRecord:
    file = work.file(path)
    return _record(
        work,
        kind,
        # Names that differ in spaces alone stay apart.
        f"result/{work.results.index(file) + 1}-{slug(path)}",
        f"{path.rpartition('/')[2]} of {book.title}",
        [
            *_access(work, _address(work), work.citation.licenses, path),
            *[("MeasurementType", name) for name in work.settings.measurements],
            *_keywords(work),
        ],
        f"{path}, {human_size(file.size)}, SHA-256 {file.sha256}: what {book.path} gave.",
    )


def _collection(work: Work, made: Iterable[SpaseRecord]) -> SpaseRecord:
    members: list[Node] = [
        ("Member", [("ResourceName", record.name), ("MemberID", record.resource_id)]) for record in made
    ]
    said = work.citation
    body: list[Node] = [*_access(work, _address(work), said.licenses), *members]
    return _record(work, "Collection", "work", said.title, body, said.abstract.strip() or said.title)


def _repository(work: Work) -> SpaseRecord:
    """Return the record of the archive, which the others name: whoever checks them finds it."""
    archive = work.settings.publisher
    address = _ARCHIVES.get(archive.lower()) or _address(work)
    body: list[Node] = [
        ("ResourceID", _repository_id(work)),
        ("NamingAuthority", work.settings.authority),
        ("ResourceType", "Repository"),
        (
            "ResourceHeader",
            [
                ("ResourceName", archive),
                ("ReleaseDate", work.when),
                ("Description", f"{archive}, the archive that holds {work.citation.title}."),
                # They wrote this record, not the archive.
                *_contacts(work, "MetadataContact"),
            ],
        ),
        ("AccessURL", [("Name", archive), ("URL", address)]),
    ]
    path = f"{FOLDER}/Repository/{slug(archive)}.xml"
    return SpaseRecord(path=path, resource_id=_repository_id(work), name=archive, text=_text("Repository", body))


def _repository_id(work: Work) -> str:
    return f"spase://{work.settings.authority}/Repository/{slug(work.settings.publisher)}"


def _contacts(work: Work, role: str) -> list[Node]:
    return [
        ("Contact", [("PersonID", _person_id(work, author)), ("Role", role)])
        for author in dict.fromkeys(work.citation.authors)
    ]


def _person(work: Work, author: Author) -> SpaseRecord:
    at = _person_id(work, author)
    body: list[Node] = [
        ("ResourceID", at),
        ("NamingAuthority", work.settings.authority),
        ("ResourceType", "Person"),
        ("ReleaseDate", work.when),
        *([] if author.name else [("PersonName", author.whole)]),
        ("OrganizationName", author.name or author.affiliation or "Not told"),
        *([("ORCIdentifier", author.orcid.rpartition("/")[2])] if author.orcid else []),
    ]
    path = f"{FOLDER}/Person/{at.rpartition('/')[2]}.xml"
    return SpaseRecord(path=path, resource_id=at, name=author.whole, text=_text("Person", body))


def _record(work: Work, kind: str, at: str, name: str, body: list[Node], description: str) -> SpaseRecord:
    identifier = f"spase://{work.settings.authority}/{kind}/{slug(work.citation.title)}/{work.id}/{at}"
    said = work.citation
    publication: list[Node] = [
        ("Title", said.title),
        ("Authors", "; ".join(_listed(author) for author in said.authors)),
        ("PublicationDate", work.when),
        ("PublishedBy", work.settings.publisher),
        *([("LandingPageURL", f"https://doi.org/{work.doi}")] if work.doi else []),
    ]
    more: list[Node] = [("InformationURL", [("Name", said.title), ("URL", said.url)])] if said.url else []
    header: list[Node] = [
        ("ResourceName", name),
        # The DOI is of all of it.
        *([("DOI", f"https://doi.org/{work.doi}")] if kind == "Collection" and work.doi else []),
        ("ReleaseDate", work.when),
        ("Description", description),
        ("PublicationInfo", publication),
        *_contacts(work, "Author"),
        *more,
    ]
    whole: list[Node] = [
        ("ResourceID", identifier),
        ("NamingAuthority", work.settings.authority),
        ("ResourceType", kind),
        ("ResourceHeader", header),
        *body,
    ]
    return SpaseRecord(
        path=f"{FOLDER}/{kind}/{slug(at)}.xml", resource_id=identifier, name=name, text=_text(kind, whole)
    )


def _access(work: Work, address: str, licenses: Iterable[str], path: str = "") -> list[Node]:
    rights: list[Node] = [("rights", name) for name in licenses]
    return [
        (
            "AccessInformation",
            [
                ("RepositoryID", _repository_id(work)),
                ("Availability", "Online"),
                ("AccessRights", "Open"),
                *([("rightsList", rights)] if rights else []),
                ("AccessURL", [*([("Name", path)] if path else []), ("URL", address)]),
                ("Format", _format(path) or "Binary"),
            ],
        )
    ]


def _environment(work: Work) -> list[Node]:
    return [
        ("OperatingSystem", f"Linux ({work.image.platform})"),
        (
            "Installer",
            [("Availability", "Online"), ("AccessRights", "Open"), ("URL", f"docker://{work.image.reference}")],
        ),
    ]


def _keywords(work: Work) -> list[Node]:
    return [("Keyword", word) for word in work.citation.keywords]


def _address(work: Work) -> str:
    """Return where the work is: at its DOI or, as long as it has none, with the image that it hangs on."""
    return f"https://doi.org/{work.doi}" if work.doi else f"docker://{work.image.reference}"


def _listed(author: Author) -> str:
    return author.name or ", ".join(part for part in (author.family, author.given) if part)


def _person_id(work: Work, author: Author) -> str:
    """Return SPASE's usual ``Given.Family``; where that says too little, with the author's place."""
    place = list(dict.fromkeys(work.citation.authors)).index(author) + 1
    words = ".".join(author.whole.split())
    plain = slug(words)
    name = plain if plain == words else f"{plain}.{place}"
    return f"spase://{work.settings.authority}/Person/{name}"


def _format(path: str) -> str:
    return _FORMATS.get(path.rpartition(".")[2].lower(), "")


def _text(kind: str, body: list[Node]) -> str:
    root = ElementTree.Element("Spase", {"xmlns": _SCHEMA, "xmlns:xsi": _INSTANCE})
    root.set("xsi:schemaLocation", f"{_SCHEMA} https://spase-group.org/data/schema/spase-{VERSION}.xsd")
    ElementTree.SubElement(root, "Version").text = VERSION
    _fill(ElementTree.SubElement(root, kind), body)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _fill(parent: ElementTree.Element, body: list[Node]) -> None:
    for tag, value in body:
        child = ElementTree.SubElement(parent, tag)
        if isinstance(value, str):
            # XML 1.0 has no way to write other control characters.
            child.text = "".join(character for character in value if character >= " " or character in "\t\n\r")
        else:
            _fill(child, value)

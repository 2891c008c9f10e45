"""Works that hang on an image, as a catalogue shows them: what, by whom, its figures, its DOI, and how to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..core.errors import HelioError
from ..publish.referrers import Artifact, read_blob
from ..works import attached
from ..works.attached import Shelf

#: Of one work; a page is no gallery.
_MOST_FIGURES, _MOST_BYTES = 12, 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A work.

    Attributes:
        reference: of its artifact, by digest: what `restore` takes.
        when: RFC 3339, of its publication.
        doi: empty if it has none.
        notebooks: their titles.
        figures: files of the site.
    """

    title: str
    reference: str
    authors: tuple[str, ...]
    licenses: tuple[str, ...]
    when: str
    doi: str
    notebooks: tuple[str, ...]
    figures: tuple[str, ...] = ()


def of_image(
    shelf: Shelf, artifacts: Iterable[Artifact], keep: Callable[[bytes, str, str], str], faults: list[str]
) -> tuple[Shown, ...]:
    """Return the works among what refers to an image, by title; what cannot be read is a fault of the image.

    Args:
        keep: as in `read.Source`.
    """
    works = []
    for artifact in artifacts:
        if artifact.type != attached.WORK:
            continue
        try:
            works.append(_shown(shelf, artifact.digest, keep))
        except HelioError as error:
            faults.append(f"a work that hangs on it cannot be read: {error.message}")
    return tuple(sorted(works, key=lambda work: (work.title, work.reference)))


def _shown(shelf: Shelf, digest: str, keep: Callable[[bytes, str, str], str]) -> Shown:
    made, blobs = attached.read(shelf, digest), attached.files(shelf, digest)
    drawn = [path for book in made.books for path in book.figures if path in blobs and blobs[path].size <= _MOST_BYTES]
    figures = []
    for number, path in enumerate(drawn[:_MOST_FIGURES], 1):
        data = read_blob(shelf.client, shelf.repository, blobs[path], shelf.store)
        # A file that says that it is a picture and is none is not shown as one.
        if data.startswith(b"\x89PNG"):
            figures.append(keep(data, f"{number}-{path.rpartition('/')[2]}", digest))
    return Shown(
        title=made.citation.title,
        reference=f"{shelf.client.host}/{shelf.repository}@{digest}",
        authors=tuple(author.whole for author in made.citation.authors),
        licenses=made.citation.licenses,
        when=made.when,
        doi=made.doi,
        notebooks=tuple(book.title for book in made.books),
        figures=tuple(path for path in figures if path),
    )

"""All notebooks that are known to run, whoever published them: what the catalogue's page of notebooks searches. Pure.

A row is found by its title, by who published it, and by the packages of its image: *Irradiance of AIA*, *Parker*,
*aiapy*. Rows may be of other registries than the catalogue's own; those lead to no page of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .model import Catalogue, CatalogueEntry, ImagePage
from .works import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class NotebookRow:
    """A notebook.

    Attributes:
        who: published it: a work's authors; empty for a smoke notebook, which is the image's own.
        work: the title of the work that it is of, empty for none.
        image: the image's reference by digest.
        tag: its name for people.
        page: of the image in this site, empty if it has none here.
        run: the command that runs it again, empty where it is run by nothing but tests.
        packages: where the image's packages are, in `Index.packages`.
    """

    title: str
    who: str
    work: str
    when: str
    doi: str
    image: str
    name: str
    tag: str
    page: str
    run: str
    packages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Rows, the newest works first, then smoke notebooks; and the names of each image's packages, in one text."""

    rows: tuple[NotebookRow, ...]
    packages: tuple[str, ...]


def index(home: Catalogue, others: Iterable[Catalogue] = ()) -> Index:
    """Return the notebooks of a catalogue, and of others that are read besides."""
    works: list[NotebookRow] = []
    smoke: list[NotebookRow] = []
    packages: list[str] = []
    for catalogue in (home, *others):
        for image in catalogue.images:
            for entry in image.entries:
                # Of builds that nobody should start any more, people's works are still theirs.
                newest = entry is image.newest and entry.smoke is not None
                if not (newest or entry.works):
                    continue
                place = _NotebookPlace(
                    catalogue=catalogue, image=image, entry=entry, here=catalogue is home, at=len(packages)
                )
                packages.append(_packages(entry))
                works += [row for work in entry.works for row in place.of_work(work)]
                smoke += place.of_smoke() if newest else []
    works.sort(key=lambda row: (row.work, row.title, row.image))
    works.sort(key=lambda row: row.when, reverse=True)
    smoke.sort(key=lambda row: (row.image, row.title))
    return Index(rows=(*works, *smoke), packages=tuple(packages))


def packages_of_newest(catalogues: Iterable[Catalogue]) -> list[str]:
    """Return the names of the packages of each image's newest build, in one text each."""
    return [_packages(image.newest) for catalogue in catalogues for image in catalogue.images]


def _packages(entry: CatalogueEntry) -> str:
    return " ".join(sorted({package.name for package in entry.contents.packages}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotebookPlace:
    """Where a notebook ran."""

    catalogue: Catalogue
    image: ImagePage
    entry: CatalogueEntry
    here: bool
    at: int

    def of_work(self, work: Shown) -> list[NotebookRow]:
        who = ", ".join(work.authors)
        run = f"buildimages restore {work.reference}"
        return [self._row(title, who, work.title, work.when, work.doi, run) for title in work.notebooks]

    def of_smoke(self) -> list[NotebookRow]:
        books = self.entry.smoke.notebooks if self.entry.smoke else ()
        return [self._row(book.title, "", "", self.entry.created, "", "") for book in books if book.status == "passed"]

    def _row(self, title: str, who: str, work: str, when: str, doi: str, run: str) -> NotebookRow:
        return NotebookRow(
            title=title,
            who=who,
            work=work,
            when=when,
            doi=doi,
            image=f"{self.catalogue.registry}/{self.image.repository}@{self.entry.named}",
            name=self.image.name if self.here else f"{self.catalogue.registry}/{self.image.repository}",
            tag=self.entry.tag,
            page=f"tags/{self.entry.id}.html" if self.here else "",
            run=run,
            packages=self.at,
        )

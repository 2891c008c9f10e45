"""The stage `set-doi`: a crate, and a DOI that an archive gave it, in; the same crate with the DOI out.

The notebooks, their outputs and the image stay as they are. Only the documents that name the work are written anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..core import files
from ..core.errors import HelioError, Stage
from . import documents, work
from .citation import DOI
from .work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A work that has a DOI now, and its documents by path."""

    work: Work
    documents: dict[str, bytes]


def with_doi(crate: Path, doi: str) -> Told:
    """Write a DOI into a crate's documents.

    Args:
        doi: bare, or as an address.

    Raises:
        HelioError: it is no DOI, or the folder no crate.
    """
    bare = doi.removeprefix("https://doi.org/").removeprefix("doi:")
    if not DOI.fits(bare):
        raise HelioError(Stage.USAGE, f"`{doi}` is no DOI", detail=f"expected {DOI.meaning}")
    path = crate / work.NAME
    if not path.is_file():
        raise HelioError(
            Stage.USAGE,
            f"`{crate}` is not a crate of `publish-work`",
            detail=f"expected a folder with {work.NAME}",
            hint="give the folder that `buildimages publish-work` wrote",
        )
    made = replace(work.parse(path.read_bytes(), str(path)), doi=bare)
    told = documents.of(made)
    for name, data in told.items():
        (crate / name).parent.mkdir(parents=True, exist_ok=True)
        files.write(crate / name, data)
    return Told(work=made, documents=told)

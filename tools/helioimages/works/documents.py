"""All documents that describe a work, by their path in its crate. Pure."""

from __future__ import annotations

from . import citation, crate, datacite, spase, work
from .work import Work


def of(made: Work) -> dict[str, bytes]:
    """Return every document of a work: the same work, the same bytes."""
    image = f"docker://{made.image.reference}"
    texts = {
        citation.NAME: citation.dump(made.citation, doi=made.doi, released=made.date, image=image),
        crate.NAME: crate.metadata(made),
        datacite.NAME: datacite.metadata(made),
        work.NAME: work.dump(made),
        **{record.path: record.text for record in spase.records(made)},
    }
    return {path: text.encode() for path, text in sorted(texts.items())}

"""A work as DataCite metadata, as DataCite's REST API takes it and Zenodo's importers read it. Pure.

Spec: DataCite Metadata Schema 4.7; its JSON has the names of the REST API's attributes.
"""

from __future__ import annotations

import json
from typing import Any

from .citation import Author
from .work import Work

NAME = "datacite.json"


def metadata(work: Work) -> str:
    """Return ``datacite.json``; without a DOI, ``doi`` is left out."""
    said, image = work.citation, work.image
    document: dict[str, Any] = {
        "doi": work.doi,
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "types": {
            "resourceTypeGeneral": "ComputationalNotebook",
            "resourceType": "Notebooks, executed, as a Workflow Run RO-Crate",
        },
        "creators": [_creator(author) for author in said.authors],
        "titles": [{"title": said.title}],
        "publisher": {"name": work.settings.publisher},
        "publicationYear": work.when[:4],
        "dates": [{"date": work.date, "dateType": "Issued"}],
        "subjects": [{"subject": word} for word in said.keywords],
        "version": said.version,
        "formats": sorted({file.media_type for file in (*work.inputs, *work.results)}),
        "rightsList": [
            {
                "rights": name,
                "rightsUri": f"https://spdx.org/licenses/{name}.html",
                "rightsIdentifier": name,
                "rightsIdentifierScheme": "SPDX",
                "schemeUri": "https://spdx.org/licenses/",
            }
            for name in said.licenses
        ],
        "descriptions": [{"description": said.abstract.strip(), "descriptionType": "Abstract"}]
        if said.abstract
        else [],
        "relatedIdentifiers": [
            {
                "relatedIdentifier": f"docker://{image.reference}",
                "relatedIdentifierType": "URL",
                "relationType": "Requires",
                "resourceTypeGeneral": "Software",
            },
            *(
                [{"relatedIdentifier": said.url, "relatedIdentifierType": "URL", "relationType": "IsDerivedFrom"}]
                if said.url
                else []
            ),
        ],
    }
    kept = {name: value for name, value in document.items() if value}
    return json.dumps(kept, indent=1, ensure_ascii=False) + "\n"


def _creator(author: Author) -> dict[str, Any]:
    if author.name:
        row: dict[str, Any] = {"name": author.name, "nameType": "Organizational"}
    else:
        row = {
            "name": ", ".join(part for part in (author.family, author.given) if part),
            "nameType": "Personal",
            "givenName": author.given,
            "familyName": author.family,
        }
    if author.affiliation:
        row["affiliation"] = [{"name": author.affiliation}]
    if author.orcid:
        row["nameIdentifiers"] = [
            {"nameIdentifier": author.orcid, "nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
        ]
    return {name: value for name, value in row.items() if value}

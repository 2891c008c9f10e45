"""A work as a Workflow Run RO-Crate: what ran, in which image, on what, by whom, and what came of it. Pure.

Each notebook is a workflow of its own with an action of its own; the first is the crate's main one.

Spec: RO-Crate 1.1; Workflow RO-Crate 1.0; Workflow Run RO-Crate 0.5 (process and workflow).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.reading import SHA256, Form, Table, load_json
from .citation import Author
from .work import EXECUTED, PATH, Work, WorkFile, WorkNotebook, slug

NAME = "ro-crate-metadata.json"
_RO_CRATE = "https://w3id.org/ro/crate/1.1"
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
_TERMS = "https://w3id.org/ro/terms/workflow-run"
_IMAGE, _NOTEBOOK, _NETWORK = "#image", "#jupyter-notebook", "network"
_FORM = Form(json=True, hint="expected a crate of `buildimages publish-work`")

Entity = dict[str, Any]


def metadata(work: Work) -> str:
    """Return ``ro-crate-metadata.json``."""
    graph = [_descriptor(), _root(work), *_people(work), *_contexts(work)]
    for book in work.books:
        graph += _action(work, book)
    graph += [_file(work, file) for file in (*work.inputs, *work.results)]
    document = {"@context": [f"{_RO_CRATE}/context", f"{_TERMS}/context"], "@graph": graph}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _descriptor() -> Entity:
    return {
        "@id": NAME,
        "@type": "CreativeWork",
        "about": _ref("./"),
        "conformsTo": [_ref(_RO_CRATE), _ref("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
    }


def _root(work: Work) -> Entity:
    said = work.citation
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": said.title,
        "description": said.abstract.strip() or said.title,
        "datePublished": work.when,
        "license": _one(_refs(map(_license, said.licenses))),
        "author": _refs(_people_ids(work).values()),
        "keywords": ", ".join(said.keywords),
        "version": said.version,
        "url": said.url,
        "identifier": f"https://doi.org/{work.doi}" if work.doi else "",
        "publisher": _ref("#publisher"),
        "conformsTo": _refs(_PROFILES),
        "mainEntity": _ref(_iri(work.books[0].path)),
        "mentions": _refs(_action_id(work, book) for book in work.books),
        "hasPart": _refs(_iri(file.path) for file in (*work.inputs, *work.results)),
    }
    return {name: value for name, value in root.items() if value}


def _people(work: Work) -> list[Entity]:
    people: dict[str, Entity] = {}
    for author in work.citation.authors:
        row: Entity = {
            "@id": _people_ids(work)[author],
            "@type": "Organization" if author.name else "Person",
            "name": author.whole,
        }
        if not author.name:
            row |= {"givenName": author.given, "familyName": author.family}
        if author.affiliation:
            organisation = f"#organization-{slug(author.affiliation)}"
            row["affiliation"] = _ref(organisation)
            people[organisation] = {"@id": organisation, "@type": "Organization", "name": author.affiliation}
        people.setdefault(row["@id"], {name: value for name, value in row.items() if value})
    people["#publisher"] = {"@id": "#publisher", "@type": "Organization", "name": work.settings.publisher}
    return list(people.values())


def _contexts(work: Work) -> list[Entity]:
    image = work.image
    licenses = [
        {"@id": _license(name), "@type": "CreativeWork", "name": name, "identifier": _license(name)}
        for name in work.citation.licenses
    ]
    profiles = [
        {"@id": at, "@type": "CreativeWork", "name": name, "version": version}
        for at, (name, version) in _PROFILES.items()
    ]
    container = {
        "@id": _IMAGE,
        "@type": "ContainerImage",
        "additionalType": _ref(f"{_TERMS}#DockerImage"),
        "name": image.name,
        "alternateName": image.title,
        "registry": image.registry,
        "tag": image.tag,
        "sha256": image.digest.removeprefix("sha256:"),
        # Of its packages, each once.
        "license": list(image.licenses),
        "operatingSystem": str(image.platform),
    }
    language = {
        "@id": _NOTEBOOK,
        "@type": "ComputerLanguage",
        "name": "Jupyter Notebook",
        "alternateName": "ipynb",
        "identifier": _ref("https://nbformat.readthedocs.io/en/latest/format_description.html"),
        "url": _ref("https://jupyter.org"),
        "version": "4",
    }
    kept = {name: value for name, value in container.items() if value}
    return [*licenses, *profiles, kept, language]


def _action(work: Work, book: WorkNotebook) -> list[Entity]:
    """Return a notebook's run, with its parameters as they were given and as they are declared."""
    key = _key(work, book)
    given = dict(sorted(work.settings.parameters.items()))
    declared = [
        {
            "@id": f"#parameter-{key}-{slug(name)}",
            "@type": "FormalParameter",
            "conformsTo": _ref("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
            "additionalType": "Text",
            "name": name,
            "workExample": _ref(f"#value-{key}-{slug(name)}"),
        }
        for name in given
    ]
    values = [
        {
            "@id": f"#value-{key}-{slug(name)}",
            "@type": "PropertyValue",
            "name": name,
            "value": value,
            "exampleOfWork": _ref(f"#parameter-{key}-{slug(name)}"),
        }
        for name, value in given.items()
    ]
    output = {
        "@id": f"#output-{key}",
        "@type": "FormalParameter",
        "conformsTo": _ref("https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"),
        "additionalType": "File",
        "name": "executed notebook",
        "workExample": _ref(_iri(book.executed)),
    }
    network = {
        "@id": f"#network-{key}",
        "@type": "PropertyValue",
        "name": _NETWORK,
        "value": "reachable" if work.settings.network else "none",
    }
    others = [file.path for file in work.inputs if file.path not in {book.path for book in work.books}]
    results = [book.executed, *book.figures, *([book.numbers] if book.numbers else []), *book.made]
    action = {
        "@id": _action_id(work, book),
        "@type": "CreateAction",
        "name": f"Run of {book.title}",
        "description": f"{book.path} was run by papermill in {work.image.reference}",
        "agent": _ref(_people_ids(work)[work.citation.authors[0]]),
        "instrument": _ref(_iri(book.path)),
        "containerImage": _ref(_IMAGE),
        "object": [*_refs(_iri(path) for path in others), *_refs(value["@id"] for value in values)],
        "result": _refs(map(_iri, results)),
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "endTime": work.when,
        "additionalProperty": _ref(network["@id"]),
    }
    return [{name: value for name, value in action.items() if value}, *declared, *values, output, network]


def _file(work: Work, file: WorkFile) -> Entity:
    row: Entity = {
        "@id": _iri(file.path),
        "@type": "File",
        "name": file.path,
        "encodingFormat": file.media_type,
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }
    for book in work.books:
        key = _key(work, book)
        if file.path == book.path:
            row |= {
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                "conformsTo": _ref("https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"),
                "name": book.title,
                "programmingLanguage": _ref(_NOTEBOOK),
                "author": _refs(_people_ids(work).values()),
                "license": _one(_refs(map(_license, work.citation.licenses))),
                "input": _refs(f"#parameter-{key}-{slug(name)}" for name in sorted(work.settings.parameters)),
                "output": [_ref(f"#output-{key}")],
            }
        if file.path == book.executed:
            row |= {"name": f"{book.title}, executed", "exampleOfWork": _ref(f"#output-{key}")}
    return {name: value for name, value in row.items() if value}


def _action_id(work: Work, book: WorkNotebook) -> str:
    return f"#run-{_key(work, book)}"


def _key(work: Work, book: WorkNotebook) -> str:
    """Return what a notebook's entities are named by; names that differ in spaces alone stay apart by their place."""
    return f"{work.books.index(book) + 1}-{slug(book.path)}"


def _people_ids(work: Work) -> dict[Author, str]:
    """Return each author's ``@id``; names that differ in accents alone stay apart by their place."""
    return {
        author: author.orcid or f"#author-{place}-{slug(author.whole)}"
        for place, author in enumerate(work.citation.authors, 1)
    }


def _license(name: str) -> str:
    return f"https://spdx.org/licenses/{name}"


def _ref(at: str) -> Entity:
    return {"@id": at}


def _refs(ids: Any) -> list[Entity]:
    return [_ref(at) for at in ids]


def _one(values: Sequence[Entity]) -> Entity | list[Entity]:
    return values[0] if len(values) == 1 else list(values)


def _iri(path: str) -> str:
    """Return a path as an ``@id``. Spec: RO-Crate 1.1, "Encoding file paths"."""
    return re.sub(r"[^A-Za-z0-9._~/!$&'()*+,;=:@-]", lambda match: _percent(match[0]), path)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _path(at: str) -> str:
    parts = re.sub(
        r"(?:%[0-9A-Fa-f]{2})+", lambda match: bytes.fromhex(match[0].replace("%", "")).decode("utf-8", "replace"), at
    )
    return parts.removeprefix("./")


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One action of a crate: a notebook, and the copy of it that was left."""

    notebook: str
    executed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrateRecipe:
    """What a crate says of how it came to be: enough to do it again.

    Attributes:
        registry, name, digest: of the image.
        runs: in their order.
        files: path -> SHA-256 of what went in.
        parameters: given to every notebook.
        network: the notebooks could reach it.
    """

    title: str
    registry: str
    name: str
    digest: str
    runs: tuple[Run, ...]
    files: Mapping[str, str] = field(hash=False)
    parameters: Mapping[str, str] = field(hash=False)
    network: bool


def read(text: str | bytes, where: str = NAME) -> CrateRecipe:
    """Read a crate's metadata, as `metadata` writes it.

    Raises:
        HelioError: it is no run of notebooks in one container image; names the entity.
    """
    document = load_json(text, where, _FORM)
    rows = document.take("@graph", list)
    entities = {row["@id"]: (at, row) for at, row in enumerate(rows) if isinstance(row, dict) and "@id" in row}

    def entity(at: str) -> Table:
        if at not in entities:
            raise document.error("@graph", f"expected an entity {at}")
        index, row = entities[at]
        return Table(row, where, f"@graph[{index}]", _FORM)

    root = entity("./")
    runs: list[Run] = []
    files: dict[str, str] = {}
    parameters: dict[str, str] = {}
    image, network = "", False
    for at in _ids(root, "mentions"):
        action = entity(at)
        notebook = _inside(action, _single(action, "instrument"))
        image = _single(action, "containerImage")
        executed = [path for path in map(_path, _ids(action, "result")) if path.startswith(f"{EXECUTED}/")]
        if len(executed) != 1:
            raise action.error("result", f"expected one executed notebook in {EXECUTED}/")
        for given in [*_ids(action, "object"), *_ids(action, "additionalProperty")]:
            if not given.startswith("#"):
                files.setdefault(_inside(action, given), "")
            elif given in entities:
                row = entity(given)
                name, value = row.text("name"), row.text("value")
                if given.startswith("#network-"):
                    network = network or value != "none"
                else:
                    parameters[name] = value
        files.setdefault(notebook, "")
        runs.append(Run(notebook=notebook, executed=_inside(action, executed[0])))
    if not runs:
        raise root.error("mentions", "expected the runs of notebooks")
    for path in files:
        if _iri(path) in entities:
            files[path] = entity(_iri(path)).text("sha256", "")
    container = entity(image)
    return CrateRecipe(
        title=root.text("name", ""),
        registry=container.text("registry"),
        name=container.text("name"),
        digest=f"sha256:{container.text('sha256', shape=SHA256)}",
        runs=tuple(runs),
        files=files,
        parameters=parameters,
        network=network,
    )


def _ids(row: Table, name: str) -> list[str]:
    value = row.take(name, object, [])
    ids = []
    for reference in value if isinstance(value, list) else [value]:
        if not isinstance(reference, Mapping) or not isinstance(reference.get("@id"), str):
            raise row.error(name, 'expected references, {"@id": …}')
        ids.append(reference["@id"])
    return ids


def _single(row: Table, name: str) -> str:
    ids = _ids(row, name)
    if len(ids) != 1:
        raise row.error(name, f"expected one reference not {len(ids)}")
    return ids[0]


def _inside(row: Table, at: str) -> str:
    path = _path(at)
    if not PATH.fits(path):
        raise row.error("@id", f"expected {PATH.meaning} not {at[:200]}")
    return path

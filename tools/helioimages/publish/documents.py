"""What `publish` hangs on an image besides its tags: its package list, and the smoke report with executed notebooks.

Both are OCI referrers, so they change no byte of the image. Equal documents are attached once.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core import files as core_files
from ..core.digest import of_bytes
from ..core.package import Package
from ..locks import state
from ..locks.read import Locks
from ..machine.store import Store
from ..make.building import Built
from ..oci.document import load
from ..oci.image import Image, artifact
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from .contents import Contents, dump_list
from .referrers import CREATED, TITLE

PACKAGES = "application/vnd.helioimages.packages.v1+json"
SMOKE = "application/vnd.helioimages.smoke.v1"
#: Of a smoke report's artifact: the key of the run, see `smoke.run.key`.
SMOKE_KEY = "io.helioimages.smoke.key"
_MEDIA_TYPES = {".json": "application/json", ".html": "text/html", ".ipynb": "application/x-ipynb+json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file of an artifact; the name is for people, and may be empty."""

    name: str
    media_type: str
    data: bytes


def attach(
    client: Registry, repository: str, built: Built, report: Path, store: Store, *, smoke_key: str = ""
) -> tuple[str, ...]:
    """Attach an image's package list and its smoke report, and return the digests of the two artifacts.

    Args:
        report: the folder that `smoke.smoke` wrote.
        smoke_key: names the image and its notebooks, for whoever asks whether they passed; see `smoke.run.key`.

    Raises:
        HelioError: the registry refuses.
    """
    listed = Attachment(artifact_type=PACKAGES, files=(_listed(built),))
    attached = [attach_files(client, repository, built.image, listed, store)]
    if files := smoke_files(report, built.image.digest):
        made = datetime.datetime.fromtimestamp(int((report / "report.json").stat().st_mtime), datetime.UTC)
        created = f"{made:%Y-%m-%dT%H:%M:%SZ}"
        said = {SMOKE_KEY: smoke_key} if smoke_key else {}
        ran = Attachment(artifact_type=SMOKE, files=files, created=created, annotations=said)
        attached.append(attach_files(client, repository, built.image, ran, store))
    return tuple(attached)


def unsigned(built: Built, report: Path) -> tuple[Document, ...]:
    """Return the documents that `attach` hangs on an image, for a statement that names them."""
    return (_listed(built), *smoke_files(report, built.image.digest))


def _listed(built: Built) -> Document:
    return Document(name="packages.json", media_type=PACKAGES, data=dump_list(of_locks(built.locks).packages))


def of_locks(lock: Locks) -> Contents:
    """Return the packages of an image's locks."""
    rows = (*state.packages(lock.conda, lock.pypi), *state.debs(lock.apt))
    # As a package list names them.
    packages = {(row.kind, row.name): Package(kind=row.kind, name=row.name, version=row.version) for row in rows}
    return Contents(packages=tuple(packages[key] for key in sorted(packages)), source="locks", complete=True)


def smoke_files(report: Path, digest: str) -> tuple[Document, ...]:
    """Return a report's files: `report.json`, `report.html` and the executed notebooks.

    None if there is no report, or if it is about another image: one that passed before is not run again, and the folder
    may hold what was run since.
    """
    try:
        reference = json.loads((report / "report.json").read_bytes())["reference"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    if not str(reference).endswith(f"@{digest}"):
        return ()
    paths = [report / "report.json", report / "report.html", *sorted(report.glob("*.ipynb"))]
    return tuple(
        Document(name=path.name, media_type=_MEDIA_TYPES[path.suffix], data=path.read_bytes())
        for path in paths
        if path.exists()
    )


def passed(store: Store, key: str, report: Path, digest: str) -> bool:
    """Say whether an image's notebooks passed before, and the very report of that run is at hand.

    Args:
        key: names the image and its notebooks; see `smoke.run.key`.
        report: the folder of reports, which may hold another image's, or one of some notebooks only.
    """
    known = store.recall("smoke", key)
    files = smoke_files(report, digest)
    return bool(files) and isinstance(known, dict) and known.get("report") == of_bytes(files[0].data)


def remember_passed(store: Store, key: str, report: Path, digest: str) -> None:
    """Remember that an image's notebooks passed, and by which report."""
    written = of_bytes((report / "report.json").read_bytes())
    store.remember("smoke", key, {"image": digest, "passed": True, "report": written})


def passed_elsewhere(
    client: Registry, repository: str, key: str, digest: str
) -> tuple[str, Mapping[str, Descriptor]] | None:
    """Return the report of a run that passed on another machine: this very image with these very notebooks.

    Args:
        key: see `smoke.run.key`.

    Returns:
        The digest of the artifact, and its files by name; None if there is no such run.

    Raises:
        HelioError: the registry refuses, or a document is not what its digest says.
    """
    for referrer in client.referrers(repository, digest, SMOKE):
        answer = client.get_manifest(repository, referrer.digest)
        where = f"{client.host}/{repository}@{referrer.digest}"
        manifest = Manifest.parse(answer[1], where) if answer else None
        if manifest is None or manifest.annotations.get(SMOKE_KEY) != key:
            continue
        files = {layer.annotations.get(TITLE, ""): layer for layer in manifest.layers}
        if "report.json" not in files or any(not name or "/" in name or name.startswith(".") for name in files):
            continue
        told = load(client.get_bytes(repository, files["report.json"]), where)
        if not isinstance(told, dict) or told.get("passed") is not True:
            continue
        if str(told.get("reference")).endswith(f"@{digest}"):
            return referrer.digest, files
    return None


def fetch_passed(client: Registry, repository: str, key: str, digest: str, report: Path) -> bool:
    """Bring the report of `passed_elsewhere`, and say whether there is one.

    Args:
        report: the folder that the report's files are written to.

    Raises:
        HelioError: the registry refuses, or a document is not what its digest says.
    """
    passed = passed_elsewhere(client, repository, key, digest)
    if passed is None:
        return False
    report.mkdir(parents=True, exist_ok=True)
    for name, layer in passed[1].items():
        core_files.write(report / name, client.get_bytes(repository, layer))
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One artifact that refers to an image.

    Attributes:
        created: RFC 3339; of several reports of one image the newest counts. Empty for none.
        annotations: beside its time.
    """

    artifact_type: str
    files: tuple[Document, ...]
    created: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


def attach_files(client: Registry, repository: str, subject: Image, attachment: Attachment, store: Store) -> str:
    """Attach files to an image as one artifact, unless it is there, and return its digest.

    Raises:
        HelioError: the registry refuses.
    """
    layers = [
        Descriptor(
            media_type=file.media_type,
            digest=store.put_blob(file.data),
            size=len(file.data),
            annotations={TITLE: file.name} if file.name else {},
        )
        for file in attachment.files
    ]
    said = {**attachment.annotations, **({CREATED: attachment.created} if attachment.created else {})}
    refers = artifact(subject.descriptor, attachment.artifact_type, layers[0], said)
    manifest = replace(refers, layers=tuple(layers))
    digest = of_bytes(manifest.dump())
    if any(referrer.digest == digest for referrer in client.referrers(repository, subject.digest)):
        return digest
    store.put_blob(b"{}")
    for blob in (*layers, manifest.config):
        client.push_blob(repository, blob, store.blob(blob.digest))
    return client.attach(repository, manifest)

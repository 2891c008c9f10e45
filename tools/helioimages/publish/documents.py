"""What `publish` hangs on an image besides its tags: its package list, and the smoke report with executed notebooks.

Both are OCI referrers, so they change no byte of the image. Equal documents are attached once.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..core.digest import canonical_json, of_bytes
from ..core.package import Package
from ..locks import state
from ..locks.read import Locks
from ..machine.store import Store
from ..make.building import Built
from ..oci.image import Image, artifact
from ..oci.registry import Registry
from ..oci.types import Descriptor
from .contents import Contents, dump_list
from .referrers import CREATED, TITLE

PACKAGES = "application/vnd.helioimages.packages.v1+json"
SMOKE = "application/vnd.helioimages.smoke.v1"
#: Of a smoke report's artifact: the key of the run, see `smoke.run.key`.
SMOKE_KEY = "io.helioimages.smoke.key"
#: Of the same: an ECDSA P-256 signature over `run_payload`, in base64.
SMOKE_SIGNATURE = "io.helioimages.smoke.signature"
_MEDIA_TYPES = {".json": "application/json", ".html": "text/html", ".ipynb": "application/x-ipynb+json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file of an artifact; the name is for people, and may be empty."""

    name: str
    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSubject:
    """What a report is of, for whoever asks later whether it is needed again.

    Attributes:
        key: names the image and its notebooks; see `smoke.run.key`.
        sign: gives a signature in base64 over what it is given; None signs nothing.
    """

    key: str
    sign: Callable[[bytes], str] | None = None

    def annotations(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return what the report's artifact says of it.

        Args:
            files: name -> digest, of the report.
        """
        said = {SMOKE_KEY: self.key}
        return said | {SMOKE_SIGNATURE: self.sign(run_payload(self.key, files))} if self.sign else said


def run_payload(key: str, files: Mapping[str, str]) -> bytes:
    """Return what is signed of a run: its key, and name -> digest of its report's files."""
    return canonical_json({"run": key, "files": dict(files)})


def attach(
    client: Registry, repository: str, built: Built, report: Path, store: Store, *, run: ReportSubject | None = None
) -> tuple[str, ...]:
    """Attach an image's package list and its smoke report, and return the digests of the two artifacts.

    Args:
        report: the folder that `smoke.smoke` wrote.
        run: what that is of.

    Raises:
        HelioError: the registry refuses.
    """
    listed = Attachment(artifact_type=PACKAGES, files=(_listed(built),))
    attached = [attach_files(client, repository, built.image, listed, store)]
    if files := smoke_files(report, built.image.digest):
        made = datetime.datetime.fromtimestamp(int((report / "report.json").stat().st_mtime), datetime.UTC)
        created = f"{made:%Y-%m-%dT%H:%M:%SZ}"
        said = run.annotations({file.name: of_bytes(file.data) for file in files}) if run else {}
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

"""What refers to an image in a registry: SBOM, provenance, signature, smoke report. Any registry, any tool's artifacts.

Two ways exist to hang a document on an image: OCI 1.1's referrers (with the ``sha256-<hex>`` tag where the registry
lacks the API; `oci.registry` reads both), and cosign's older tags ``sha256-<hex>.sig``, ``.att`` and ``.sbom``.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..core.errors import HelioError, Stage
from ..core.words import count
from ..machine.store import Store
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from .contents import Contents, from_list, from_sbom

#: Parts of artifact and media types -> our word; the first that matches counts.
_TYPES = (
    ("packages", ("helioimages.packages",)),
    ("weight", ("helioimages.weight",)),
    # Before reports: a work has executed notebooks, too.
    ("work", ("helioimages.work",)),
    ("sbom", ("cyclonedx", "spdx")),
    ("signature", ("cosign", "sigstore", "simplesigning", "notary.signature")),
    ("provenance", ("in-toto", "slsa", "dsse")),
    ("smoke", ("smoke", "helioimages.report", "nbformat", "x-ipynb")),
)
_COSIGN = {"sig": "signature", "att": "provenance", "sbom": "sbom"}
TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"
#: Where cosign keeps the signature of a payload.
SIGNATURE = "dev.cosignproject.cosign/signature"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"
#: An SBOM of 1,000 packages with its files has some tens of megabytes; more is not read.
_MOST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A document about an image.

    Attributes:
        kind: ``sbom``, ``packages``, ``weight``, ``work``, ``signature``, ``provenance``, ``smoke`` or ``other``.
        type: the artifact type as the registry has it.
        digest: of its manifest.
        files: its blobs.
        created: RFC 3339, empty if it does not say.
    """

    kind: str
    type: str
    digest: str
    files: tuple[Descriptor, ...]
    created: str = ""


def kind_of(artifact_type: str, media_types: Iterable[str] = (), predicate: str = "") -> str:
    """Return our word for an artifact.

    Args:
        predicate: what a Sigstore bundle states: it may hold a signature or a provenance.

    >>> kind_of("application/vnd.cyclonedx+json")
    'sbom'
    """
    if "slsa.dev/provenance" in predicate:
        return "provenance"
    if predicate and "cosign/sign" not in predicate:
        # A statement about the image, but neither its signature nor a document that others read as it is.
        return "other"
    for text in (artifact_type, *media_types):
        for kind, parts in _TYPES:
            if any(part in text.lower() for part in parts):
                return kind
    return "other"


def artifacts(
    client: Registry, repository: str, digest: str, *, tags: Collection[str], store: Store
) -> tuple[Artifact, ...]:
    """Return what refers to a manifest, by kind, the newest last.

    Args:
        tags: all of the repository's tags, to find cosign's.

    Raises:
        HelioError: the registry refuses, or a document is malformed.
    """
    by_digest = {}
    for referrer in client.referrers(repository, digest):
        if (manifest := _manifest(client, repository, referrer.digest, store)) is not None:
            # The manifest first: cosign's own lists name the type of the config.
            media_type = manifest.artifact_type or referrer.artifact_type or manifest.config.media_type
            predicate = manifest.annotations.get("dev.sigstore.bundle.predicateType", "")
            kind = kind_of(media_type, [layer.media_type for layer in manifest.layers], predicate)
            created = manifest.annotations.get(CREATED, "")
            by_digest[referrer.digest] = Artifact(
                kind=kind, type=media_type, digest=referrer.digest, files=manifest.layers, created=created
            )
    for suffix, kind in _COSIGN.items():
        tag = f"{digest.replace(':', '-')}.{suffix}"
        if tag in tags and (got := client.get_manifest(repository, tag)) is not None:
            manifest = Manifest.parse(got[1], f"{repository}:{tag}")
            media_type = manifest.layers[0].media_type if manifest.layers else manifest.config.media_type
            by_digest[got[0].digest] = Artifact(kind=kind, type=media_type, digest=got[0].digest, files=manifest.layers)
    return tuple(sorted(by_digest.values(), key=lambda artifact: (artifact.kind, artifact.created, artifact.digest)))


def contents_of(client: Registry, repository: str, attached: Iterable[Artifact], store: Store) -> Contents | None:
    """Return the packages of an image's SBOM or package list, whichever knows most; None if it has neither.

    Raises:
        HelioError: none of them can be read; as `read_blob` and `contents.from_sbom` say.
    """
    best: Contents | None = None
    fault: HelioError | None = None
    for artifact in attached:
        for file in artifact.files if artifact.kind in ("sbom", "packages") else ():
            where = f"{client.host}/{repository}@{artifact.digest}"
            try:
                if file.size > _MOST_BYTES:
                    raise HelioError(Stage.CHECK, "cannot read an SBOM", where=where, detail=count(file.size, "byte"))
                text = _plain(read_blob(client, repository, file, store, keep=False), where)
                contents = from_sbom(text, where) if artifact.kind == "sbom" else from_list(text, where)
            except HelioError as error:
                fault = error
                continue
            if best is None or _known(contents) > _known(best):
                best = contents
    if best is None and fault is not None:
        raise fault
    return best


def _plain(data: bytes, where: str) -> bytes:
    """Return the bytes, unpacked if they are gzip, but never more than we read of any SBOM."""
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise HelioError(Stage.CHECK, "cannot read an SBOM", where=where, detail=f"not gzip: {error}") from error
    if not unpacker.eof:
        raise HelioError(
            Stage.CHECK,
            "cannot read an SBOM",
            where=where,
            detail=f"it is cut, or unpacks to over {_MOST_BYTES:,} bytes",
        )
    return text


def read_blob(client: Registry, repository: str, file: Descriptor, store: Store, *, keep: bool = True) -> bytes:
    """Return a blob's bytes, verified, from the store if it has them.

    Args:
        keep: put them there. A year of SBOMs is gigabytes, and only their package lists are needed again.

    Raises:
        HelioError: missing, or not what the descriptor says.
    """
    if (there := store.read_blob(file.digest)) is not None:
        return there
    # An SBOM is larger than what a registry may answer at once.
    stream = io.BytesIO()
    client.pull_blob(repository, file, stream)
    data = stream.getvalue()
    if keep:
        store.put_blob(data)
    return data


def _manifest(client: Registry, repository: str, digest: str, store: Store) -> Manifest | None:
    if (there := store.read_blob(digest)) is not None:
        return Manifest.parse(there, f"{repository}@{digest}")
    answer = client.get_manifest(repository, digest)
    if answer is None:
        return None
    store.put_blob(answer[1])
    return Manifest.parse(answer[1], f"{repository}@{digest}")


def _known(contents: Contents) -> tuple[int, int]:
    return len(contents.packages), sum(bool(package.licenses) for package in contents.packages)

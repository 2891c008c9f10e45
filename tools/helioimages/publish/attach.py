"""What `publish` hangs on an image so that others can trust it: SBOMs, provenance and, with a key, signatures.

All are OCI referrers, and signatures are under the tags of cosign 1 and 2 too. They are made once for an image and kept
in the store, so that an unchanged image gets the same documents, and nothing is pushed twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import __version__
from ..core.digest import canonical_json, key_of, of_bytes
from ..machine.store import Store
from ..make.building import Built
from ..oci.registry import Registry
from ..oci.types import CONFIG, Descriptor, Manifest
from . import documents, provenance, referrers, sbom
from .documents import Attachment, Document

#: Raised when the same image would get other documents.
_FORMAT = 2
_COSIGN_TYPES = {
    "https://cyclonedx.org/bom": "cyclonedx",
    "https://spdx.dev/Document": "spdxjson",
    provenance.PREDICATE: "slsaprovenance1",
    provenance.REFERENCE: "reference",
}
#: So often the list of what refers to an image is looked at, and mended.
_PUBLISHERS = 3


def check_key(path: Path) -> None:
    """Refuse a key that cannot sign, before any work is done.

    Raises:
        HelioError: as `signing.load_private` says.
    """
    from . import signing

    signing.load_private(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A published image that documents are about.

    Attributes:
        client, repository: where it is.
        root: the checkout that it was built from, for its commit.
        others: what is attached to it beside what is made here; one signed statement names them all.
    """

    client: Registry
    repository: str
    built: Built
    root: Path
    store: Store
    others: tuple[Document, ...] = ()

    @property
    def name(self) -> str:
        """How signatures call it: ``host/repository``."""
        return f"{self.client.host}/{self.repository}"

    @property
    def place(self) -> str:
        """The address that its blobs are below."""
        return f"{self.client.ping()}/v2/{self.repository}/blobs"


def attach(subject: Subject, *, key: Path | None) -> tuple[str, ...]:
    """Attach SBOMs and provenance, and signatures of them and of the image if there is a key; return their digests.

    Args:
        key: of cosign or PKCS 8, in PEM.

    Raises:
        HelioError: a file belongs to no component, the key cannot be used, or the registry refuses.
    """
    client, repository, built, store = subject.client, subject.repository, subject.built, subject.store
    made = _documents(built, subject.root, store)
    for _ in range(_PUBLISHERS):
        done = [
            documents.attach_files(
                client,
                repository,
                built.image,
                Attachment(artifact_type=document.media_type, files=(document,)),
                store,
            )
            for document in made.values()
        ]
        tags: list[str] = []
        if key is not None:
            bundles, tags = _sign(subject, made, key)
            done += bundles
        # Without the referrers API there is one list, which another publisher may have overwritten meanwhile.
        if {*done} <= {referrer.digest for referrer in client.referrers(repository, built.image.digest)}:
            break
    return (*done, *tags)


def has_documents(built: Built, store: Store) -> bool:
    """Say whether an image's documents were made before, so that no package's metadata must be read."""
    known = store.recall("trust", _memo(built))
    return known is not None and all(store.read_blob(digest) is not None for digest in known.values())


def _memo(built: Built) -> str:
    return key_of([_FORMAT, __version__, built.image.digest])


def _documents(built: Built, root: Path, store: Store) -> dict[str, Document]:
    """Return the documents by predicate type, made once for an image: a later commit does not change its provenance."""
    memo = _memo(built)
    known = store.recall("trust", memo)
    names = {
        "https://cyclonedx.org/bom": ("sbom.cdx.json", sbom.CYCLONEDX),
        "https://spdx.dev/Document": ("sbom.spdx.json", sbom.SPDX),
        provenance.PREDICATE: ("provenance.json", provenance.IN_TOTO),
    }
    if known is None or not has_documents(built, store):
        components = sbom.components(store, built)
        said = provenance.predicate(built, commit=provenance.commit_of(root), tool_version=__version__)
        texts = (
            sbom.cyclonedx(built, components, __version__),
            sbom.spdx(built, components, __version__),
            provenance.statement(built.spec.name, built.image.digest, provenance.PREDICATE, said),
        )
        known = {kind: store.put_blob(text) for kind, text in zip(names, texts, strict=True)}
        # What is believed of layers that nobody has read here is not believed by later runs.
        if not store.lent:
            store.remember("trust", memo, known)
    return {
        kind: Document(name=name, media_type=media_type, data=store.blob(known[kind]).read_bytes())
        for kind, (name, media_type) in names.items()
    }


def _sign(subject: Subject, made: dict[str, Document], path: Path) -> tuple[list[str], list[str]]:
    """Sign, and return the digests of the bundles and of what is under cosign's tags."""
    # Only those who sign need the libraries of cryptography.
    from . import signing

    key = signing.load_private(path)
    client, repository, store, image = subject.client, subject.repository, subject.store, subject.built.image
    payload = signing.payload(subject.name, image.digest)
    signature = _descriptor(store, payload, signing.PAYLOAD, {referrers.SIGNATURE: signing.sign(key, payload)})
    done, sealed = [], []
    statements = _statements(subject.name, image.digest, made, subject.place, subject.others)
    for kind, text in statements.items():
        envelope = signing.envelope(key, provenance.IN_TOTO, text)
        if kind != signing.SIGNED:
            sealed.append(
                _descriptor(store, envelope, referrers.ENVELOPE, {"predicateType": kind, referrers.SIGNATURE: ""})
            )
        bundle = Document(name="", media_type=signing.BUNDLE, data=signing.bundle(key, envelope))
        said = {"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": kind}
        # Not the clock's time: the same image gets the same bundle.
        attachment = Attachment(
            artifact_type=signing.BUNDLE, files=(bundle,), created=image.config.created, annotations=said
        )
        done.append(documents.attach_files(client, repository, image, attachment, store))
    tagged = {"sig": [signature], "att": sealed}
    return done, [_put_tag(client, repository, image.digest, suffix, rows, store) for suffix, rows in tagged.items()]


def write_predicates(subject: Subject, folder: Path) -> None:
    """Write what is to be said of an image for who signs it otherwise: a file a type, as cosign names the types.

    Raises:
        HelioError: a file belongs to no component.
    """
    made = _documents(subject.built, subject.root, subject.store)
    folder.mkdir(parents=True, exist_ok=True)
    for kind, said in _predicates(made, subject.place, subject.others).items():
        (folder / f"{_COSIGN_TYPES[kind]}.json").write_bytes(canonical_json(said))


def _statements(
    name: str, digest: str, made: dict[str, Document], place: str, others: Sequence[Document]
) -> dict[str, bytes]:
    """Return what is signed, by predicate type: the image, and what `_predicates` has to say of it."""
    from . import signing

    statements = {signing.SIGNED: provenance.statement(name, digest, signing.SIGNED, {})}
    for kind, said in _predicates(made, place, others).items():
        # The provenance is attached as a statement, and signed as it is.
        attached = made[kind].data if kind == provenance.PREDICATE else b""
        statements[kind] = attached or provenance.statement(name, digest, kind, said)
    return statements


def _predicates(made: dict[str, Document], place: str, others: Sequence[Document]) -> dict[str, object]:
    """Return the provenance, the SBOMs as cosign's types want them, and the names of all documents, by type.

    The SBOM with every file is too large to be signed as it is; the one without them names it by digest.
    """
    predicates: dict[str, object] = {}
    for kind, document in made.items():
        said = sbom.without_files(document.data) if document.media_type == sbom.CYCLONEDX else json.loads(document.data)
        predicates[kind] = said["predicate"] if kind == provenance.PREDICATE else said
    files = [(document.name, document.media_type, of_bytes(document.data)) for document in (*made.values(), *others)]
    return {**predicates, provenance.REFERENCE: provenance.reference(files, place)}


def _descriptor(store: Store, data: bytes, media_type: str, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(media_type=media_type, digest=store.put_blob(data), size=len(data), annotations=annotations)


def _put_tag(
    client: Registry, repository: str, digest: str, suffix: str, layers: list[Descriptor], store: Store
) -> str:
    """Put layers under cosign's tag of an image, beside those of other keys, and return the manifest's digest."""
    tag = f"{digest.replace(':', '-')}.{suffix}"
    there = client.get_manifest(repository, tag)
    known = Manifest.parse(there[1], f"{client.host}/{repository}:{tag}").layers if there else ()
    new = [layer for layer in layers if layer not in known]
    if there and not new:
        return there[0].digest
    merged = (*known, *new)
    # cosign reads this as an image, so the config lists the layers as one's does.
    config = canonical_json(
        {
            "architecture": "",
            "os": "",
            "created": "0001-01-01T00:00:00Z",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [descriptor.digest for descriptor in merged]},
        }
    )
    manifest = Manifest(
        config=Descriptor(media_type=CONFIG, digest=store.put_blob(config), size=len(config)), layers=merged
    )
    for blob in (*new, manifest.config):
        client.push_blob(repository, blob, store.blob(blob.digest))
    data = manifest.dump()
    client.put_manifest(repository, tag, data)
    return of_bytes(data)

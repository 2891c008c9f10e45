"""What `publish` hangs on an image so that others can trust it: SBOMs, provenance and, with a key, signatures.

All are OCI referrers, and signatures are under cosign's tags too. They are made once for an image and kept in the
store, so that an unchanged image gets the same documents, and nothing is pushed twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import __version__, documents, provenance, sbom
from .building import Built
from .digest import canonical_json, key_of, of_bytes
from .documents import Document
from .oci.image import Image
from .oci.registry import Registry
from .oci.types import CONFIG, Descriptor, Manifest
from .store import Store

SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
#: Raised when the same image would get other documents.
_FORMAT = 1


def attach(
    client: Registry, repository: str, built: Built, root: Path, store: Store, *, key: Path | None
) -> tuple[str, ...]:
    """Attach SBOMs and provenance, and signatures of them and of the image if there is a key; return their digests.

    Args:
        root: the checkout, for its commit.
        key: of cosign or PKCS 8, in PEM.

    Raises:
        HelioError: a file belongs to no component, the key cannot be used, or the registry refuses.
    """
    made = _documents(built, root, store)
    done = [
        documents.attach_files(client, repository, built.image, one.media_type, [one], store) for one in made.values()
    ]
    if key is not None:
        done += _sign(client, repository, built.image, made, key, store)
    return tuple(done)


def _documents(built: Built, root: Path, store: Store) -> dict[str, Document]:
    """Return the documents by predicate type, made once for an image: a later commit does not change its provenance."""
    memo = key_of([_FORMAT, __version__, built.image.digest])
    known = store.recall("trust", memo)
    names = {
        "https://cyclonedx.org/bom": ("sbom.cdx.json", sbom.CYCLONEDX),
        "https://spdx.dev/Document": ("sbom.spdx.json", sbom.SPDX),
        provenance.PREDICATE: ("provenance.json", provenance.IN_TOTO),
    }
    if known is None or not all(store.blob(digest).exists() for digest in known.values()):
        found = sbom.components(store, built)
        said = provenance.predicate(built, commit=provenance.commit_of(root), tool_version=__version__)
        texts = (
            sbom.cyclonedx(built, found, __version__),
            sbom.spdx(built, found, __version__),
            provenance.statement(built.spec.name, built.image.digest, provenance.PREDICATE, said),
        )
        known = {kind: store.put_blob(text) for kind, text in zip(names, texts, strict=True)}
        store.remember("trust", memo, known)
    return {
        kind: Document(name=name, media_type=media_type, data=store.blob(known[kind]).read_bytes())
        for kind, (name, media_type) in names.items()
    }


def _sign(
    client: Registry, repository: str, image: Image, made: dict[str, Document], path: Path, store: Store
) -> list[str]:
    # Only those who sign need the libraries of cryptography.
    from . import signing

    key = signing.load_private(path)
    payload = signing.payload(f"{client.host}/{repository}", image.digest)
    signature = _descriptor(store, payload, signing.PAYLOAD, {signing.SIGNATURE: signing.sign(key, payload)})
    done = [
        _put_tag(client, repository, image.digest, "sig", [signature], store),
        _refer(client, repository, image, signature, store),
    ]
    statement = made[provenance.PREDICATE].data
    envelope = signing.envelope(key, provenance.IN_TOTO, statement)
    sealed = [
        _descriptor(
            store,
            envelope,
            signing.ENVELOPE,
            {"predicateType": provenance.PREDICATE, signing.SIGNATURE: ""},
        )
    ]
    for kind, one in made.items():
        if kind != provenance.PREDICATE:
            # The SBOM is large: the statement names it by digest, and the registry has it once.
            text = provenance.statement(
                repository, image.digest, kind, {"digest": of_bytes(one.data), "mediaType": one.media_type}
            )
            envelope = signing.envelope(key, provenance.IN_TOTO, text)
            sealed.append(
                _descriptor(store, envelope, signing.ENVELOPE, {"predicateType": kind, signing.SIGNATURE: ""})
            )
    return [*done, _put_tag(client, repository, image.digest, "att", sealed, store)]


def _descriptor(store: Store, data: bytes, media_type: str, annotations: dict[str, str]) -> Descriptor:
    return Descriptor(media_type=media_type, digest=store.put_blob(data), size=len(data), annotations=annotations)


def _refer(client: Registry, repository: str, image: Image, one: Descriptor, store: Store) -> str:
    """Attach a signature as OCI 1.1's referrer."""
    manifest = replace(documents.artifact(image.descriptor, SIGNATURE, one), layers=(one,))
    digest = of_bytes(manifest.dump())
    if any(other.digest == digest for other in client.referrers(repository, image.digest)):
        return digest
    store.put_blob(b"{}")
    for blob in (one, manifest.config):
        client.push_blob(repository, blob, store.blob(blob.digest))
    return client.attach(repository, manifest)


def _put_tag(
    client: Registry, repository: str, digest: str, suffix: str, layers: list[Descriptor], store: Store
) -> str:
    """Put layers under cosign's tag of an image, beside those of other keys, and return the manifest's digest."""
    tag = f"{digest.replace(':', '-')}.{suffix}"
    there = client.get_manifest(repository, tag)
    known = Manifest.parse(there[1], f"{client.host}/{repository}:{tag}").layers if there else ()
    new = [one for one in layers if one not in known]
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
            "rootfs": {"type": "layers", "diff_ids": [one.digest for one in merged]},
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

"""What one key signed of a published image, in cosign's old places and in Sigstore's bundles.

A signature counts if it is this key's, over this image, and names the repository that it was made for: the same key
signs what is tried and what is released, and neither may pass for the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from ..core.digest import canonical_json, of_bytes
from ..core.errors import HelioError
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from ..publish import provenance, referrers, sbom, signing

#: As an identity: a signature may name any repository, or none.
ANY = "*"


@dataclass(slots=True)
class _Signed:
    """What was found of this key: the names that it signed the image under, and the digests of signed documents."""

    seen: int = 0
    names: set[str] = field(default_factory=set)
    documents: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a key is said to have signed of an image.

    Attributes:
        identity: the ``host/repository`` that a signature must name; `ANY` for any.
        documents: digest -> artifact type of what is attached to the image and has to be signed.
        bundles: digest -> bytes of the Sigstore bundles among them.
    """

    identity: str
    documents: Mapping[str, str]
    bundles: Mapping[str, bytes]


def faults(client: Registry, repository: str, image: Image, path: Path, claim: Claim) -> Iterator[str]:
    """Yield what this key did not sign.

    Args:
        path: of the public key.
    """
    identity = claim.identity
    key = signing.load_public(path)
    signed = _Signed()
    tag = image.digest.replace(":", "-")
    try:
        for layer in _layers(client, repository, f"{tag}.sig"):
            data, signature = client.get_bytes(repository, layer), layer.annotations.get(referrers.SIGNATURE, "")
            signed.seen += 1
            if signing.good(key, data, signature) and signing.signed_digest(data) == image.digest:
                signed.names.add(signing.signed_name(data))
        for layer in _layers(client, repository, f"{tag}.att"):
            _take(signed, signing.open_envelope(key, client.get_bytes(repository, layer)), image.digest)
    except HelioError as error:
        yield f"signature: {' '.join(f'{error.message} {error.detail}'.split())}"
    for digest, data in claim.bundles.items():
        claimed, text = signing.open_bundle(key, data)
        signed.seen += 1
        if claimed and text is None:
            yield f"bundle {digest}: it names this key, which did not sign it"
        if text is not None and not _take(signed, text, image.digest):
            yield f"bundle {digest}: expected a statement about {image.digest} not about another"
    if not signed.names:
        yield f"signature: none of {signed.seen} is this key's over {image.digest}"
    elif identity != ANY and not any(_same(name, identity) for name in signed.names):
        repositories = ", ".join(sorted(name or "no repository" for name in signed.names))
        yield f"signature: expected one made for {identity} not for {repositories}"
    for digest, kind in claim.documents.items():
        if digest not in signed.documents:
            yield f"{kind}: this key did not sign {digest}"


def attested(key: ec.EllipticCurvePublicKey, data: bytes, signature: str) -> tuple[str, frozenset[str]]:
    """Return the digest of the image that a key signed, and those of the documents that it vouches for with it.

    The first is empty if this is no signature of the key's.

    Args:
        data: a payload with its signature; or a Sigstore bundle or an envelope, and no signature beside it.
    """
    if signature:
        return (signing.signed_digest(data) if signing.good(key, data, signature) else ""), frozenset()
    text = signing.open_bundle(key, data)[1] or signing.open_envelope(key, data)
    subjects = provenance.subjects(text) if text is not None else ()
    return (subjects[0][1], _vouched(text)) if text is not None and len(subjects) == 1 else ("", frozenset())


def _take(signed: _Signed, text: bytes | None, digest: str) -> bool:
    """Note what a good statement says; return whether it is about the image."""
    subjects = provenance.subjects(text) if text is not None else ()
    if text is None or [about for _, about in subjects] != [digest]:
        return False
    statement = json.loads(text)
    if statement.get("predicateType") == signing.SIGNED:
        signed.names.add(subjects[0][0])
    signed.documents |= _vouched(text)
    return True


def _vouched(text: bytes) -> frozenset[str]:
    """Return the digests of the documents that a statement vouches for.

    The provenance is the statement itself, SPDX the predicate, CycloneDX and the smoke report what the predicate names.
    """
    predicate = json.loads(text).get("predicate")
    named = {sbom.whole_of(predicate), *provenance.referred(predicate)} - {""}
    return frozenset({of_bytes(text), of_bytes(canonical_json(predicate)), *named})


def _same(name: str, identity: str) -> bool:
    """Say whether two names are of one repository: some signers put a tag or a digest behind it."""
    if name == identity:
        return True
    try:
        place = Reference.parse(name)
    except HelioError:
        return False
    return f"{place.host}/{place.repository}" == identity


def _layers(client: Registry, repository: str, tag: str) -> tuple[Descriptor, ...]:
    got = client.get_manifest(repository, tag)
    return Manifest.parse(got[1], f"{repository}:{tag}").layers if got else ()

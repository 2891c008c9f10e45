"""Is what hangs on a published image signed by a key, so that whoever has that key need not sign it again?

Two small signatures say all: that of the image, made for this very repository, and that of the statement that names
every document by its sha256. No document is fetched. `verify --key` looks at all of it, byte by byte.
"""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric import ec

from ..oci.registry import Registry
from ..oci.types import Manifest
from . import documents, provenance, referrers, sbom, signing, weights

#: What is stated of an image, a bundle each.
_STATED = {
    signing.SIGNED,
    "https://cyclonedx.org/bom",
    "https://spdx.dev/Document",
    provenance.PREDICATE,
    provenance.REFERENCE,
}
_PREDICATE = "dev.sigstore.bundle.predicateType"
#: Documents that must all be named, whoever hung them there.
_NAMED = {documents.PACKAGES, weights.TYPE, sbom.CYCLONEDX, sbom.SPDX, provenance.IN_TOTO}


def fault(client: Registry, repository: str, digest: str, report: str, key: ec.EllipticCurvePublicKey) -> str:
    """Say what of a published image a key did not sign; empty if it signed all.

    Args:
        digest: of the image.
        report: digest of the artifact that is the report of its notebooks.

    Raises:
        HelioError: the registry refuses, or a document is not what its digest says.
    """
    name = f"{client.host}/{repository}"
    if not _image(client, repository, digest, name, key):
        return f"the key did not sign it for {name}"
    named: set[str] = set()
    stated: set[str] = set()
    files: dict[str, str] = {}
    for referrer in client.referrers(repository, digest):
        answer = client.get_manifest(repository, referrer.digest)
        if answer is None:
            continue
        manifest = Manifest.parse(answer[1], f"{name}@{referrer.digest}")
        kind = manifest.artifact_type or manifest.config.media_type
        if kind == signing.BUNDLE:
            said = manifest.annotations.get(_PREDICATE, "")
            stated.add(said)
            if said == provenance.REFERENCE:
                named |= _referred(client.get_bytes(repository, manifest.layers[0]), digest, key)
        elif kind in _NAMED or referrer.digest == report:
            files |= {layer.digest: kind for layer in manifest.layers}
    if lacking := _STATED - stated:
        return f"no bundle states {', '.join(sorted(lacking))}"
    if unsigned := sorted({kind for file, kind in files.items() if file not in named}):
        return f"the key did not sign its {', '.join(unsigned)}"
    return ""


def _image(client: Registry, repository: str, digest: str, name: str, key: ec.EllipticCurvePublicKey) -> bool:
    """Say whether a key signed an image for its repository, where cosign 1 and 2 look."""
    answer = client.get_manifest(repository, f"{digest.replace(':', '-')}.sig")
    for layer in Manifest.parse(answer[1], name).layers if answer else ():
        data = client.get_bytes(repository, layer)
        good = signing.good(key, data, layer.annotations.get(referrers.SIGNATURE, ""))
        if good and (signing.signed_digest(data), signing.signed_name(data)) == (digest, name):
            return True
    return False


def _referred(data: bytes, digest: str, key: ec.EllipticCurvePublicKey) -> set[str]:
    """Return the digests of the documents that a bundle names with an image, if it is the key's."""
    text = signing.open_bundle(key, data)[1]
    if text is None or [about for _, about in provenance.subjects(text)] != [digest]:
        return set()
    return set(provenance.referred(json.loads(text).get("predicate")))

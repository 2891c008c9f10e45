"""Verify a published image: every digest, what refers to it, its signature; and that this checkout builds the same.

Every fault is a line; all are told together. The registry is not believed: each blob is fetched and hashed.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.digest import of_bytes
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import bar, step
from ..core.reading import parse_json
from ..core.words import count
from ..machine.store import Store
from ..make import linking
from ..make.building import Built
from ..oci import validate
from ..oci.absent import absent
from ..oci.image import Image
from ..oci.reference import Reference
from ..oci.registry import Registry
from ..oci.types import Descriptor, Manifest
from ..publish import provenance, referrers, weights
from ..publish.contents import from_sbom, layer_names
from ..spec import tags
from . import layerdiff

_MOST_LINES = 50
_MOST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found.

    Attributes:
        digest: of the image, empty if there is none.
        checked: what was looked at, for people.
        faults: none if the image can be trusted.
    """

    reference: str
    digest: str
    checked: tuple[str, ...]
    faults: tuple[str, ...]

    def check(self) -> None:
        """Raise one error with all faults.

        Raises:
            HelioError: there are faults.
        """
        if self.faults:
            rest = len(self.faults) - _MOST_LINES
            more = [f"… and {rest} more"] if rest > 0 else []
            raise HelioError(
                Stage.CHECK,
                f"`{self.reference}` is not what it should be: " + count(len(self.faults), "fault"),
                detail="\n".join([*self.faults[:_MOST_LINES], *more]),
                hint="do not use this image before the cause is known",
            )


def fetch(client: Registry, reference: Reference, platform: Platform) -> Image:
    """Return the image that a reference names; a tag that never moves must agree with a digest beside it.

    Raises:
        HelioError: there is none, a document is not what its digest says, or the tag was moved.
    """
    image = client.get_image(reference.repository, reference.digest or reference.tag or "latest", platform)
    if image is None:
        raise absent(client, reference, str(reference), Stage.CHECK)
    if reference.digest and tags.is_immutable(reference.tag):
        named = client.head_manifest(reference.repository, reference.tag)
        if named is None or named.digest != reference.digest:
            raise HelioError(
                Stage.CHECK,
                f"the tag `{reference.tag}` does not name this image",
                where=str(reference),
                detail=f"expected {reference.digest} not {named.digest if named else 'nothing'}",
                hint="such tags never move: somebody moved it, or the digest is another image's",
            )
    return image


def published(
    client: Registry,
    reference: Reference,
    image: Image,
    folder: Path,
    *,
    key: Path | None = None,
    identity: str = "",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Check what the registry holds of an image, and return what was checked and the faults.

    Args:
        folder: gets the layers that are whole, named by their digest's hex.
        key: a public key that must have signed the image and its documents.
        identity: the ``host/repository`` that the signature must name, ``*`` for any; by default the reference's.
    """
    repository = reference.repository
    faults: list[str] = []
    checked: list[str] = []
    faults += _tag_faults(reference, image)
    with bar("pull the layers", sum(layer.size for layer in image.layers), unit="bytes") as advance:
        for number, layer in enumerate(image.layers):
            place = _place(folder, layer.digest)
            try:
                with open(place, "wb") as file:
                    client.pull_blob(repository, layer, file)
            except HelioError as error:
                place.unlink()
                faults.append(f"layers[{number}]: {_line(error)}")
            advance(layer.size)
    with step("unpack and hash the layers"):
        # A layer that did not arrive whole is told once.
        faults += [
            line
            for line in validate.faults(image, lambda digest: _place(folder, digest), jobs=os.cpu_count() or 1)
            if "is missing" not in line
        ]
    checked.append(f"manifest, config and {count(len(image.layers), 'layer')}")
    kinds: list[str] = []
    documents: dict[str, str] = {}
    bundles: dict[str, bytes] = {}
    reports: list[tuple[str, str, dict[str, str]]] = []
    for referrer in client.referrers(repository, image.digest):
        try:
            kind, created, texts = _document(client, repository, image, referrer)
            kinds.append(kind)
            if kind.startswith("application/vnd.dev.sigstore.bundle"):
                bundles[referrer.digest] = texts[0]
            # Whoever reads an SBOM may read any blob of it.
            files = {of_bytes(data): kind for data in texts}
            if referrers.kind_of(kind) in ("sbom", "packages", "weight") or kind == provenance.IN_TOTO:
                documents |= files
            elif referrers.kind_of(kind) == "smoke":
                reports.append((created, referrer.digest, files))
            for data in texts:
                faults += [f"{kind} {referrer.digest}: {line}" for line in content_faults(kind, data, image)]
        except HelioError as error:
            faults.append(f"referrer {referrer.digest}: {_line(error)}")
    # The newest report is the one that people are shown; others may be of the time before there was a key.
    documents |= max(reports)[2] if reports else {}
    if not any(map(_is_sbom, kinds)):
        faults.append("there is no SBOM that can be read")
    if provenance.IN_TOTO not in kinds:
        faults.append("there is no provenance that can be read")
    checked.append(count(len(kinds), "referrer"))
    checked += [f"{kind} ({number})" if number > 1 else kind for kind, number in sorted(Counter(kinds).items())]
    if key is not None:
        # Only those who check need the libraries of cryptography.
        from . import signatures

        name = identity or f"{reference.host}/{repository}"
        claim = signatures.Claim(identity=name, documents=documents, bundles=bundles)
        faults += signatures.faults(client, repository, image, key, claim)
        checked.append(f"the signature for {name}" if name != signatures.ANY else "the signature")
    return tuple(checked), tuple(faults)


def rebuilt(built: Built, image: Image, folder: Path, store: Store) -> tuple[str, ...]:
    """Return where a published image differs from what this checkout builds; nothing if they are equal.

    Args:
        folder: has the published layers, as `published` left them.
    """
    if built.image.digest == image.digest:
        return ()
    differences = []
    layers = {made.layer.diff_id: made for at in built.line for made in at.layers}
    names = layer_names(built.image.config)
    ours, theirs = built.image.config.diff_ids, image.config.diff_ids
    if len(ours) != len(theirs):
        differences.append(f"expected {count(len(ours), 'layer')} not {len(theirs)}")
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        if mine == other:
            continue
        layer, path = layers[mine], _place(folder, image.layers[number].digest)
        name = f"layers[{number}] ({names[number]})"
        if not path.exists():
            differences.append(f"{name}: expected {mine} not {other}")
            continue
        owners = {member: origin for member, (origin, _) in linking.files_of(store, layer.key).items()}
        try:
            rows = layerdiff.compare(store.blob(layer.layer.digest), path, owners)
            differences += [f"{name}: {row}" for row in rows] or [f"{name}: the tar streams differ, no entry does"]
        except HelioError as error:
            differences.append(f"{name}: {_line(error)}")
    mine, other = json.loads(built.image.config_bytes), json.loads(image.config_bytes)
    differences += [f"config{row}" for row in _json_faults(mine, other) if not row.startswith((".rootfs", ".history"))]
    if not differences:
        differences.append(f"expected manifest {built.image.digest} not {image.digest}: another compressor or history")
    return tuple(differences)


def folder(store: Store) -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a published image's layers, gone when it is closed."""
    return tempfile.TemporaryDirectory(dir=store.root / "tmp", prefix="verify.")


def _tag_faults(reference: Reference, image: Image) -> Iterator[str]:
    """A lock tag names the lock that the image says it is of, so a tag that was moved shows."""
    lock_digest = image.config.labels.get("io.helioimages.lock", "").removeprefix("sha256:")[:12]
    if reference.tag.startswith("lock-") and reference.tag != f"lock-{lock_digest}":
        yield f"tag: expected an image of {reference.tag} not of lock-{lock_digest or '?'}"


def _document(client: Registry, repository: str, image: Image, descriptor: Descriptor) -> tuple[str, str, list[bytes]]:
    """Return a referrer's artifact type, or the media type that tells more, its time, and its documents, hashed."""
    got = client.get_manifest(repository, descriptor.digest)
    if got is None:
        raise HelioError(Stage.CHECK, "it is listed, and missing")
    manifest = Manifest.parse(got[1], descriptor.digest)
    subject = manifest.subject.digest if manifest.subject else "none"
    if subject != image.digest:
        raise HelioError(Stage.CHECK, "it speaks of another image", detail=f"expected {image.digest} not {subject}")
    blobs = [_blob(client, repository, blob) for blob in manifest.layers]
    if not blobs:
        raise HelioError(Stage.CHECK, "it is empty")
    kind = manifest.artifact_type or descriptor.artifact_type or manifest.config.media_type
    # What the catalogue takes for an SBOM or a report is one here too.
    if referrers.kind_of(kind) == "other":
        words = [(blob.media_type, referrers.kind_of(blob.media_type)) for blob in manifest.layers]
        kind = next((text for text, word in words if word in ("sbom", "packages", "weight", "smoke")), kind)
    return kind, manifest.annotations.get(referrers.CREATED, ""), blobs


def _blob(client: Registry, repository: str, descriptor: Descriptor) -> bytes:
    """Return a document's bytes, verified; SBOMs are larger than what a registry may answer at once."""
    if descriptor.size > _MOST_BYTES:
        raise HelioError(Stage.CHECK, f"{descriptor.digest} is too large", detail=count(descriptor.size, "byte"))
    stream = io.BytesIO()
    client.pull_blob(repository, descriptor, stream)
    return stream.getvalue()


def content_faults(kind: str, data: bytes, image: Image) -> Iterator[str]:
    """Yield what is wrong with a document that is attached to an image.

    Raises:
        HelioError: an SBOM cannot be read.
    """
    if _is_sbom(kind):
        if not from_sbom(data, kind).packages:
            yield "it names no package"
        document = parse_json(data)
        rows = _get(document, "packages")
        rows = rows if isinstance(rows, list) else ()
        version = _get(document, "metadata", "component", "version") or next(
            (_get(row, "versionInfo") for row in rows if _get(row, "SPDXID") == "SPDXRef-image"), None
        )
        if version != image.digest:
            yield f"expected an SBOM of {image.digest} not of {version or 'nothing'}"
    elif kind == provenance.IN_TOTO:
        yield from _statement_faults(data, image.digest)
    elif kind == weights.TYPE and len(weights.parse(data, kind).unpacked) != len(image.layers):
        yield f"expected the sizes of {count(len(image.layers), 'layer')}"


def _is_sbom(kind: str) -> bool:
    return referrers.kind_of(kind) == "sbom"


def _statement_faults(data: bytes, digest: str) -> Iterator[str]:
    subjects = [about for _, about in provenance.subjects(data)]
    if subjects != [digest]:
        yield f"expected a statement about {digest} not about {', '.join(subjects) or 'nothing'}"


def _json_faults(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}):
            yield from _json_faults(ours.get(key), theirs.get(key), f"{at}.{key}")
    elif ours != theirs:
        yield f"{at}: expected {json.dumps(ours)} not {json.dumps(theirs)}"


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _place(folder: Path, digest: str) -> Path:
    return folder / digest.removeprefix("sha256:")


def _line(error: HelioError) -> str:
    return " ".join(f"{error.message} {error.detail}".split())

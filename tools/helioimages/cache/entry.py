"""The format of a layer cache, as frozen values: what stands in a registry for a layer that was made somewhere.

An entry is an OCI artifact. Its config says everything (and is carried in the descriptor's ``data``, so that one
request reads it); its blobs are the layer and the list of the layer's files. A signature, if there is one, is over the
config's bytes. Pure.

Spec: image-spec v1.1, manifest.md, "Guidelines for Artifact Usage"; descriptor.md, "Embedded Content".
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

from ..core.digest import HEX, canonical_json, of_bytes
from ..core.errors import HelioError, Stage
from ..core.reading import Shape, Table
from ..oci.document import DIGEST, load, node
from ..oci.layer import Layer
from ..oci.reference import is_host, is_repository
from ..oci.types import EMPTY, Descriptor, Manifest

LAYER = "application/vnd.helioimages.layer.v1"
LAYER_CONFIG = "application/vnd.helioimages.layer.v1+json"
#: The list of a layer's files: origin, content and path of each, each ended by NUL; compressed by gzip.
FILES = "application/vnd.helioimages.files.v1+gzip"
#: Files that documents are made from, and folders and links; canonical JSON, compressed by gzip.
NOTES = "application/vnd.helioimages.notes.v1+gzip"
ARTEFACTS = "application/vnd.helioimages.artefacts.v1"
ARTEFACT = "application/octet-stream"
#: Of an entry's manifest: an ECDSA P-256 signature over the config's bytes, in base64.
SIGNATURE = "io.helioimages.signature"
KEY = Shape.of(HEX.pattern, "64 hex digits")
#: A list of more bytes than this is none of ours.
MOST_LISTED = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePlace:
    """Where a cache is: a registry's ``host[:port]`` and a repository."""

    host: str
    repository: str

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}"


def place(text: str) -> CachePlace:
    """Read ``HOST/PREFIX`` as users write it; what is before images' names is before ``cache``.

    >>> str(place("ghcr.io/heliocloud")), str(place("127.0.0.1:5000"))
    ('ghcr.io/heliocloud/cache', '127.0.0.1:5000/cache')

    Raises:
        HelioError: it is not that.
    """
    host, _, rest = text.partition("/")
    cache = place_of(host, rest if not rest or rest[-1] in "/-._" else f"{rest}/")
    if not is_host(host) or not is_repository(cache.repository):
        raise HelioError(
            Stage.USAGE,
            f"`{text}` is not a cache",
            where="--cache",
            detail="expected host[:port] or host[:port]/prefix, e.g. ghcr.io/heliocloud",
            hint="name the registry and prefix that images are published to",
        )
    return cache


def place_of(host: str, prefix: str) -> CachePlace:
    """Return the cache beside images that are published to a registry with a prefix, e.g. ``heliocloud/``."""
    return CachePlace(host=host, repository=f"{prefix}cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEntry:
    """One layer of a cache.

    Attributes:
        key: of the layer's plan, 64 hexadecimal digits; equal keys mean equal bytes.
        layer: what was made.
        files: sha256 (hex) of the list of its files, before compression.
        packed: the compressed list, as the registry has it.
        notes: what is told of the layer without its bytes, compressed; None of an earlier version.
    """

    key: str
    layer: Layer
    files: str
    packed: Descriptor
    notes: Descriptor | None = None

    @property
    def config(self) -> bytes:
        """What is signed."""
        notes = {"notes": {"digest": self.notes.digest, "size": self.notes.size}} if self.notes else {}
        return canonical_json(
            {
                "key": self.key,
                "layer": layer_table(self.layer),
                "files": {"sha256": self.files, "digest": self.packed.digest, "size": self.packed.size},
                **notes,
            }
        )

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """What the manifest names."""
        return (self.layer.descriptor, self.packed, *([self.notes] if self.notes else []))


def layer_table(layer: Layer) -> dict[str, str | int]:
    """Return what configs say of a layer."""
    return {
        "mediaType": layer.media_type,
        "digest": layer.digest,
        "size": layer.size,
        "diffId": layer.diff_id,
        "uncompressedSize": layer.uncompressed_size,
        "compressor": layer.compressor,
    }


def layer_of(table: Table) -> Layer:
    """Read what `layer_table` wrote.

    Raises:
        HelioError: a key is missing or malformed.
    """
    return Layer(
        digest=table.text("digest", shape=DIGEST),
        size=table.whole("size"),
        diff_id=table.text("diffId", shape=DIGEST),
        uncompressed_size=table.whole("uncompressedSize"),
        media_type=table.text("mediaType"),
        compressor=table.text("compressor", ""),
    )


def layer_tag(key: str) -> str:
    """Return the tag of a layer's entry."""
    return f"layer-{key}"


def artefacts_tag(key: str) -> str:
    """Return the tag of the artefacts of a set of locks."""
    return f"artefacts-{key}"


def pack(listed: bytes) -> bytes:
    """Return a list of files, or notes, compressed without a time."""
    return gzip.compress(listed, 6, mtime=0)


def packed(data: bytes, media_type: str) -> Descriptor:
    """Return the descriptor of what `pack` gave."""
    return Descriptor(media_type=media_type, digest=of_bytes(data), size=len(data))


def unpack(data: bytes, entry: LayerEntry, where: str) -> bytes:
    """Return the list of a layer's files.

    Raises:
        HelioError: it is not what the entry says.
    """
    listed, whole = _unpacked(data, "the list of files cannot be read", where)
    sha256 = of_bytes(listed).removeprefix("sha256:")
    if sha256 != entry.files or not whole:
        raise poisoned(where, "the list of files is another", f"expected sha256 {entry.files} not {sha256}")
    return listed


def unpack_notes(data: bytes, where: str) -> bytes:
    """Return the notes on a layer.

    Raises:
        HelioError: they are cut, or too long to be ours.
    """
    notes, whole = _unpacked(data, "the notes on the layer cannot be read", where)
    if not whole:
        raise poisoned(where, "the notes on the layer cannot be read", f"expected at most {MOST_LISTED:,} bytes")
    return notes


def _unpacked(data: bytes, fault: str, where: str) -> tuple[bytes, bool]:
    """Return at most so many bytes as are ours, and whether they are all."""
    try:
        inflater = zlib.decompressobj(31)
        plain = inflater.decompress(data, MOST_LISTED)
    except zlib.error as error:
        raise poisoned(where, fault, f"{error}") from error
    return plain, inflater.eof and not inflater.unused_data


def layer_manifest(entry: LayerEntry, signature: str = "") -> Manifest:
    """Return the manifest of a layer's entry."""
    return Manifest(
        config=config_descriptor(entry.config, LAYER_CONFIG),
        layers=entry.blobs,
        artifact_type=LAYER,
        annotations={SIGNATURE: signature} if signature else {},
    )


def parse_layer(data: bytes, key: str, where: str) -> tuple[LayerEntry, bytes, str]:
    """Read a layer's entry from its manifest.

    Args:
        key: that was asked for.
        where: registry, repository and tag, for errors.

    Returns:
        The entry, the bytes that are signed, and their signature (base64; empty if there is none).

    Raises:
        HelioError: it is malformed, of another key, or its parts contradict each other.
    """
    manifest, config = artifact_config(data, LAYER, LAYER_CONFIG, where)
    document = node(load(config, f"{where} at config"), f"{where} at config")
    table, files = document.table("layer", required=True), document.table("files", required=True)
    notes = document.table_or_none("notes")
    entry = LayerEntry(
        key=document.text("key", shape=KEY),
        layer=layer_of(table),
        files=files.text("sha256", shape=KEY),
        packed=Descriptor(media_type=FILES, digest=files.text("digest", shape=DIGEST), size=files.whole("size")),
        notes=Descriptor(media_type=NOTES, digest=notes.text("digest", shape=DIGEST), size=notes.whole("size"))
        if notes
        else None,
    )
    if entry.key != key:
        raise poisoned(where, "it is another layer's", f"expected key {key} not {entry.key}")
    if manifest.layers != entry.blobs:
        raise poisoned(where, "its manifest and its config name different blobs", "")
    return entry, config, manifest.annotations.get(SIGNATURE, "")


def empty() -> Descriptor:
    """Return the empty blob ``{}``, which stands where an artifact has no other."""
    return Descriptor(media_type=EMPTY, digest=of_bytes(b"{}"), size=2, data=b"{}")


def poisoned(where: str, what: str, detail: str) -> HelioError:
    """Return the error of an entry that is not what it should be."""
    return HelioError(
        Stage.FETCH,
        f"the cache has a bad entry: {what}",
        where=where,
        detail=detail,
        hint="it is not used; delete it, and look who may write there",
    )


def config_descriptor(data: bytes, media_type: str) -> Descriptor:
    """Return the descriptor of a config that carries it."""
    return Descriptor(media_type=media_type, digest=of_bytes(data), size=len(data), data=data)


def artifact_config(data: bytes, kind: str, config: str, where: str) -> tuple[Manifest, bytes]:
    """Read an entry's manifest and the config that it carries.

    Args:
        kind, config: the artifact's type, and its config's.

    Raises:
        HelioError: it is malformed, or of another type.
    """
    manifest = Manifest.parse(data, f"{where} at manifest")
    carried = manifest.config.data
    if manifest.artifact_type != kind or manifest.config.media_type != config or carried is None:
        raise poisoned(where, "it is something else", f"expected {kind} not {manifest.artifact_type or 'an image'}")
    if of_bytes(carried) != manifest.config.digest or len(carried) != manifest.config.size:
        raise poisoned(where, "its config is not what its digest says", "")
    return manifest, carried

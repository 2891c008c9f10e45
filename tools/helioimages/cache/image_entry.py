"""What a cache says of a whole image: which layers came of its plan, so that nobody needs a byte of them to name it.

Like a layer's entry it is an artifact whose config, carried in the descriptor, says everything; it has no blobs, since
the image itself has them. A signature is over the config's bytes. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..core.digest import canonical_json
from ..oci.document import DIGEST, load, node
from ..oci.layer import Layer
from ..oci.types import Manifest
from . import entry as entries
from .entry import poisoned

IMAGE = "application/vnd.helioimages.image.v1"
IMAGE_CONFIG = "application/vnd.helioimages.image.v1+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEntry:
    """One image of a cache.

    Attributes:
        key: of the image's plan and its ancestors', 64 hexadecimal digits; equal keys mean equal images.
        digest: of its manifest.
        layers: its own, lowest first, without its parent's, each under the key that it is remembered by.
    """

    key: str
    digest: str
    layers: tuple[tuple[str, Layer], ...]

    @property
    def config(self) -> bytes:
        """What is signed."""
        layers = [{"key": key, **entries.layer_table(layer)} for key, layer in self.layers]
        return canonical_json({"key": self.key, "image": self.digest, "layers": layers})


def image_tag(key: str) -> str:
    """Return the tag of an image's entry."""
    return f"image-{key}"


def image_manifest(entry: ImageEntry, signature: str = "") -> Manifest:
    """Return the manifest of an image's entry."""
    return Manifest(
        config=entries.config_descriptor(entry.config, IMAGE_CONFIG),
        layers=(entries.empty(),),
        artifact_type=IMAGE,
        annotations={entries.SIGNATURE: signature} if signature else {},
    )


def parse_image(data: bytes, key: str, where: str) -> tuple[ImageEntry, bytes, str]:
    """Read an image's entry from its manifest.

    Args:
        key: that was asked for.
        where: registry, repository and tag, for errors.

    Returns:
        The entry, the bytes that are signed, and their signature (base64; empty if there is none).

    Raises:
        HelioError: it is malformed, or another image's.
    """
    manifest, config = entries.artifact_config(data, IMAGE, IMAGE_CONFIG, where)
    document = node(load(config, f"{where} at config"), f"{where} at config")
    entry = ImageEntry(
        key=document.text("key", shape=entries.KEY),
        digest=document.text("image", shape=DIGEST),
        layers=tuple(
            (table.text("key", shape=entries.KEY), entries.layer_of(table))
            for table in document.tables("layers", required=True)
        ),
    )
    if entry.key != key:
        raise poisoned(where, "it is another image's", f"expected key {key} not {entry.key}")
    return entry, config, manifest.annotations.get(entries.SIGNATURE, "")

"""OCI's words as frozen values: descriptors, manifests, indexes, image configs.

Design: parsing is strict about what the spec defines (types, required keys, digests) and lenient about what it does not
(unknown keys are allowed by the spec); writing gives canonical JSON. A value never writes back a document it was read
from: whoever needs the document again (its digest!) keeps the bytes, as `image.Image` does.

Reading order: `Descriptor` (a typed pointer) -> `Manifest` (config + layers) -> `ImageConfig` -> `Index`.

Spec: OCI image-spec v1.1: descriptor.md, manifest.md, image-index.md, config.md.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..core.digest import canonical_json
from ..core.platform import Platform
from .document import Node, load

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"

#: Docker's names for what OCI standardised; an image pulled from elsewhere may have them.
OCI_NAME = MappingProxyType(
    {
        DOCKER_MANIFEST: MANIFEST,
        DOCKER_INDEX: INDEX,
        "application/vnd.docker.container.image.v1+json": CONFIG,
        "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar": LAYER_TAR,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A typed pointer to bytes.

    Attributes:
        media_type, digest, size: of what is pointed at; size in bytes.
        annotations: free text by key.
        platform: in an index, what the manifest is for.
        artifact_type: of a manifest that is not an image.
        data: the bytes themselves, when the descriptor carries them; None when it does not.

    Spec: descriptor.md, "Properties".
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str = ""
    data: bytes | None = None

    @classmethod
    def parse(cls, value: Any, where: str = "descriptor") -> Descriptor:
        """Read a descriptor; ``where`` is its key path, for errors.

        Raises:
            HelioError: a key is missing or of a wrong type, the digest is not sha256, or the size is negative.
        """
        node = Node(value, where)
        size = node.number("size")
        if size < 0:
            raise node.fault("size", f"expected a size in bytes not {size}")
        platform = node.get("platform", dict)
        encoded = node.text("data", required=False)
        try:
            data = base64.b64decode(encoded, validate=True) if encoded else None
        except binascii.Error as error:
            raise node.fault("data", "expected base64") from error
        return cls(
            media_type=node.text("mediaType"),
            digest=node.digest("digest"),
            size=size,
            annotations=node.texts("annotations"),
            platform=None if platform is None else _platform(platform, f"{where}.platform"),
            artifact_type=node.text("artifactType", required=False),
            data=data,
        )

    def document(self) -> dict[str, Any]:
        """Return the JSON value."""
        return _lean(
            {
                "mediaType": self.media_type,
                "digest": self.digest,
                "size": self.size,
                "annotations": dict(self.annotations),
                "platform": _platform_document(self.platform) if self.platform else None,
                "artifactType": self.artifact_type,
                "data": base64.b64encode(self.data).decode() if self.data is not None else None,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image for one platform, or an artifact that refers to one.

    Attributes:
        layers: base layer first.
        subject: what an artifact (SBOM, report) is about; None for an image.

    Spec: manifest.md, "Image Manifest Property Descriptions".
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = MANIFEST
    artifact_type: str = ""
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, data: bytes, where: str = "manifest") -> Manifest:
        """Read the bytes of a manifest, OCI's or Docker's (schema 2).

        Raises:
            HelioError: not JSON, not a manifest, or malformed; names the key.
        """
        node = _schema_2(data, where)
        media_type = node.text("mediaType", required=False) or MANIFEST
        if OCI_NAME.get(media_type, media_type) != MANIFEST:
            raise node.fault("mediaType", f"expected {MANIFEST} not {media_type}")
        subject = node.get("subject", dict)
        return cls(
            config=Descriptor.parse(node.must("config", dict), f"{where}.config"),
            layers=_descriptors(node, "layers"),
            media_type=media_type,
            artifact_type=node.text("artifactType", required=False),
            subject=None if subject is None else Descriptor.parse(subject, f"{where}.subject"),
            annotations=node.texts("annotations"),
        )

    def dump(self) -> bytes:
        """Return canonical JSON."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "config": self.config.document(),
                "layers": [layer.document() for layer in self.layers],
            }
            | _lean(
                {
                    "mediaType": self.media_type,
                    "artifactType": self.artifact_type,
                    "subject": self.subject.document() if self.subject else None,
                    "annotations": dict(self.annotations),
                }
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests: of platforms, of a layout's images, or of an image's referrers.

    Spec: image-index.md.
    """

    manifests: tuple[Descriptor, ...]
    media_type: str = INDEX
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, data: bytes, where: str = "index") -> Index:
        """Read the bytes of an index, OCI's or Docker's manifest list.

        Raises:
            HelioError: not JSON, not an index, or malformed; names the key.
        """
        node = _schema_2(data, where)
        media_type = node.text("mediaType", required=False) or INDEX
        if OCI_NAME.get(media_type, media_type) != INDEX:
            raise node.fault("mediaType", f"expected {INDEX} not {media_type}")
        return cls(
            manifests=_descriptors(node, "manifests"), media_type=media_type, annotations=node.texts("annotations")
        )

    def dump(self) -> bytes:
        """Return canonical JSON."""
        return canonical_json(
            {"schemaVersion": 2, "manifests": [one.document() for one in self.manifests]}
            | _lean({"mediaType": self.media_type, "annotations": dict(self.annotations)})
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How one layer came to be; ``empty_layer`` marks steps that changed only the config."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def parse(cls, value: Any, where: str = "history") -> History:
        """Read one entry of a config's ``history``."""
        node = Node(value, where)
        return cls(
            **{key: node.text(key, required=False) for key in ("created", "created_by", "author", "comment")},
            empty_layer=node.get("empty_layer", bool) or False,
        )

    def document(self) -> dict[str, Any]:
        """Return the JSON value."""
        return _lean(
            {
                "created": self.created,
                "created_by": self.created_by,
                "author": self.author,
                "comment": self.comment,
                "empty_layer": self.empty_layer,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What a container of the image runs, and the diff_ids its files are checked against.

    Attributes:
        created: RFC 3339, e.g. ``2026-11-01T00:00:00Z``.
        env: ``NAME=value`` in order. None in ``entrypoint`` and ``cmd`` is "not set", which differs from empty.
        exposed_ports: e.g. ``8888/tcp``, sorted.
        diff_ids: digests of the uncompressed layers, base layer first.

    Spec: config.md, "Properties".
    """

    platform: Platform
    diff_ids: tuple[str, ...]
    history: tuple[History, ...] = ()
    created: str = ""
    author: str = ""
    user: str = ""
    working_dir: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    stop_signal: str = ""

    @classmethod
    def parse(cls, data: bytes, where: str = "config") -> ImageConfig:
        """Read the bytes of an image config.

        Raises:
            HelioError: not JSON or malformed; names the key.
        """
        node = Node(load(data, where), where)
        rootfs = Node(node.must("rootfs", dict), f"{where}.rootfs")
        if (kind := rootfs.text("type")) != "layers":
            raise rootfs.fault("type", f'expected "layers" not {json.dumps(kind)}')
        run = Node(node.get("config", dict) or {}, f"{where}.config")
        return cls(
            platform=Platform(
                os=node.text("os"),
                architecture=node.text("architecture"),
                variant=node.text("variant", required=False),
            ),
            diff_ids=tuple(
                rootfs.check_digest(one, f"diff_ids[{index}]")
                for index, one in enumerate(rootfs.strings("diff_ids") or ())
            ),
            history=tuple(
                History.parse(one, f"{where}.history[{index}]")
                for index, one in enumerate(node.get("history", list) or ())
            ),
            created=node.text("created", required=False),
            author=node.text("author", required=False),
            user=run.text("User", required=False),
            working_dir=run.text("WorkingDir", required=False),
            env=run.strings("Env") or (),
            entrypoint=run.strings("Entrypoint"),
            cmd=run.strings("Cmd"),
            exposed_ports=tuple(sorted(run.get("ExposedPorts", dict) or ())),
            volumes=tuple(sorted(run.get("Volumes", dict) or ())),
            labels=run.texts("Labels"),
            stop_signal=run.text("StopSignal", required=False),
        )

    def dump(self) -> bytes:
        """Return canonical JSON."""
        run = _lean(
            {
                "User": self.user,
                "WorkingDir": self.working_dir,
                "Env": list(self.env),
                "ExposedPorts": {port: {} for port in self.exposed_ports},
                "Volumes": {volume: {} for volume in self.volumes},
                "Labels": dict(self.labels),
                "StopSignal": self.stop_signal,
            }
        )
        # An empty list clears what an engine would otherwise inherit, so these two are written whenever they are set.
        if self.entrypoint is not None:
            run["Entrypoint"] = list(self.entrypoint)
        if self.cmd is not None:
            run["Cmd"] = list(self.cmd)
        document = _platform_document(self.platform)
        document |= _lean({"created": self.created, "author": self.author, "config": run})
        document["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        document["history"] = [one.document() for one in self.history]
        return canonical_json(document)


def _lean(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not set: OCI's optional keys are absent, never empty. A size of 0 stays."""
    return {k: v for k, v in value.items() if (v is not None and v != "" and v != {} and v != [] and v is not False)}


def _schema_2(data: bytes, where: str) -> Node:
    node = Node(load(data, where), where)
    if (version := node.number("schemaVersion")) != 2:
        raise node.fault("schemaVersion", f"expected 2 not {version}")
    return node


def _descriptors(node: Node, key: str) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor.parse(value, f"{node.where}.{key}[{index}]") for index, value in enumerate(node.must(key, list))
    )


def _platform(value: Any, where: str) -> Platform:
    """Read the ``platform`` property of a descriptor. Spec: image-index.md."""
    node = Node(value, where)
    return Platform(
        os=node.text("os"), architecture=node.text("architecture"), variant=node.text("variant", required=False)
    )


def _platform_document(platform: Platform) -> dict[str, Any]:
    return _lean({"os": platform.os, "architecture": platform.architecture, "variant": platform.variant})

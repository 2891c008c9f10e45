"""OCI's words as frozen values: descriptors, manifests, indexes, image configs.

Design: parsing is strict about what the spec defines (types, required keys, digests) and lenient about what it does not
(unknown keys are allowed by the spec); writing gives canonical JSON. A value never writes back a document it was read
from: whoever needs the document again (its digest!) keeps the bytes, as `image.Image` does.

Reading order: `Descriptor` (a typed pointer) -> `Manifest` (config + layers) -> `ImageConfig` -> `ImageIndex`.

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
from ..core.reading import Table
from .document import DIGEST, load, node

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
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
        table = node(value, where)
        size = table.whole("size")
        if size < 0:
            raise table.wrong("size", "a size in bytes", size)
        platform = table.table_or_none("platform")
        encoded = table.text("data", "")
        try:
            data = base64.b64decode(encoded, validate=True) if encoded else None
        except binascii.Error as error:
            raise table.error("data", "expected base64") from error
        return cls(
            media_type=table.text("mediaType"),
            digest=table.text("digest", shape=DIGEST),
            size=size,
            annotations=table.mapping("annotations"),
            platform=None if platform is None else _platform(platform),
            artifact_type=table.text("artifactType", ""),
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
        table = _schema_2(data, where)
        media_type = _media_type(table, MANIFEST)
        subject = table.take("subject", dict, None)
        return cls(
            config=Descriptor.parse(table.take("config", dict), f"{where}.config"),
            layers=_descriptors(table, "layers"),
            media_type=media_type,
            artifact_type=table.text("artifactType", ""),
            subject=None if subject is None else Descriptor.parse(subject, f"{where}.subject"),
            annotations=table.mapping("annotations"),
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
class ImageIndex:
    """A list of manifests: of platforms, of a layout's images, or of an image's referrers.

    Spec: image-index.md.
    """

    manifests: tuple[Descriptor, ...]
    media_type: str = INDEX
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, data: bytes, where: str = "index") -> ImageIndex:
        """Read the bytes of an index, OCI's or Docker's manifest list.

        Raises:
            HelioError: not JSON, not an index, or malformed; names the key.
        """
        table = _schema_2(data, where)
        media_type = _media_type(table, INDEX)
        return cls(
            manifests=_descriptors(table, "manifests"), media_type=media_type, annotations=table.mapping("annotations")
        )

    def dump(self) -> bytes:
        """Return canonical JSON."""
        return canonical_json(
            {"schemaVersion": 2, "manifests": [manifest.document() for manifest in self.manifests]}
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
        table = node(value, where)
        return cls(
            **{key: table.text(key, "") for key in ("created", "created_by", "author", "comment")},
            empty_layer=table.flag("empty_layer", False),
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
        table = node(load(data, where), where)
        rootfs = table.table("rootfs", required=True)
        if (kind := rootfs.text("type")) != "layers":
            raise rootfs.wrong("type", '"layers"', json.dumps(kind))
        run = table.table("config")
        return cls(
            platform=Platform(
                os=table.text("os"),
                architecture=table.text("architecture"),
                variant=table.text("variant", ""),
            ),
            diff_ids=rootfs.strings("diff_ids", shape=DIGEST),
            history=tuple(
                History.parse(row, f"{where}.history[{index}]")
                for index, row in enumerate(table.take("history", list, ()))
            ),
            created=table.text("created", ""),
            author=table.text("author", ""),
            user=run.text("User", ""),
            working_dir=run.text("WorkingDir", ""),
            env=run.strings("Env"),
            entrypoint=run.strings_or_none("Entrypoint"),
            cmd=run.strings_or_none("Cmd"),
            exposed_ports=tuple(sorted(run.take("ExposedPorts", dict, ()))),
            volumes=tuple(sorted(run.take("Volumes", dict, ()))),
            labels=run.mapping("Labels"),
            stop_signal=run.text("StopSignal", ""),
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
        document["history"] = [step.document() for step in self.history]
        return canonical_json(document)


def _lean(value: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not set: OCI's optional keys are absent, never empty. A size of 0 stays."""
    return {k: v for k, v in value.items() if (v is not None and v != "" and v != {} and v != [] and v is not False)}


def _schema_2(data: bytes, where: str) -> Table:
    table = node(load(data, where), where)
    table.version("schemaVersion", 2)
    return table


def _media_type(table: Table, expected: str) -> str:
    """Return a document's media type, which may be Docker's name of the expected one, or left out."""
    media_type = table.text("mediaType", "") or expected
    if OCI_NAME.get(media_type, media_type) != expected:
        raise table.wrong("mediaType", expected, media_type)
    return media_type


def _descriptors(table: Table, key: str) -> tuple[Descriptor, ...]:
    return tuple(
        Descriptor.parse(value, f"{table.at(key)}[{index}]") for index, value in enumerate(table.take(key, list))
    )


def _platform(table: Table) -> Platform:
    """Read the ``platform`` property of a descriptor. Spec: image-index.md."""
    return Platform(os=table.text("os"), architecture=table.text("architecture"), variant=table.text("variant", ""))


def _platform_document(platform: Platform) -> dict[str, Any]:
    return _lean({"os": platform.os, "architecture": platform.architecture, "variant": platform.variant})

"""Images: an immutable view of a config and a manifest, and `append`, which makes a child of a parent.

The bytes of both documents are kept as they were read, so that a digest never drifts. Layers are in order, base layer
first, everywhere.

Spec: OCI image-spec v1.1: manifest.md, config.md.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from ..core.digest import of_bytes
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.words import count
from .layer import Layer
from .types import CONFIG, EMPTY, MANIFEST, OCI_NAME, Descriptor, History, ImageConfig, Manifest

_NONE: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image for one platform: the two documents, read and as bytes. Layers' bytes live elsewhere."""

    manifest_bytes: bytes = field(repr=False)
    config_bytes: bytes = field(repr=False)
    manifest: Manifest
    config: ImageConfig

    @classmethod
    def of(cls, manifest_bytes: bytes, config_bytes: bytes, where: str = "image") -> Image:
        """Read an image from its documents.

        Args:
            where: shown in errors before the key, e.g. a reference.

        Raises:
            HelioError: one is malformed, or the config is not the one that the manifest names.
        """
        manifest = Manifest.parse(manifest_bytes, f"{where} at manifest")
        if (actual := of_bytes(config_bytes)) != manifest.config.digest:
            raise HelioError(
                Stage.BUILD,
                f"`{where}` has another config than its manifest names",
                where=f"{where} at manifest.config.digest",
                detail=f"expected {manifest.config.digest} not {actual} ({count(len(config_bytes), 'byte')} read)",
            )
        config = ImageConfig.parse(config_bytes, f"{where} at config")
        return cls(manifest_bytes=manifest_bytes, config_bytes=config_bytes, manifest=manifest, config=config)

    @property
    def digest(self) -> str:
        """The manifest's digest: the image's name."""
        return of_bytes(self.manifest_bytes)

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, base layer first."""
        return self.manifest.layers

    @property
    def size(self) -> int:
        """Bytes that a machine without any layer of it pulls: compressed layers and config."""
        return sum(layer.size for layer in self.layers) + self.manifest.config.size

    @property
    def descriptor(self) -> Descriptor:
        """The image as an index or an artifact names it, with its platform."""
        return Descriptor(
            media_type=self.manifest.media_type,
            digest=self.digest,
            size=len(self.manifest_bytes),
            platform=self.config.platform,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A layer to append, with the history line that says how it came to be."""

    layer: Layer
    created_by: str
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a child changes of the config; None or empty keeps the parent's value.

    ``env`` and ``labels`` are added to the parent's, by name; ``exposed_ports`` (``8888/tcp``) are added too.
    """

    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    exposed_ports: tuple[str, ...] = ()
    user: str | None = None
    working_dir: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    stop_signal: str | None = None


def append(
    parent: Image | None,
    layers: Sequence[Addition],
    settings: Settings,
    *,
    platform: Platform,
    created_epoch: int,
    annotations: Mapping[str, str] = _NONE,
) -> Image:
    """Return the image of a parent's layers followed by new ones.

    Args:
        parent: None for an image from scratch.
        layers: base layer first.
        created_epoch: seconds since 1970 UTC, from the lock, never the clock.
        annotations: of the manifest; the parent's are not inherited, they speak of the parent.

    Raises:
        HelioError: the platform is not the parent's, or the time is negative.

    Spec: config.md, "Properties": ``history`` is ordered from first to last, as ``rootfs.diff_ids`` is.
    """
    created = rfc3339(created_epoch)
    base = parent.config if parent else ImageConfig(platform=platform, diff_ids=())
    if base.platform != platform:
        raise HelioError(
            Stage.BUILD,
            f"the parent image is for `{base.platform}`, the child for `{platform}`",
            hint=f"build the parent for {platform} first",
        )
    config = replace(
        base,
        created=created,
        diff_ids=(*base.diff_ids, *(layer.layer.diff_id for layer in layers)),
        history=(
            *base.history,
            *(History(created=created, created_by=layer.created_by, comment=layer.comment) for layer in layers),
        ),
        env=_merge_env(base.env, settings.env),
        labels={**base.labels, **settings.labels},
        exposed_ports=tuple(sorted({*base.exposed_ports, *settings.exposed_ports})),
        user=_or(settings.user, base.user),
        working_dir=_or(settings.working_dir, base.working_dir),
        entrypoint=_or(settings.entrypoint, base.entrypoint),
        # As in a Dockerfile: an entrypoint of its own makes the parent's arguments meaningless.
        cmd=_or(settings.cmd, base.cmd if settings.entrypoint is None else None),
        stop_signal=_or(settings.stop_signal, base.stop_signal),
    )
    config_bytes = config.dump()
    manifest = Manifest(
        media_type=MANIFEST,
        config=Descriptor(media_type=CONFIG, digest=of_bytes(config_bytes), size=len(config_bytes)),
        layers=(
            # Docker's media types may not stand in an OCI manifest; the bytes are the same.
            *(
                replace(layer, media_type=OCI_NAME.get(layer.media_type, layer.media_type))
                for layer in (parent.layers if parent else ())
            ),
            *(layer.layer.descriptor for layer in layers),
        ),
        annotations=dict(annotations),
    )
    return Image(manifest_bytes=manifest.dump(), config_bytes=config_bytes, manifest=manifest, config=config)


def artifact(
    subject: Descriptor,
    artifact_type: str,
    payload: Descriptor,
    annotations: Mapping[str, str] = _NONE,
) -> Manifest:
    """Return the manifest of an artifact (SBOM, provenance, report) that refers to an image.

    Its config is the empty blob ``{}``, which must be in the registry too.

    Spec: manifest.md, "Guidelines for Artifact Usage".
    """
    return Manifest(
        config=Descriptor(media_type=EMPTY, digest=of_bytes(b"{}"), size=2, data=b"{}"),
        layers=(payload,),
        artifact_type=artifact_type,
        subject=replace(subject, platform=None, annotations={}),
        annotations=dict(annotations),
    )


def rfc3339(epoch: int) -> str:
    """Return seconds since 1970 as ``2026-11-01T00:00:00Z``.

    Raises:
        HelioError: before 1970, or after the year 9999.
    """
    try:
        if epoch < 0:
            raise ValueError("negative")
        return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError) as error:
        raise HelioError(
            Stage.BUILD,
            f"`{epoch}` is not a time an image can have",
            detail=f"expected seconds since 1970-01-01T00:00:00Z ({error})",
            hint="check SOURCE_DATE_EPOCH",
        ) from error


def _merge_env(inherited: tuple[str, ...], new: Mapping[str, str]) -> tuple[str, ...]:
    """Replace by name where the name is there, else append: the order Dockerfile's ENV gives."""
    table = dict(setting.partition("=")[::2] for setting in inherited)
    table.update(new)
    return tuple(f"{name}={value}" for name, value in table.items())


def _or(value: T | None, inherited: T) -> T:
    return inherited if value is None else value

"""OCI image layouts: a folder with ``oci-layout``, ``index.json`` and ``blobs/``.

Spec: OCI image-spec v1.1, image-layout.md; annotations.md, ``org.opencontainers.image.ref.name``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..core.digest import canonical_json, of_bytes
from ..core.errors import HelioError, Stage
from ..core.words import count
from .image import Image
from .types import MANIFEST, OCI_NAME, Descriptor, ImageIndex

REF_NAME = "org.opencontainers.image.ref.name"


def write_layout(folder: Path, images: Mapping[str, Image], blob: Callable[[str], Path]) -> ImageIndex:
    """Write images as an OCI layout, adding to blobs that are there; ``index.json`` comes last and names only these.

    Args:
        folder: made if needed.
        images: by reference name (``latest``, ``2026.11.01``), in the index sorted by it.
        blob: where the bytes of a layer are, by digest. They are hard-linked if they can be, else copied.

    Raises:
        HelioError: a layer's file is missing or has another size, or the folder can't be written.
    """
    try:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for image in images.values():
            for layer in image.layers:
                _link(blob(layer.digest), blob_path(folder, layer.digest), layer.size)
            _write(blob_path(folder, image.manifest.config.digest), image.config_bytes)
            _write(blob_path(folder, image.digest), image.manifest_bytes)
        index = ImageIndex(
            manifests=tuple(
                replace(image.descriptor, annotations={REF_NAME: name}) for name, image in sorted(images.items())
            )
        )
        _write(folder / "oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
        _write(folder / "index.json", index.dump())
    except OSError as error:
        raise HelioError(
            Stage.BUILD, f"cannot write the OCI layout `{folder}`", detail=str(error), hint="check the space and rights"
        ) from error
    return index


def read_layout(folder: Path) -> dict[str, Image]:
    """Return the images of a layout by reference name; one without a name is under its digest.

    Config and manifest are verified by digest; layers are not read (`validate.faults` does that).

    Raises:
        HelioError: not a layout, or a document is missing, malformed or not what its digest says.
    """
    images: dict[str, Image] = {}
    for manifest in read_index(folder).manifests:
        if OCI_NAME.get(manifest.media_type, manifest.media_type) != MANIFEST:
            continue
        name = manifest.annotations.get(REF_NAME, manifest.digest)
        where = f"{folder}:{name}"
        manifest_bytes = read_blob(folder, manifest, where)
        from_manifest = Image.of  # reads the config's digest out of the manifest
        images[name] = from_manifest(manifest_bytes, _config_of(folder, manifest_bytes, where), where)
    return images


def read_index(folder: Path) -> ImageIndex:
    """Return a layout's index.

    Raises:
        HelioError: not a layout of version 1, or ``index.json`` is malformed.
    """
    try:
        marker = (folder / "oci-layout").read_bytes()
        data = (folder / "index.json").read_bytes()
    except OSError as error:
        raise HelioError(
            Stage.BUILD,
            f"`{folder}` is not an OCI layout",
            detail=str(error),
            hint="expected a folder with oci-layout, index.json and blobs/",
        ) from error
    if b'"1.0.' not in marker:
        raise HelioError(
            Stage.BUILD,
            f"`{folder}` is an OCI layout of another version",
            where=f"{folder}/oci-layout",
            detail=f'expected imageLayoutVersion "1.0.0" not {marker[:80]!r}',
        )
    return ImageIndex.parse(data, f"{folder}/index.json at index")


def read_blob(folder: Path, descriptor: Descriptor, where: str) -> bytes:
    """Return the bytes of a small blob, verified.

    Raises:
        HelioError: missing, or not what the descriptor says.
    """
    try:
        data = blob_path(folder, descriptor.digest).read_bytes()
    except OSError as error:
        raise HelioError(
            Stage.BUILD, f"`{where}` lacks a blob", detail=f"expected {descriptor.digest}: {error.strerror}"
        ) from error
    if (actual := of_bytes(data)) != descriptor.digest:
        raise HelioError(
            Stage.BUILD,
            f"digest mismatch in `{where}`",
            detail=f"expected {descriptor.digest} not {actual} ({count(len(data), 'byte')} read)",
            hint="the layout is damaged; write it again",
        )
    return data


def blob_path(folder: Path, digest: str) -> Path:
    """Return where a layout keeps the blob with this digest."""
    algorithm, _, hexdigest = digest.partition(":")
    return folder / "blobs" / algorithm / hexdigest


def _config_of(folder: Path, manifest_bytes: bytes, where: str) -> bytes:
    from .types import Manifest

    return read_blob(folder, Manifest.parse(manifest_bytes, f"{where} at manifest").config, where)


def _link(source: Path, target: Path, size: int) -> None:
    actual = source.stat().st_size
    if actual != size:
        raise HelioError(
            Stage.BUILD,
            f"the layer `{source}` is damaged",
            detail=f"expected {count(size, 'byte')} not {actual:,}",
            hint="remove the file and build again",
        )
    if target.exists():
        return
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    # Another file system, or one without hard links.
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, half)
        os.replace(half, target)
    finally:
        half.unlink(missing_ok=True)


def _write(target: Path, data: bytes) -> None:
    if target.exists() and target.read_bytes() == data:
        return
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        half.write_bytes(data)
        os.replace(half, target)
    finally:
        half.unlink(missing_ok=True)

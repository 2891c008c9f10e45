"""Validation: recompute everything an image claims, and report all faults together.

Spec: OCI image-spec v1.1: descriptor.md ("Properties"), config.md ("rootfs", "history").
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from ..core.digest import of_bytes
from ..core.errors import HelioError, Stage
from .image import Image
from .layout import blob_path, read_index, read_layout
from .types import LAYER_GZIP, LAYER_TAR, MANIFEST, OCI_NAME, Descriptor

_PIECE = 1 << 20


def faults(image: Image, blob: Callable[[str], Path], *, jobs: int = 1) -> tuple[str, ...]:
    """Return every fault of an image, each as one line; none if it is whole.

    Args:
        blob: where the bytes of a layer are, by digest.
        jobs: layers read at a time.
    """
    found: list[str] = []
    config, layers = image.config, image.layers
    digest, size = of_bytes(image.config_bytes), len(image.config_bytes)
    if (digest, size) != (image.manifest.config.digest, image.manifest.config.size):
        expected = image.manifest.config
        found.append(f"config: expected {expected.digest} of {expected.size:,} bytes not {digest} of {size:,} bytes")
    if len(config.diff_ids) != len(layers):
        found.append(f"config.rootfs.diff_ids: expected {len(layers)}, one for each layer, not {len(config.diff_ids)}")
    filled = sum(not one.empty_layer for one in config.history)
    if config.history and filled != len(layers):
        found.append(f"config.history: expected {len(layers)} entries with a layer not {filled}")
    diff_ids = (*config.diff_ids, *[""] * len(layers))[: len(layers)]
    numbers = range(len(layers))
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        for lines in pool.map(partial(_layer_faults, blob), numbers, layers, diff_ids):
            found += lines
    return tuple(found)


def check(image: Image, blob: Callable[[str], Path], where: str, *, jobs: int = 1) -> None:
    """Raise one error with all faults of an image.

    Raises:
        HelioError: the image has faults.
    """
    _raise(faults(image, blob, jobs=jobs), where)


def check_layout(folder: Path, *, jobs: int = 1) -> tuple[str, ...]:
    """Validate every image of an OCI layout and return their reference names.

    Raises:
        HelioError: not a layout, or any image has faults; all are told.
    """
    index = read_index(folder)
    images = read_layout(folder)
    found = [
        f"{name}: {line}"
        for name, image in images.items()
        for line in faults(image, lambda digest: blob_path(folder, digest), jobs=jobs)
    ]
    found += [
        f"index.manifests[{number}]: expected {one.size:,} bytes not {actual:,}"
        for number, one in enumerate(index.manifests)
        if OCI_NAME.get(one.media_type, one.media_type) == MANIFEST
        and (actual := blob_path(folder, one.digest).stat().st_size) != one.size
    ]
    _raise(tuple(found), str(folder))
    return tuple(images)


def _raise(found: tuple[str, ...], where: str) -> None:
    if found:
        raise HelioError(
            Stage.CHECK,
            f"`{where}` is not a valid image: {len(found)} fault{'s' if len(found) > 1 else ''}",
            detail="\n".join(found),
            hint="remove the damaged blobs and run `buildimages build` again",
        )


def _layer_faults(blob: Callable[[str], Path], number: int, layer: Descriptor, diff_id: str) -> list[str]:
    name = f"layers[{number}]"
    kind = OCI_NAME.get(layer.media_type, layer.media_type)
    if kind not in (LAYER_GZIP, LAYER_TAR):
        return [f"{name}.mediaType: expected {LAYER_GZIP} not {layer.media_type}"]
    path = blob(layer.digest)
    found = []
    try:
        with open(path, "rb") as file:
            digest, size = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
            if size != layer.size:
                found.append(f"{name}.size: expected {layer.size:,} bytes not {size:,}")
            if digest != layer.digest:
                found.append(f"{name}.digest: expected {layer.digest} not {digest}")
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if kind == LAYER_GZIP else file
            tar_hash = hashlib.sha256()
            while piece := stream.read(_PIECE):
                tar_hash.update(piece)
    except FileNotFoundError:
        return [f"{name}: {layer.digest} is missing"]
    except (OSError, EOFError, zlib.error) as error:
        return [*found, f"{name}: cannot be read: {error}"]
    actual = "sha256:" + tar_hash.hexdigest()
    if diff_id and actual != diff_id:
        found.append(f"config.rootfs.diff_ids[{number}]: expected {diff_id} not {actual}")
    return found

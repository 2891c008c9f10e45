"""Validation: recompute everything an image claims, and report all faults together.

Spec: OCI image-spec v1.1: descriptor.md ("Properties"), config.md ("rootfs", "history").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..core import archives, threads
from ..core.digest import of_bytes
from ..core.words import count
from . import inflated
from .image import Image
from .types import LAYER_GZIP, LAYER_TAR, OCI_NAME, Descriptor

_PIECE = 1 << 20


def faults(image: Image, blob: Callable[[str], Path], *, jobs: int = 1) -> tuple[str, ...]:
    """Return every fault of an image, each as one line; none if it is whole.

    Args:
        blob: where the bytes of a layer are, by digest.
        jobs: layers read at a time.
    """
    problems: list[str] = []
    config, layers = image.config, image.layers
    digest, size = of_bytes(image.config_bytes), len(image.config_bytes)
    if (digest, size) != (image.manifest.config.digest, image.manifest.config.size):
        expected = image.manifest.config
        wanted = f"{expected.digest} of {count(expected.size, 'byte')}"
        problems.append(f"config: expected {wanted} not {digest} of {count(size, 'byte')}")
    if len(config.diff_ids) != len(layers):
        problems.append(
            f"config.rootfs.diff_ids: expected {len(layers)}, one for each layer, not {len(config.diff_ids)}"
        )
    filled = sum(not step.empty_layer for step in config.history)
    if config.history and filled != len(layers):
        problems.append(f"config.history: expected {count(len(layers), 'entry')} with a layer not {filled}")
    diff_ids = (*config.diff_ids, *[""] * len(layers))[: len(layers)]
    numbers = range(len(layers))
    with threads.pool(jobs) as pool:
        for lines in pool.map(partial(_layer_faults, blob), numbers, layers, diff_ids):
            problems += lines
    return tuple(problems)


def _layer_faults(blob: Callable[[str], Path], number: int, layer: Descriptor, diff_id: str) -> list[str]:
    name = f"layers[{number}]"
    kind = OCI_NAME.get(layer.media_type, layer.media_type)
    if kind not in (LAYER_GZIP, LAYER_TAR):
        return [f"{name}.mediaType: expected {LAYER_GZIP} not {layer.media_type}"]
    path = blob(layer.digest)
    problems = []
    try:
        with archives.reading(), open(path, "rb") as file:
            digest, size = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
            if size != layer.size:
                problems.append(f"{name}.size: expected {count(layer.size, 'byte')} not {size:,}")
            if digest != layer.digest:
                problems.append(f"{name}.digest: expected {layer.digest} not {digest}")
            file.seek(0)
            stream = inflated.gunzip(file) if kind == LAYER_GZIP else file
            tar_hash = hashlib.sha256()
            while piece := stream.read(_PIECE):
                tar_hash.update(piece)
    except FileNotFoundError:
        return [f"{name}: {layer.digest} is missing"]
    except (OSError, archives.ArchiveError) as error:
        return [*problems, f"{name}: cannot be read: {error}"]
    actual = "sha256:" + tar_hash.hexdigest()
    if diff_id and actual != diff_id:
        problems.append(f"config.rootfs.diff_ids[{number}]: expected {diff_id} not {actual}")
    return problems

"""Read conda packages without trusting them (see pack.py for writing)."""

from __future__ import annotations

import contextlib
import json
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from ..errors import HelioError, Stage
from .pack import PLACEHOLDER_LENGTH, write_conda, write_repodata

__all__ = ["PLACEHOLDER_LENGTH", "read_index", "write_conda", "write_repodata"]


@contextlib.contextmanager
def _tar_stream(path: Path, kind: str) -> Iterator[tarfile.TarFile]:
    if path.name.endswith(".tar.bz2"):
        with tarfile.open(path, "r|bz2") as tar:
            yield tar
        return
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.startswith(f"{kind}-") and n.endswith(".tar.zst"))
        with (
            archive.open(name) as raw,
            zstandard.ZstdDecompressor().stream_reader(raw) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            yield tar


def read_index(path: Path) -> dict[str, Any]:
    """Return info/index.json of the package file."""
    with _tar_stream(path, "info") as tar:
        for member in tar:
            if member.name == "info/index.json":
                return json.loads(tar.extractfile(member).read())
    raise HelioError(Stage.LINK, f"`{path.name}` has no info/index.json")

"""Conda package files: reading (read.py) and writing (pack.py)."""

from __future__ import annotations

from .pack import PLACEHOLDER_LENGTH, write_conda, write_repodata
from .read import Archive, CondaMember, read_archive, read_index

__all__ = [
    "PLACEHOLDER_LENGTH",
    "Archive",
    "CondaMember",
    "read_archive",
    "read_index",
    "write_conda",
    "write_repodata",
]

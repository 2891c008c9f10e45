"""How a layer's tar is read: gzip by ISA-L, which is as strict as zlib and takes less than half its time."""

from __future__ import annotations

from typing import BinaryIO, cast

from isal import igzip


def gunzip(file: BinaryIO) -> BinaryIO:
    """Return what a gzip file holds, of all its members. Spec: RFC 1952."""
    return cast(BinaryIO, igzip.GzipFile(fileobj=file))  # type: ignore[no-untyped-call]


def of(file: BinaryIO) -> BinaryIO:
    """Return the tar stream of a layer file that is open at its start: gzip or plain."""
    zipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gunzip(file) if zipped else file

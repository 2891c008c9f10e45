"""Read wheels without trusting them: members are checked before anything is inflated, and inflated late.

Python's zipfile reads the central directory; a member's bytes are then read from the file itself, so that a wheel of
any size is a list of offsets, safe in any thread or process, and nothing is ever extracted to a folder.

Spec: PyPA "Binary distribution format", section "File format"; APPNOTE.TXT 6.3.10 (zip).
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import deflate

from ..core import archives
from ..core.entries import Content
from ..core.errors import HelioError, Stage
from ..core.words import count

#: The most that one wheel may unpack to, in bytes. The largest on the index are about 3 GB.
MAX_UNPACKED = 16 << 30
#: The most members that one wheel may have.
MAX_MEMBERS = 500_000
#: No honest member shrinks a thousand times and is large.
_BOMB_RATIO, _BOMB_SIZE = 1000, 64 << 20
#: What the directory promises is believed of a member of so many bytes before it is seen.
_AT_ONCE = 256 << 20

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1
_REGULAR = (0, 0o10)


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelMember:
    """One file of a wheel.

    Attributes:
        name: its path in the wheel.
        executable: the archive marks it so for anybody.
    """

    name: str
    executable: bool
    content: Content


@dataclass(frozen=True, slots=True)
class _Reader:
    """Inflates one member when it is called."""

    path: Path
    wheel: str
    name: str
    offset: int
    compressed: int
    size: int
    method: int
    crc: int

    def __call__(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            header = file.read(_LOCAL_HEADER.size).ljust(_LOCAL_HEADER.size, b"\0")
            magic, name_size, extra_size = _LOCAL_HEADER.unpack(header)
            if magic != b"PK\3\4":
                raise malformed(self.wheel, f"{self.name!r} is not where the directory says")
            file.seek(name_size + extra_size, 1)
            data = file.read(self.compressed)
        if self.method == zipfile.ZIP_DEFLATED:
            data = self._inflated(data)
        if len(data) != self.size or deflate.crc32(data) != self.crc:
            raise malformed(self.wheel, f"{self.name!r} is not what the directory says")
        return data

    def _inflated(self, data: bytes) -> bytes:
        """Return at most one byte more than is promised: a larger member is found out without inflating all of it."""
        # libdeflate takes half the time of zlib, but takes all memory that is promised at once, and cannot say what is
        # wrong.
        if 0 < self.size <= _AT_ONCE:
            with contextlib.suppress(deflate.DeflateError):
                return bytes(deflate.deflate_decompress(data, self.size))
        try:
            return zlib.decompressobj(-15).decompress(data, self.size + 1)
        except zlib.error as error:
            raise malformed(self.wheel, f"{self.name!r} cannot be inflated: {error}") from error


def members(path: Path, wheel: str) -> tuple[WheelMember, ...]:
    """Return a wheel's files, in the archive's order; folders are left out.

    Args:
        path: the wheel; its own name does not matter.
        wheel: its file name, for messages.

    Raises:
        HelioError: not a zip file, or with members that no honest wheel has.
    """
    try:
        with archives.reading(), zipfile.ZipFile(path) as archive:
            return tuple(_checked(archive.infolist(), path, wheel))
    except archives.ArchiveError as error:
        raise malformed(wheel, str(error)) from error


def _checked(infos: list[zipfile.ZipInfo], path: Path, wheel: str) -> Iterator[WheelMember]:
    seen: set[str] = set()
    total = 0
    file_size = path.stat().st_size
    if len(infos) > MAX_MEMBERS:
        raise malformed(wheel, f"it has {len(infos):,} members")
    for info in infos:
        file_type = info.external_attr >> 28
        name = info.orig_filename
        if name.endswith("/"):
            continue
        total += info.file_size
        problem = ""
        if name in seen:
            problem = "is there twice"
        elif "\0" in name or "\\" in name:
            problem = "has a character that no path may have"
        elif not 0 <= info.header_offset <= info.header_offset + info.compress_size <= file_size:
            problem = "is not where the directory says"
        elif file_type not in _REGULAR:
            problem = "is neither file nor folder"
        elif info.flag_bits & _ENCRYPTED:
            problem = "is encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"is compressed by method {info.compress_type}"
        elif info.file_size > _BOMB_SIZE and info.file_size > _BOMB_RATIO * max(1, info.compress_size):
            problem = f"grows from {info.compress_size:,} to {count(info.file_size, 'byte')}"
        elif total > MAX_UNPACKED:
            problem = f"brings the wheel over {MAX_UNPACKED:,} bytes"
        if problem:
            raise malformed(wheel, f"{name!r} {problem}")
        seen.add(name)
        reader = _Reader(
            path=path,
            wheel=wheel,
            name=name,
            offset=info.header_offset,
            compressed=info.compress_size,
            size=info.file_size,
            method=info.compress_type,
            crc=info.CRC,
        )
        executable = bool(info.external_attr >> 16 & 0o111)
        yield WheelMember(name=name, executable=executable, content=Content(info.file_size, reader))


def malformed(wheel: str, what: str) -> HelioError:
    """Return the error of a wheel that cannot be trusted."""
    return HelioError(
        Stage.LINK, f"`{wheel}` is not a valid wheel", detail=what, hint="do not use it; lock another version"
    )

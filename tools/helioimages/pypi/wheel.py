"""Link a wheel: its files as entries under a prefix, as pip would put them there. Pure but for reading the wheel.

The installation itself is pypa/installer's; this module is its destination. Nothing is written: files become entries
with the bytes that RECORD vouches for.

Spec: PyPA "Binary distribution format" and "Recording installed projects".
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import posixpath
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import fix_shebang

from ..entries import Content, Entry, Kind, check_path
from ..errors import HelioError, Stage
from .lock import Wheel

#: What RECORD's neighbour INSTALLER says.
INSTALLER = b"helioimages\n"
#: No honest member shrinks a thousand times and is large.
_BOMB_RATIO, _BOMB_SIZE = 1000, 64 << 20


def link(
    path: Path, wheel: Wheel, *, prefix: str = "/srv/conda/envs/notebook", python_version: str = "3.13"
) -> tuple[Entry, ...]:
    """Return a wheel's entries under ``prefix``.

    Args:
        path: the wheel's file, already verified by sha256.
        wheel: its record in the lock.
        prefix: absolute; the environment's folder in the image.
        python_version: major and minor, e.g. ``3.13``.

    Raises:
        HelioError: the wheel is malformed, its RECORD lies, or a path leaves the prefix.

    Spec: PyPA "Binary distribution format", section "Installing a wheel".
    """
    origin = f"{wheel.name}-{wheel.version}"
    destination = _Entries(prefix.strip("/"), python_version, origin)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, wheel.file_name)
            # WheelFile reads name and version from the file's name, and the store's names are digests.
            archive.filename = wheel.file_name
            source = WheelFile(archive)
            source.validate_record(validate_contents=True)
            with warnings.catch_warnings():
                # It says that it leaves a wheel's own __pycache__ out, which is what is wanted.
                warnings.simplefilter("ignore", RuntimeWarning)
                install(source, destination, additional_metadata={"INSTALLER": INSTALLER})
    except (InstallerError, zipfile.BadZipFile, ValueError, KeyError, UnicodeDecodeError) as error:
        raise HelioError(
            Stage.LINK,
            f"`{wheel.file_name}` is not a valid wheel",
            detail="\n".join(str(error).splitlines()[:8]) or type(error).__name__,
            hint="do not use it; lock another version",
        ) from error
    return tuple(destination.entries)


def with_compiled(entries: Iterable[Entry], compiled: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return a wheel's entries and its .pyc, these listed in RECORD without a hash, as pip lists them."""
    entries, compiled = tuple(entries), tuple(compiled)
    result = []
    for entry in entries:
        if compiled and entry.content and entry.path.endswith(".dist-info/RECORD"):
            base = posixpath.dirname(posixpath.dirname(entry.path))
            rows = [(posixpath.relpath(one.path, base), "", "") for one in compiled]
            data = entry.content.read() + _csv(sorted(rows))
            entry = replace(entry, content=Content.of(data))
        result.append(entry)
    return (*result, *compiled)


class _Entries(WheelDestination):
    """Collects what installer would write."""

    def __init__(self, prefix: str, python_version: str, origin: str) -> None:
        self.entries: list[Entry] = []
        self._prefix, self._origin = prefix, origin
        site = f"{prefix}/lib/python{python_version}/site-packages"
        name = origin.rsplit("-", 1)[0]
        self._schemes = {
            "purelib": site,
            "platlib": site,
            "scripts": f"{prefix}/bin",
            "data": prefix,
            "headers": f"{prefix}/include/python{python_version}/{name}",
        }

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        script = Script(name, module, attr, section)
        file_name, data = script.generate(f"/{self._prefix}/bin/python", "posix")
        return self._add("scripts", file_name, data, executable=True)

    def write_file(self, scheme: Any, path: Any, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        if scheme == "scripts":
            with fix_shebang(stream, f"/{self._prefix}/bin/python") as fixed:
                return self._add(scheme, str(path), fixed.read(), executable=True)
        return self._add(scheme, str(path), stream.read(), executable=is_executable)

    def finalize_installation(
        self, scheme: Any, record_file_path: str, records: Iterable[tuple[Any, RecordEntry]]
    ) -> None:
        base = self._schemes[scheme]
        rows = []
        for of_scheme, record in records:
            full = posixpath.join(self._schemes[of_scheme], record.path)
            rows.append((posixpath.relpath(full, base), *record.to_row()[1:]))
        self._add(scheme, record_file_path, _csv(sorted(rows)), executable=False)

    def _add(self, scheme: str, path: str, data: bytes, *, executable: bool) -> RecordEntry:
        check_path(path, self._origin)
        full = posixpath.join(self._schemes[scheme], path)
        self.entries.append(
            Entry(
                path=check_path(full, self._origin),
                kind=Kind.FILE,
                mode=0o755 if executable else 0o644,
                content=Content.of(data),
                origin=self._origin,
            )
        )
        return RecordEntry(path, Hash("sha256", _hash(data)), len(data))


def _check_members(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse what no wheel needs before anything is inflated."""
    seen: set[str] = set()
    for member in archive.infolist():
        file_type = member.external_attr >> 28
        problem = ""
        if member.filename in seen:
            problem = "is there twice"
        elif file_type not in (0, 0o4, 0o10):
            problem = "is neither file nor folder"
        elif member.file_size > _BOMB_SIZE and member.file_size > _BOMB_RATIO * max(1, member.compress_size):
            problem = f"grows from {member.compress_size:,} to {member.file_size:,} bytes"
        elif member.flag_bits & 1:
            problem = "is encrypted"
        if problem:
            raise HelioError(
                Stage.LINK,
                f"`{name}` is not a valid wheel",
                detail=f"{member.filename!r} {problem}",
                hint="do not use it; lock another version",
            )
        seen.add(member.filename)


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def _csv(rows: Iterable[tuple[str, str, str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=",", quotechar='"', lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()

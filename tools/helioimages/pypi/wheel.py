"""Link a wheel: its files as entries under a prefix, as pip would put them there. Nothing is written.

The installation itself is pypa/installer's; this module is its source and its destination. RECORD is verified against
every byte; after that, contents are read once more when a layer is written, so a large wheel never lies in memory
whole; only its sources are kept until they are compiled.

Where it differs from pip: modes are 0644 or 0755 whatever the umask, everything belongs to root, INSTALLER says who
linked it, and scripts are executable even where the archive forgot to say so.

Spec: PyPA "Binary distribution format" and "Recording installed projects".
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from email.parser import HeaderParser
from pathlib import Path
from typing import Any, BinaryIO

from installer import install
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, InvalidRecordEntry, RecordEntry, parse_record_file
from installer.scripts import Script
from installer.sources import WheelSource
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import HelioError
from ..core.progress import say
from ..core.words import count
from .archive import WheelMember, malformed, members
from .choose import variant_of
from .lock import Wheel

#: What RECORD's neighbour INSTALLER says.
INSTALLER = b"helioimages\n"

#: Files of a .dist-info that the installer writes or that sign a RECORD which is written anew: never taken.
_INSTALLERS_OWN = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s")
_STRONG = ("sha256", "sha384", "sha512")


def link(
    path: Path,
    wheel: Wheel,
    *,
    prefix: str = "/srv/conda/envs/notebook",
    python_version: str = "3.13",
    requested: bool = False,
) -> tuple[Entry, ...]:
    """Return a wheel's entries under ``prefix``.

    Args:
        path: the wheel's file, already verified by sha256; its own name does not matter.
        wheel: its record in the lock.
        prefix: absolute; the environment's folder in the image.
        python_version: major and minor, e.g. ``3.13``.
        requested: write REQUESTED: a person asked for it by name.

    Raises:
        HelioError: the wheel is malformed, another one than the locked, its RECORD lies, or a path leaves the prefix.

    Spec: PyPA "Binary distribution format", section "Installing a wheel".
    """
    origin = f"{wheel.name}-{wheel.version}"
    try:
        source = _CheckedWheel(wheel, members(path, wheel.file_name))
        destination = _Entries(prefix.strip("/"), python_version, origin, source)
        metadata = {"INSTALLER": INSTALLER} | ({"REQUESTED": b""} if requested else {})
        install(source, destination, additional_metadata=metadata)
    except HelioError:
        raise
    except configparser.Error as error:
        raise malformed(wheel.file_name, f"entry_points.txt cannot be read: {error.message.splitlines()[0]}") from error
    # installer asserts what a malformed entry_points.txt makes false.
    except (InstallerError, InvalidRecordEntry, ValueError, KeyError, AssertionError, csv.Error) as error:
        detail = "\n".join(str(error).splitlines()[:8]) or "entry_points.txt cannot be understood"
        raise malformed(wheel.file_name, detail) from error
    if source.unlisted:
        say(
            f"warning: {wheel.file_name}: its RECORD does not list {len(source.unlisted)} of its files "
            f"(e.g. {source.unlisted[0]}); they are installed, as pip does"
        )
    return tuple(destination.entries)


def with_compiled(entries: Iterable[Entry], compiled: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return a wheel's entries and its .pyc, these listed in RECORD without a hash, as pip lists them."""
    entries, compiled = tuple(entries), tuple(compiled)
    result = []
    for entry in entries:
        if compiled and entry.content and entry.path.endswith(".dist-info/RECORD"):
            base = posixpath.dirname(posixpath.dirname(entry.path))
            rows = [(posixpath.relpath(pyc.path, base), "", "") for pyc in compiled]
            data = entry.content.read() + _csv(sorted(rows))
            entry = replace(entry, content=Content.of(data))
        result.append(entry)
    return (*result, *compiled)


def with_contents(entries: Iterable[Entry], contents: Mapping[str, bytes], origin: str) -> tuple[Entry, ...]:
    """Return a wheel's entries with other contents of some files, and with files that it does not have; so is RECORD.

    Args:
        contents: path in the image -> content.
        origin: of the new files.
    """
    entries = tuple(entries)
    hashes = {path: hashlib.sha256(data) for path, data in contents.items()}
    there = {entry.path for entry in entries}
    result = []
    for entry in entries:
        if entry.path in contents:
            data = contents[entry.path]
            entry = replace(entry, content=replace(Content.of(data), sha256=hashes[entry.path].hexdigest()))
        elif contents and entry.content and entry.path.endswith(".dist-info/RECORD"):
            base = posixpath.dirname(posixpath.dirname(entry.path))
            recorded = {
                posixpath.relpath(path, base): (f"sha256={_short(hashes[path].digest())}", str(len(data)))
                for path, data in contents.items()
            }
            kept = csv.reader(io.StringIO(entry.content.read().decode(), newline=""))
            rows = {row[0]: (row[1], row[2]) for row in kept} | recorded
            entry = replace(entry, content=Content.of(_csv(sorted((path, *row) for path, row in rows.items()))))
        result.append(entry)
    for path in sorted(contents.keys() - there):
        content = replace(Content.of(contents[path]), sha256=hashes[path].hexdigest())
        result.append(Entry(path=path, kind=Kind.FILE, content=content, origin=origin))
    return tuple(result)


def forgetting(entries: Iterable[Entry], gone: Collection[str]) -> tuple[Entry, ...]:
    """Return a wheel's entries less those of some paths; RECORD does not list these."""
    result = []
    for entry in entries:
        if gone and entry.content and entry.path.endswith(".dist-info/RECORD"):
            base = posixpath.dirname(posixpath.dirname(entry.path))
            lost = {posixpath.relpath(path, base) for path in gone}
            rows = csv.reader(io.StringIO(entry.content.read().decode(), newline=""))
            kept = [(row[0], row[1], row[2]) for row in rows if row[0] not in lost]
            entry = replace(entry, content=Content.of(_csv(kept)))
        if entry.path not in gone:
            result.append(entry)
    return tuple(result)


def asking_less(entries: Iterable[Entry], names: Collection[str], origin: str) -> tuple[Entry, ...]:
    """Return a wheel's entries whose METADATA no longer requires some distributions.

    What an extra asks for stays: packages read their own extras (sunpy at its import), and pip's check does not.

    Args:
        names: normalised as PEP 503 says.
        origin: of the wheel, for messages.

    Spec: PyPA "Core metadata specifications", Requires-Dist.
    """
    entries = tuple(entries)
    changed = {}
    for entry in entries:
        if names and entry.content and entry.path.endswith(".dist-info/METADATA"):
            head, end, body = _parted(entry.content.read())
            changed[entry.path] = b"".join(field for field in _fields_of(head) if _required(field) not in names)
            changed[entry.path] += end + body
    return with_contents(entries, changed, origin)


def _parted(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a message's header, the empty line that ends it, and what follows."""
    match = re.search(rb"(?m)^\r?\n", data)
    return (data[: match.start()], match[0], data[match.end() :]) if match else (data, b"", b"")


def _fields_of(head: bytes) -> list[bytes]:
    """Return a header's fields, each with the lines that continue it."""
    return re.findall(rb"(?m)^[^\n]*\n?(?:[ \t][^\n]*\n?)*", head)


def _required(field: bytes) -> str:
    """Return the normalised name of the distribution that a field requires, empty if it is another or an extra's."""
    if re.search(rb";.*\bextra\b", field, re.DOTALL):
        return ""
    match = re.match(rb"(?i)Requires-Dist:\s*([A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)", field)
    return canonicalize_name(match[1].decode()) if match else ""


class _CheckedWheel(WheelSource):
    """A wheel's members, checked against its RECORD. Names and hashes are settled before anything is linked."""

    def __init__(self, wheel: Wheel, contained: tuple[WheelMember, ...]) -> None:
        try:
            name, version, _, _ = parse_wheel_filename(wheel.file_name)
        except InvalidWheelFilename as error:
            variant = variant_of(wheel.file_name)
            detail = f"it is the variant `{variant[1]}` of a wheel, which no image holds (PEP 825)" if variant else ""
            raise malformed(wheel.file_name, detail or str(error)) from error
        if name != canonicalize_name(wheel.name) or version != Version(wheel.version):
            raise malformed(wheel.file_name, f"the lock calls it {wheel.name} {wheel.version}")
        distribution, file_version = wheel.file_name.split("-", 2)[:2]
        super().__init__(distribution, file_version)
        self.file_name = wheel.file_name
        self._members = {member.name: member for member in contained}
        for member in contained:
            # Before any folder is looked for: a name such as /etc/x has no first folder.
            _check_name(member.name, wheel.file_name)
        self._dist_info = self._find(".dist-info")
        if self._dist_info is None:
            raise malformed(wheel.file_name, "it has no .dist-info folder")
        self._data = self._find(".data") or f"{distribution}-{file_version}.data"
        self._check_version()
        self._check_metadata(wheel)
        self.unlisted: list[str] = []
        self._records = self._check_record()

    @property
    def dist_info_dir(self) -> str:
        assert self._dist_info is not None
        return self._dist_info

    @property
    def data_dir(self) -> str:
        return self._data

    @property
    def dist_info_filenames(self) -> list[str]:
        start = self.dist_info_dir + "/"
        return [name.removeprefix(start) for name in self._members if name.startswith(start)]

    def read_dist_info(self, filename: str) -> str:
        member = self._members.get(f"{self.dist_info_dir}/{filename}")
        if member is None:
            raise malformed(self.file_name, f"it has no {self.dist_info_dir}/{filename}")
        return member.content.read().decode("utf-8")

    def get_contents(self) -> Iterator[tuple[tuple[str, str, str], BinaryIO, bool]]:
        taken = {f"{self.dist_info_dir}/{name}" for name in _INSTALLERS_OWN}
        for name, member in self._members.items():
            # Bytecode of someone else's interpreter would be run in place of the source beside it.
            if name not in taken and "__pycache__" not in name.split("/"):
                yield (name, "", ""), _Late(member), member.executable

    def record(self, name: str) -> RecordEntry:
        """Return the verified hash and size of a member."""
        return self._records[name]

    def _find(self, suffix: str) -> str | None:
        """Return the one top folder with this ending whose name is the wheel's."""
        tops = {name.split("/", 1)[0] for name in self._members if "/" in name}
        folders = sorted(top for top in tops if top.lower().endswith(suffix))
        if len(folders) > 1:
            raise malformed(self.file_name, f"expected one {suffix} folder not {len(folders)}: {', '.join(folders)}")
        if not folders:
            return None
        name, _, version = folders[0][: -len(suffix)].rpartition("-")
        try:
            same = canonicalize_name(name) == canonicalize_name(self.distribution)
            same = same and Version(version) == Version(self.version) and folders[0].endswith(suffix)
        except InvalidVersion:
            same = False
        if not same:
            expected = f"{self.distribution}-{self.version}{suffix}"
            raise malformed(self.file_name, f"expected the folder {expected} not {folders[0]}")
        return folders[0]

    def __repr__(self) -> str:
        # installer's errors show it.
        return self.file_name

    def _check_version(self) -> None:
        """Spec: PyPA "Binary distribution format", section "Installing a wheel", step 1."""
        headers = HeaderParser().parsestr(self.read_dist_info("WHEEL"), headersonly=True)
        version = headers.get("Wheel-Version", "").strip()
        if not version:
            raise malformed(self.file_name, f"{self.dist_info_dir}/WHEEL does not say its Wheel-Version, expected 1.0")
        if not version.startswith("1."):
            raise malformed(self.file_name, f"Incompatible Wheel-Version {version}, expected 1.0")

    def _check_metadata(self, wheel: Wheel) -> None:
        headers = HeaderParser().parsestr(self.read_dist_info("METADATA"), headersonly=True)
        name, version = headers.get("Name", ""), headers.get("Version", "")
        try:
            same = canonicalize_name(name) == wheel.name and Version(version) == Version(wheel.version)
        except InvalidVersion:
            same = False
        if not same:
            raise malformed(self.file_name, f"its METADATA is of {name} {version}")

    def _check_record(self) -> dict[str, RecordEntry]:
        """Return RECORD, verified: a listed file has the hash that is told, and nothing is listed that is not there.

        Files that it does not list are accepted and noted.

        Spec: PyPA "Binary distribution format", section "The .dist-info directory".
        """
        listed: dict[str, RecordEntry] = {}
        # A name may have characters that str.splitlines takes for ends of lines; the csv reader joins its own.
        for row in parse_record_file(io.StringIO(self.read_dist_info("RECORD"), newline="")):
            if row[0] in listed:
                raise malformed(self.file_name, f"RECORD lists {row[0]!r} twice")
            listed[row[0]] = RecordEntry.from_elements(*row)
        unlisted = {f"{self.dist_info_dir}/{name}" for name in ("RECORD", "RECORD.jws", "RECORD.p7s")}
        verified: dict[str, RecordEntry] = {}
        for name, member in tuple(self._members.items()):
            if name in unlisted:
                continue
            data = member.content.read()
            entry = listed.get(name)
            if entry is None:
                # pip and uv install it as well. What it may hold is settled by the lock's digest of the whole wheel,
                # and the RECORD that is written anew lists it.
                self.unlisted.append(name)
                entry = RecordEntry(name, Hash("sha256", _short(hashlib.sha256(data).digest())), len(data))
            if entry.hash_ is None or entry.hash_.name not in _STRONG:
                raise malformed(self.file_name, f"RECORD gives no strong hash of {name!r}")
            sha256 = hashlib.sha256(data)
            short_hash = Hash("sha256", _short(sha256.digest()))
            # RECORD nearly always has this hash; one of another kind costs a second.
            true = entry.hash_.value == short_hash.value if entry.hash_.name == "sha256" else entry.hash_.validate(data)
            if not true:
                raise malformed(self.file_name, f"RECORD gives another hash of {name!r}")
            if entry.size is not None and entry.size != len(data):
                raise malformed(
                    self.file_name, f"RECORD says that {name!r} has {count(entry.size, 'byte')}, it has {len(data):,}"
                )
            verified[name] = RecordEntry(name, short_hash, len(data))
            read = _Handed(data, member.content.read) if name.endswith(".py") else member.content.read
            self._members[name] = replace(member, content=Content(len(data), read, sha256.hexdigest()))
        absent = sorted(listed.keys() - self._members.keys())
        if absent:
            raise malformed(self.file_name, f"RECORD lists {absent[0]!r}, which is not there")
        return verified


class _Handed:
    """Reads a source: at first the bytes that RECORD was verified with, then from the archive again.

    Sources are compiled as soon as they are linked, so these bytes do not stay in memory.
    """

    def __init__(self, data: bytes, read: Callable[[], bytes]) -> None:
        self._data: bytes | None = data
        self._read = read

    def __call__(self) -> bytes:
        data, self._data = self._data, None
        return self._read() if data is None else data


class _Late(io.BytesIO):
    """A stream that knows which member it is; its bytes are read only if somebody asks."""

    def __init__(self, member: WheelMember) -> None:
        super().__init__()
        self.member = member


class _Entries(WheelDestination):
    """Collects what installer would write."""

    def __init__(self, prefix: str, python_version: str, origin: str, source: _CheckedWheel) -> None:
        self.entries: list[Entry] = []
        self._paths: set[str] = set()
        self._commands: dict[str, RecordEntry] = {}
        self._origin, self._source = origin, source
        self._python = f"/{prefix}/bin/python"
        site = f"{prefix}/lib/python{python_version}/site-packages"
        self._schemes = {
            "purelib": site,
            "platlib": site,
            "scripts": f"{prefix}/bin",
            "data": prefix,
            "headers": f"{prefix}/include/python{python_version}/{origin.rpartition('-')[0]}",
        }

    def write_script(self, name: str, module: str, attr: str, section: Any) -> RecordEntry:
        if not re.fullmatch(r"[^/\0\n\r]+", name) or name in (".", ".."):
            raise malformed(self._source.file_name, f"entry_points.txt names a script {name!r}")
        # The body is installer's; its first line is not, because our prefix may be longer than a kernel reads.
        _, data = Script(name, module, attr, section).generate("python", "posix")
        content = Content.of(self._shebang() + data.partition(b"\n")[2])
        record = self._add("scripts", name, content, executable=True)
        self._commands[posixpath.join(self._schemes["scripts"], name)] = record
        return record

    def write_file(self, scheme: Any, path: Any, stream: BinaryIO, is_executable: bool) -> RecordEntry:
        if command := self._commands.get(posixpath.join(self._schemes[scheme], str(path))):
            # Entry points come first here and last with pip and uv, whose script they replace: the entry point wins.
            return RecordEntry(str(path), command.hash_, command.size)
        if not isinstance(stream, _Late):
            return self._add(scheme, str(path), Content.of(stream.read()), executable=False)
        member = stream.member
        if scheme == "scripts":
            data = member.content.read()
            if data.startswith(b"#!python"):
                data = self._shebang() + data.partition(b"\n")[2]
            return self._add(scheme, str(path), Content.of(data), executable=True)
        record = self._source.record(member.name)
        return self._add(scheme, str(path), member.content, executable=is_executable, record=record)

    def finalize_installation(
        self, scheme: Any, record_file_path: str, records: Iterable[tuple[Any, RecordEntry]]
    ) -> None:
        base = self._schemes[scheme]
        rows = set()
        for of_scheme, record in records:
            full = posixpath.join(self._schemes[of_scheme], record.path)
            rows.add((posixpath.relpath(full, base), *record.to_row()[1:]))
        self._add(scheme, record_file_path, Content.of(_csv(sorted(rows))), executable=False)

    def _shebang(self) -> bytes:
        """Return the first line (or lines) of a script: of this environment's Python.

        Linux reads 127 bytes of a ``#!`` line and splits it at spaces; beyond that the shell starts Python, in a line
        that Python reads as a string.
        """
        if len(self._python) + 3 <= 127 and " " not in self._python:
            return f"#!{self._python}\n".encode()
        return f"#!/bin/sh\n'''exec' \"{self._python}\" \"$0\" \"$@\"\n' '''\n".encode()

    def _add(
        self, scheme: str, path: str, content: Content, *, executable: bool, record: RecordEntry | None = None
    ) -> RecordEntry:
        check_path(path, self._origin)
        full = check_path(posixpath.join(self._schemes[scheme], path), self._origin)
        mode = 0o755 if executable else 0o644
        if full in self._paths:
            raise malformed(self._source.file_name, f"two of its files become {full}")
        self._paths.add(full)
        hash_ = record.hash_ if record else None
        if hash_ is None:
            digest = hashlib.sha256(content.read())
            content, hash_ = replace(content, sha256=digest.hexdigest()), Hash("sha256", _short(digest.digest()))
        self.entries.append(Entry(path=full, kind=Kind.FILE, mode=mode, content=content, origin=self._origin))
        return RecordEntry(path, hash_, content.size)


def _check_name(name: str, wheel: str) -> None:
    """Refuse a member that leaves the place it is put in."""
    try:
        check_path(name, wheel)
    except HelioError as error:
        raise malformed(wheel, f"{name!r} may not be in a wheel") from error


def _short(digest: bytes) -> str:
    """Return a hash as RECORD writes it."""
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _csv(rows: Iterable[tuple[str, str, str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, delimiter=",", quotechar='"', lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()

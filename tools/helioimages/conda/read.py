"""Read conda packages without trusting them: ``.conda`` and ``.tar.bz2``.

The format is told by content, because the store names files by digest. A package's files are decompressed once, into
an unnamed temporary file of bounded size, and read from there late; nothing is ever extracted to a folder. What a
package lists is checked against what it holds, so a lie is found before anything is linked. Members that a package
holds but does not list are left out, as every installer does.

Spec: conda CEP 34 (package metadata), CEP 35 (package format); conda-build's ``info/files``, ``has_prefix`` and
``no_link`` for packages older than ``paths.json``.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import hashlib
import os
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from ..core import archives
from ..core.entries import Content, Kind, check_path
from ..core.words import count
from . import metadata
from .lock import CondaPackage
from .metadata import Listed, malformed

#: The most that one package may unpack to, in bytes. The largest of conda-forge are about 3 GB.
MAX_UNPACKED = 16 << 30

#: The most that a package's ``info/`` may unpack to, in bytes.
MAX_INFO = 512 << 20

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaMember:
    """One file of a package, as it lies in the archive.

    Attributes:
        listed: what the package says about it.
        kind: DIR, FILE, SYMLINK, or HARDLINK when the archive has it as a second name of ``target``.
        mode: permission bits of the archive.
        content: of a FILE or a HARDLINK, before any prefix is replaced.
        target: of a SYMLINK its text, of a HARDLINK the path of a FILE of this package.
        sha256: of the content, computed.
    """

    listed: Listed
    kind: Kind
    mode: int
    content: Content | None = None
    target: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A package, opened and checked.

    Attributes:
        name: the file's name, for messages.
        index: info/index.json.
        noarch: ``python``, ``generic`` or None.
        entry_points: ``command = module:function`` lines.
        members: what the package lists, in its order.
    """

    name: str
    index: dict[str, Any]
    noarch: str | None
    entry_points: tuple[str, ...]
    members: tuple[CondaMember, ...]


def read_archive(path: Path, name: str, *, limit: int = MAX_UNPACKED) -> Archive:
    """Open a package and check it wholly.

    Args:
        path: the package file; its own name does not matter.
        name: the package's file name, e.g. ``python-3.13.5-h1_0.conda``, for messages.
        limit: the most bytes that it may unpack to.

    Raises:
        HelioError: malformed, lying or hostile; names the package.
    """
    with _reading(name), open(path, "rb") as file:
        if _is_conda(file):
            with _components(file, name) as components:
                info = _Tar(components["info"], name, min(limit, MAX_INFO))
                texts = info.texts()
                listed = metadata.read_listed(texts, name)
                payload = _Tar(components["pkg"], name, _bound(listed, limit))
        else:
            file.seek(0)
            payload = _Tar(bz2.BZ2File(file), name, limit)
            texts = payload.texts()
            listed = metadata.read_listed(texts, name)
        noarch, entry_points = metadata.read_link(texts, name)
        index = metadata.read_index(texts, name)
        return Archive(
            name=name,
            index=index,
            noarch=noarch,
            entry_points=entry_points,
            members=tuple(payload.member(item) for item in listed),
        )


def read_index(path: Path, name: str = "") -> dict[str, Any]:
    """Return info/index.json of a package file.

    Args:
        path: the file.
        name: for messages; else the path's own.

    Raises:
        HelioError: not a conda package.
    """
    name = name or path.name
    with _reading(name), open(path, "rb") as file:
        if _is_conda(file):
            with _components(file, name) as components:
                return metadata.read_index(_Tar(components["info"], name, MAX_INFO).texts(), name)
        file.seek(0)
        return metadata.read_index(_Tar(bz2.BZ2File(file), name, MAX_UNPACKED).texts(), name)


def site_packages_of(path: Path, python: CondaPackage) -> str | None:
    """Return the folder below the prefix that a python package wants other packages' modules in, if it says so.

    That of a free-threaded one is ``lib/python3.13t/site-packages``.

    Raises:
        HelioError: not a conda package, or the folder is not one below the prefix.

    Spec: CEP 17, ``python_site_packages_path``.
    """
    index = read_index(path, python.file_name)
    site = index.get("python_site_packages_path")
    if site is None:
        return None
    if not isinstance(site, str):
        raise malformed(python.file_name, "info/index.json at python_site_packages_path: expected str")
    return check_path(site, python.file_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a package file lists, unchecked against what it holds.

    Attributes:
        paths: in its order.
        noarch: ``python``, ``generic`` or None.
        commands: of its entry points.
        digests: path -> sha256, of those for which it tells one.
    """

    paths: tuple[str, ...]
    noarch: str | None
    commands: tuple[str, ...]
    digests: Mapping[str, str]

    def targets(self, site_packages: str) -> tuple[str, ...]:
        """Return where its files and scripts go, relative to the prefix. Spec: CEP 34, "noarch: python"."""
        if self.noarch != "python":
            return self.paths
        places = {"site-packages/": f"{site_packages}/", "python-scripts/": "bin/"}
        targets = []
        for path in self.paths:
            head = next((head for head in places if path.startswith(head)), "")
            targets.append(places[head] + path.removeprefix(head) if head else path)
        return (*targets, *(f"bin/{command}" for command in self.commands))


def read_listing(path: Path, name: str) -> Listing:
    """Return what a package file lists: cheap for a ``.conda``, of which only the ``info`` half is unpacked.

    Raises:
        HelioError: not a conda package, or its list cannot be understood.
    """
    # `lock` asks for the same packages' once for each environment, and twice.
    state = path.stat()
    return _read_listing(path, name, (state.st_ino, state.st_size, state.st_mtime_ns))


@functools.lru_cache(maxsize=1024)
def _read_listing(path: Path, name: str, _state: tuple[int, int, int]) -> Listing:
    with _reading(name), open(path, "rb") as file:
        if _is_conda(file):
            with _components(file, name) as components:
                texts = _Tar(components["info"], name, MAX_INFO).texts()
        else:
            file.seek(0)
            texts = _Tar(bz2.BZ2File(file), name, MAX_UNPACKED).texts()
        noarch, entry_points = metadata.read_link(texts, name)
        listed = metadata.read_listed(texts, name)
        return Listing(
            paths=tuple(item.path for item in listed),
            digests={item.path: item.sha256 for item in listed if item.sha256},
            noarch=noarch,
            commands=tuple(line.partition("=")[0].strip() for line in entry_points),
        )


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Say in our words what the format's readers find."""
    try:
        with archives.reading():
            yield
    except archives.ArchiveError as error:
        raise malformed(name, "it cannot be read", str(error)) from error


def _is_conda(file: IO[bytes]) -> bool:
    file.seek(0)
    return file.read(4) == b"PK\x03\x04"


@contextlib.contextmanager
def _components(file: IO[bytes], name: str) -> Iterator[dict[str, IO[bytes]]]:
    """Yield the two tar streams of a ``.conda`` file, decompressed as they are read.

    Spec: CEP 35, ".conda".
    """
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(file))
        components: dict[str, IO[bytes]] = {}
        for member in archive.infolist():
            if member.filename == "metadata.json":
                metadata.check_format(archive.open(member).read(_CHUNK), name)
            kind, dash, _ = member.filename.partition("-")
            if not dash or kind not in ("info", "pkg"):
                continue
            if kind in components:
                raise malformed(name, f"it has two {kind} members")
            if member.compress_type != zipfile.ZIP_STORED or not member.filename.endswith(".tar.zst"):
                raise malformed(name, f"{member.filename} is not a stored .tar.zst")
            raw = stack.enter_context(archive.open(member))
            # 128 MiB is the window of zstd's strongest level; more is a request for memory, not compression.
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            components[kind] = stack.enter_context(decompressor.stream_reader(raw, read_across_frames=True))
        if missing := sorted({"info", "pkg"} - set(components)):
            raise malformed(name, f"it has no {missing[0]} member")
        yield components


def _bound(listed: tuple[Listed, ...], limit: int) -> int:
    """Return the most bytes that a tar of the listed files may need."""
    sizes = [item.size for item in listed if item.size is not None]
    if len(sizes) < len(listed):
        return limit
    # Each member: a header, a pax or GNU long name, the padded content; the end: two blocks, padded to a record.
    # A package may also hold folders and a few unlisted members, hence the slack.
    need = sum(sizes) + sum(4 * 512 + 4 * len(item.path) for item in listed) + (64 << 20)
    return min(need, limit)


class _Spool:
    """An unnamed temporary file that closes when the last content that reads it goes."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="helioimages-conda-")
        os.unlink(path)
        self.handle = handle
        weakref.finalize(self, os.close, handle)

    def read(self, name: str, start: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from ``start`` on, in chunks; threads may read at once, because pread keeps no position."""
        while size:
            part = os.pread(self.handle, min(size, _CHUNK), start)
            if not part:
                raise malformed(name, "it is cut off")
            yield part
            start += len(part)
            size -= len(part)


class _Tar:
    """A tar file, decompressed into a spool."""

    def __init__(self, stream: IO[bytes], name: str, limit: int) -> None:
        self._name = name
        self._spool = _Spool()
        self._members: dict[str, tarfile.TarInfo] = {}
        written = 0
        with os.fdopen(os.dup(self._spool.handle), "w+b") as file:
            while chunk := stream.read(_CHUNK):
                written += len(chunk)
                if written > limit:
                    raise malformed(name, f"it unpacks to more than {limit:,} bytes", "it may be a decompression bomb")
                file.write(chunk)
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in archives.members(tar):
                    self._add(member)
        for path in self._members:
            self._check_place(path)

    def _add(self, member: tarfile.TarInfo) -> None:
        name = member.name.removeprefix("./")
        if member.isdir() and name in ("", "."):
            return
        path = check_path(name.removesuffix("/") if member.isdir() else name, self._name)
        if not (member.isreg() or member.issym() or member.islnk() or member.isdir()) or member.issparse():
            raise malformed(self._name, f"{path} is neither a file, a folder nor a link")
        if member.isreg() and member.mode & 0o7000:
            raise malformed(self._name, f"{path} has mode {member.mode:04o}: setuid, setgid or sticky")
        other = self._members.get(path)
        if other is not None and not (member.isdir() and other.isdir()):
            raise malformed(self._name, f"it holds {path} twice")
        if member.islnk():
            target = check_path(member.linkname.removeprefix("./"), self._name)
            origin = self._members.get(target)
            if origin is None or not origin.isreg():
                raise malformed(self._name, f"{path} is a hard link to {target}, which is not a file before it")
        self._members[path] = member

    def _check_place(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent:
            above = self._members.get(parent)
            if above is not None and not above.isdir():
                raise malformed(self._name, f"{path} lies below {parent}, which is not a folder")
            parent = parent.rpartition("/")[0]

    def texts(self) -> dict[str, bytes]:
        """Return the members of ``info/`` that say how to install, path -> content."""
        return {
            path: self._content(self._members[path]).read()
            for path in metadata.FILES
            if path in self._members and self._members[path].isreg()
        }

    def member(self, listed: Listed) -> CondaMember:
        """Return one listed file, checked.

        Raises:
            HelioError: it is not there, or not as listed.
        """
        member = self._members.get(listed.path)
        if member is None and listed.kind is Kind.DIR:
            return CondaMember(listed=listed, kind=Kind.DIR, mode=0o755)
        if member is None:
            raise malformed(self._name, f"it lists {listed.path} but does not hold it")
        actual = Kind.DIR if member.isdir() else Kind.SYMLINK if member.issym() else Kind.FILE
        if listed.kind not in (None, actual):
            raise malformed(self._name, f"it lists {listed.path} as a {listed.kind.value}, which is a {actual.value}")
        if actual is Kind.SYMLINK:
            if not member.linkname or "\0" in member.linkname:
                raise malformed(self._name, f"the symbolic link {listed.path} points nowhere")
            return CondaMember(listed=listed, kind=actual, mode=0o777, target=member.linkname)
        if actual is Kind.DIR:
            return CondaMember(listed=listed, kind=actual, mode=0o755)
        target = member.linkname.removeprefix("./") if member.islnk() else ""
        content = self._content(self._members[target] if target else member)
        if listed.size not in (None, content.size):
            raise malformed(
                self._name,
                f"it lists another size for {listed.path}",
                f"expected {count(listed.size, 'byte')} not {content.size:,}",
            )
        sha256 = self._sha256(self._members[target] if target else member)
        if listed.sha256 not in (None, sha256):
            raise malformed(
                self._name,
                f"it lists another digest for {listed.path}",
                f"expected sha256:{listed.sha256} not sha256:{sha256}",
            )
        kind = Kind.HARDLINK if target else Kind.FILE
        mode = self._members[target].mode if target else member.mode
        return CondaMember(listed=listed, kind=kind, mode=mode, content=content, target=target, sha256=sha256)

    def _content(self, member: tarfile.TarInfo) -> Content:
        spool, name, start, size = self._spool, self._name, member.offset_data, member.size
        return Content(size, lambda: b"".join(spool.read(name, start, size)))

    def _sha256(self, member: tarfile.TarInfo) -> str:
        digest = hashlib.sha256()
        for part in self._spool.read(self._name, member.offset_data, member.size):
            digest.update(part)
        return digest.hexdigest()

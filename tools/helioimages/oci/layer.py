"""Layers: entries -> deterministic tar -> gzip, in one pass and in little memory.

The tar stream is ustar, with a PAX header only where ustar cannot say it. The stream is cut every 4 MiB; each chunk
becomes one gzip member, so threads compress chunks in any order and the file has equal bytes at any number of them.
RFC 1952 section 2.2 makes a series of members one file, and every engine reads it so.

Spec: OCI image-spec v1.1, layer.md; POSIX.1-2017 pax, "ustar Interchange Format" and "pax Header Block"; RFC 1952.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import tarfile
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO, cast

import deflate

from ..core import archives
from ..core.entries import LAYER_MTIME, Content, Entry, Kind
from ..core.errors import HelioError, Stage
from ..core.words import count
from . import inflated
from .types import LAYER_GZIP, Descriptor

#: Bytes of tar stream in one gzip member. Part of the format: changing it changes every digest.
CHUNK = 4 << 20

_BLOCK = 512
_TYPE = {Kind.FILE: b"0", Kind.HARDLINK: b"1", Kind.SYMLINK: b"2", Kind.DIR: b"5"}
_MTIME = b"%011o\0" % LAYER_MTIME
#: magic, version, empty uname and gname, device numbers 0
_TAIL = b"ustar\x0000" + bytes(64) + b"0000000\x00" * 2
_ZEROS = bytes(2 * _BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressor:
    """Turns a chunk into one gzip member; ``name`` is recorded, because other bytes give another digest."""

    name: str
    compress: Callable[[bytes], bytes]


def _libdeflate_6(chunk: bytes) -> bytes:
    return bytes(deflate.gzip_compress(chunk, 6))


#: libdeflate writes header time 0 and picks equal bytes on every processor. Its version comes with the PyPI package.
LIBDEFLATE_6 = Compressor(
    name=f"libdeflate/deflate-{importlib.metadata.version('deflate')}/6/chunk{CHUNK}", compress=_libdeflate_6
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that was written.

    Attributes:
        digest, size: of the compressed bytes.
        diff_id, uncompressed_size: of the tar stream.
        compressor: what `digest` depends on besides `diff_id`.
    """

    digest: str
    size: int
    diff_id: str
    uncompressed_size: int
    media_type: str = LAYER_GZIP
    compressor: str = ""

    @property
    def descriptor(self) -> Descriptor:
        """The layer as a manifest names it."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)


def write_layer(
    entries: Iterable[Entry], out: IO[bytes], *, jobs: int = 1, compressor: Compressor = LIBDEFLATE_6
) -> Layer:
    """Write one layer.

    Args:
        entries: merged and sorted by `entries.merge`; contents are read one at a time, in order, by the calling thread.
        out: where the gzip bytes go; only written to.
        jobs: threads that compress. Memory stays below about ``3 * jobs`` chunks and the largest file.

    Returns:
        The layer's digests and sizes.

    Raises:
        HelioError: an entry's content has another length than it said, or a value no tar can hold.
    """
    tar_hash, gzip_hash = hashlib.sha256(), hashlib.sha256()
    tar_size = gzip_size = 0

    def keep(member: bytes) -> None:
        nonlocal gzip_size
        gzip_hash.update(member)
        gzip_size += len(member)
        out.write(member)

    if jobs <= 1:
        for chunk in _chunks(tar_stream(entries)):
            tar_hash.update(chunk)
            tar_size += len(chunk)
            keep(compressor.compress(chunk))
    else:
        # One more thread than `jobs` hashes the stream, in order; compression is what takes the time.
        with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(1) as hasher:
            waiting: deque[tuple[Future[bytes], Future[None]]] = deque()
            try:
                for chunk in _chunks(tar_stream(entries)):
                    tar_size += len(chunk)
                    waiting.append((pool.submit(compressor.compress, chunk), hasher.submit(tar_hash.update, chunk)))
                    # Bounded, so that a slow disk or compressor never lets the whole layer pile up in memory.
                    while len(waiting) > 2 * jobs:
                        member, hashed = waiting.popleft()
                        hashed.result()
                        keep(member.result())
                while waiting:
                    member, hashed = waiting.popleft()
                    hashed.result()
                    keep(member.result())
            finally:
                for member, hashed in waiting:
                    member.cancel()
                    hashed.cancel()
    return Layer(
        digest="sha256:" + gzip_hash.hexdigest(),
        size=gzip_size,
        diff_id="sha256:" + tar_hash.hexdigest(),
        uncompressed_size=tar_size,
        compressor=compressor.name,
    )


def tar_stream(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the tar file of the entries in pieces of any size.

    Raises:
        HelioError: an entry's content has another length than it said, or a value no tar can hold.
    """
    for entry in entries:
        yield _header(entry)
        if entry.kind is Kind.FILE:
            content = _content(entry)
            data = content.read()
            if len(data) != content.size:
                raise HelioError(
                    Stage.BUILD,
                    f"`{entry.origin}` gave another file than it said: {entry.path}",
                    detail=f"expected {count(content.size, 'byte')} not {len(data):,}",
                    hint="the package changed while it was read; run the command again",
                )
            yield data
            if rest := -content.size % _BLOCK:
                yield _ZEROS[:rest]
    yield _ZEROS


def read_layer(path: Path) -> Iterator[Entry]:
    """Yield the entries of a layer file (tar, gzipped or not), contents in memory, for verification.

    Raises:
        HelioError: it is not such a file, or holds a device, socket or FIFO.
    """
    try:
        with archives.reading(), open(path, "rb") as file:
            # tarfile's own "r|gz" stops after the first gzip member.
            stream = inflated.of(file)
            with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                for member in archives.members(tar):
                    if (entry := _entry(member, tar, path)) is not None:
                        yield entry
    except archives.ArchiveError as error:
        raise HelioError(Stage.BUILD, f"cannot read the layer `{path}`", detail=str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What a layer file really holds.

    Attributes:
        diff_id, uncompressed_size: of its tar stream, to the stream's end.
        held: path -> sha256 (hex) of the content, or target of the link; without directories.
        kept: path -> content, of the files that were asked for.
        shape: its folders and symbolic links, without contents, in the layer's order.
    """

    diff_id: str
    uncompressed_size: int
    held: Mapping[str, str]
    kept: Mapping[str, bytes]
    shape: tuple[Entry, ...]


def examine(path: Path, keep: Container[str] = ()) -> Examined:
    """Read a layer file once, and return what is in it.

    Args:
        keep: paths of files whose content is wanted.

    Raises:
        HelioError: as `read_layer` says.
    """
    held: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    shape: list[Entry] = []
    try:
        with archives.reading(), open(path, "rb") as file:
            stream = _Hashing(inflated.gunzip(file))
            source = cast(BinaryIO, stream)
            with tarfile.open(fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                for member in archives.members(tar):
                    entry = _entry(member, tar, path)
                    if entry is not None and entry.kind in (Kind.DIR, Kind.SYMLINK):
                        shape.append(entry)
                    if entry is not None and entry.kind is not Kind.DIR:
                        data = entry.content.read() if entry.content else None
                        held[entry.path] = entry.target if data is None else hashlib.sha256(data).hexdigest()
                        if data is not None and entry.path in keep:
                            kept[entry.path] = data
            while stream.read(1 << 20):
                pass
    except archives.ArchiveError as error:
        raise HelioError(Stage.BUILD, f"cannot read the layer `{path}`", detail=str(error)) from error
    digest = "sha256:" + stream.content.hexdigest()
    return Examined(diff_id=digest, uncompressed_size=stream.size, held=held, kept=kept, shape=tuple(shape))


class _Hashing:
    """A stream that knows the hash of what was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.content, self.size = hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.content.update(data)
        self.size += len(data)
        return data


def _entry(member: tarfile.TarInfo, tar: tarfile.TarFile, path: Path) -> Entry | None:
    name = member.name.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return None
    if name.startswith("/") or ".." in name.split("/"):
        raise HelioError(
            Stage.BUILD,
            f"{name!r} in a layer leaves the image's root",
            where=str(path),
            hint="the layer is malformed or malicious; do not use it",
        )
    mode = member.mode & 0o7777
    entry = partial(Entry, path=name, mode=mode, uid=member.uid, gid=member.gid, origin=path.name)
    if member.isreg():
        stream = tar.extractfile(member)
        data = stream.read() if stream else b""
        return entry(kind=Kind.FILE, content=Content.of(data))
    if member.isdir():
        return entry(kind=Kind.DIR)
    if member.issym():
        return entry(kind=Kind.SYMLINK, target=member.linkname)
    if member.islnk():
        return entry(kind=Kind.HARDLINK, target=member.linkname.removeprefix("./"))
    raise HelioError(
        Stage.BUILD,
        f"`{name}` in a layer is a device, a socket or a FIFO",
        where=str(path),
        detail=f"expected a file, directory or link not tar type {member.type!r}",
    )


def _chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of pieces into chunks of exactly CHUNK bytes, the last one shorter."""
    pending: list[bytes | memoryview] = []
    have = 0
    for part in parts:
        if have + len(part) < CHUNK:
            pending.append(part)
            have += len(part)
            continue
        view = memoryview(part)
        while have + len(view) >= CHUNK:
            cut = CHUNK - have
            pending.append(view[:cut])
            yield b"".join(pending)
            pending, have, view = [], 0, view[cut:]
        pending.append(view)
        have = len(view)
    if have:
        yield b"".join(pending)


def _content(entry: Entry) -> Content:
    if entry.content is None:
        raise HelioError(Stage.BUILD, f"`{entry.origin}` brings a file without content: {entry.path}")
    return entry.content


def _header(entry: Entry) -> bytes:
    """Return the header block of an entry, with a PAX header before it where ustar cannot hold a value."""
    pax: list[tuple[bytes, bytes]] = []
    name = _encode(entry.path) + (b"/" if entry.kind is Kind.DIR else b"")
    link = _encode(entry.target) if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
    size = _content(entry).size if entry.kind is Kind.FILE else 0
    prefix, short = _split(name)
    if not _is_text(name) or not short:
        pax.append((b"path", name))
    if not _is_text(link) or len(link) > 100:
        pax.append((b"linkpath", link))
    for key, value, limit in ((b"uid", entry.uid, 8**7), (b"gid", entry.gid, 8**7), (b"size", size, 8**11)):
        if value < 0:
            raise HelioError(Stage.BUILD, f"`{entry.origin}` has a negative {key.decode()}: {entry.path}")
        if value >= limit:
            pax.append((key, b"%d" % value))
    before = _pax(pax) if pax else b""
    return before + _block(
        prefix=prefix,
        # PAX readers take the record; the old field is for those who cannot, cut to fit.
        name=short or name[:100],
        mode=entry.mode & 0o7777,
        uid=entry.uid if entry.uid < 8**7 else 0,
        gid=entry.gid if entry.gid < 8**7 else 0,
        size=size if size < 8**11 else 0,
        kind=_TYPE[entry.kind],
        link=link[:100],
    )


def _block(*, prefix: bytes, name: bytes, mode: int, uid: int, gid: int, size: int, kind: bytes, link: bytes) -> bytes:
    start = b"%b%07o\0%07o\0%07o\0%011o\0%b" % (name.ljust(100, b"\0"), mode, uid, gid, size, _MTIME)
    end = b"%b%b%b%b" % (kind, link.ljust(100, b"\0"), _TAIL, prefix.ljust(155, b"\0"))
    # The checksum field counts as eight spaces.
    checksum = sum(start) + sum(end) + 8 * 0x20
    return (start + b"%06o\0 " % checksum + end).ljust(_BLOCK, b"\0")


def _pax(records: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PAX extended header: its block, its records, padded.

    A name that is not UTF-8 is written as it is, announced by ``hdrcharset=BINARY``, as POSIX allows.
    """
    if not all(_is_utf8(value) for _, value in records):
        records = [(b"hdrcharset", b"BINARY"), *records]
    body = b"".join(_record(key, value) for key, value in records)
    head = _block(prefix=b"", name=b"././@PaxHeader", mode=0o644, uid=0, gid=0, size=len(body), kind=b"x", link=b"")
    return head + body + bytes(-len(body) % _BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    r"""Return ``"<length> <key>=<value>\n"``, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Return ustar's prefix and name; an empty name when it does not fit."""
    if len(name) <= 100:
        return b"", name
    # The slash between the two is not stored; a directory's own last slash must stay in the name.
    cut = name.rfind(b"/", 0, min(156, len(name) - 1))
    if cut > 0 and len(name) - cut - 1 <= 100:
        return name[:cut], name[cut + 1 :]
    return b"", b""


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _is_text(name: bytes) -> bool:
    # ASCII, or bytes that no charset claims: both go into the block as they are. UTF-8 is said by PAX.
    return name.isascii() or (len(name) <= 100 and not _is_utf8(name))


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True

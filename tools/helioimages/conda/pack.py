"""Write conda packages and channel indexes, equal bytes for equal input.

Nothing of the machine, the clock or the order of a folder's files enters: members are sorted, owned by root, dated
1980-01-01 and compressed by one thread.

Spec: conda CEP 22 (package format), conda-package-handling's ``.conda`` version 2, CEP 36 (repodata).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import zstandard

from ..core.entries import LAYER_MTIME, Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from .read import read_index

#: zstd's level. 19 is what conda-forge uses and takes ten times as long for a tenth of the size.
LEVEL = 9

#: Length of the placeholder prefix that packages are built with, so that any shorter real prefix fits binaries.
PLACEHOLDER_LENGTH = 255

_INDEX_REQUIRED = {"name": str, "version": str, "build": str, "build_number": int, "subdir": str, "depends": list}

#: Fields of index.json that solvers read; the rest stays in the package.
_REPODATA_FIELDS = (
    "arch",
    "build",
    "build_number",
    "constrains",
    "depends",
    "features",
    "license",
    "license_family",
    "name",
    "noarch",
    "platform",
    "python_site_packages_path",
    "subdir",
    "timestamp",
    "track_features",
    "version",
)


def write_conda(
    out: Path,
    *,
    index: dict[str, Any],
    entries: Iterable[Entry],
    prefix_placeholder: str | None = None,
    about: dict[str, Any] | None = None,
    info_files: Mapping[str, bytes] | None = None,
) -> str:
    """Write one ``.conda`` package and return its sha256 (64 hexadecimal digits).

    Args:
        out: the file to write; its name must be ``<name>-<version>-<build>.conda`` of the index.
        index: info/index.json; name, version, build, build_number, subdir and depends are required. Packages that it
            calls ``noarch: python`` have ``site-packages/`` and ``python-scripts/`` instead of ``lib/…`` and ``bin/``.
        entries: files relative to the prefix, e.g. ``bin/python``. Owners are dropped and modes become 0644 or 0755.
            Folders are implied by what lies in them; conda packages cannot hold empty ones.
        prefix_placeholder: the prefix that the files were built for, absolute, which is found in them; None when none
            holds a prefix.
        about: info/about.json.
        info_files: further members of ``info/``, path relative to it -> content, e.g. ``licenses/LICENSE``.

    Raises:
        HelioError: the index or the entries contradict each other; names the package and the file.
    """
    members = _members(out, index, entries)
    stem = out.name.removesuffix(".conda")
    paths: list[dict[str, Any]] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_zip_member("metadata.json"), json.dumps({"conda_pkg_format_version": 2}))
        with _tar_zst(archive, f"pkg-{stem}.tar.zst") as tar:
            for path, entry in members.items():
                data = _data(members, entry)
                tar.addfile(_tar_member(entry, data), io.BytesIO(data) if entry.kind is Kind.FILE else None)
                paths.append(_path_record(out, path, entry, data, prefix_placeholder))
        # paths.json is sorted by path; hard links come after the files in the tar, so sort again.
        paths.sort(key=lambda record: record["_path"])
        with _tar_zst(archive, f"info-{stem}.tar.zst") as tar:
            for path, data in _info(index, paths, about, info_files or {}):
                tar.addfile(_tar_member(Entry(path=path, kind=Kind.FILE), data), io.BytesIO(data))
    with open(out, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _members(out: Path, index: dict[str, Any], entries: Iterable[Entry]) -> dict[str, Entry]:
    """Check the index and the entries; return path -> entry, hard links last and needless folders dropped."""
    for key, kind in _INDEX_REQUIRED.items():
        if not isinstance(index.get(key), kind):
            raise _broken(out, f"index has no {kind.__name__} `{key}`")
    expected = f"{index['name']}-{index['version']}-{index['build']}.conda"
    if out.name != expected:
        raise _broken(out, f"its name should be {expected}, as its index says")
    noarch = index.get("noarch")
    if noarch not in ("python", "generic", None):
        raise _broken(out, f"noarch is {noarch!r}, expected python or generic")
    if (noarch is not None) != (index["subdir"] == "noarch"):
        raise _broken(out, f"subdir {index['subdir']} does not fit noarch {noarch!r}")
    members: dict[str, Entry] = {}
    for entry in entries:
        path = check_path(entry.path, out.name)
        if path in members:
            raise _broken(out, f"{path} is given twice")
        if path.split("/")[0] == "info":
            raise _broken(out, f"{path} would be taken for the package's metadata")
        members[path] = entry
    for path, entry in members.items():
        target = members.get(entry.target)
        if entry.kind is Kind.HARDLINK and (target is None or target.kind is not Kind.FILE):
            raise _broken(out, f"{path} is a hard link to {entry.target}, which is not a file of the package")
    parents = {path.rpartition("/")[0] for path in members}
    if empty := sorted(path for path, entry in members.items() if entry.kind is Kind.DIR and path not in parents):
        raise _broken(out, f"the folder {empty[0]} is empty, and a conda package holds only files")
    kept = {path: entry for path, entry in members.items() if entry.kind is not Kind.DIR}
    return dict(sorted(kept.items(), key=lambda item: (item[1].kind is Kind.HARDLINK, item[0].split("/"))))


def _data(members: dict[str, Entry], entry: Entry) -> bytes:
    if entry.kind is Kind.HARDLINK:
        entry = members[entry.target]
    if entry.kind is Kind.FILE:
        return entry.content.read() if entry.content else b""
    return b""


def _path_record(out: Path, path: str, entry: Entry, data: bytes, placeholder: str | None) -> dict[str, Any]:
    """Return one element of paths.json.

    Spec: CEP 34, "info/paths.json".
    """
    record: dict[str, Any] = {"_path": path, "path_type": "hardlink"}
    if entry.kind is Kind.SYMLINK:
        if placeholder and placeholder in entry.target:
            raise _broken(out, f"the symbolic link {path} points into the build prefix")
        # conda wants both fields; installers compare neither for a link.
        data = entry.target.encode()
        return record | {
            "path_type": "softlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
    record |= {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
    if placeholder is not None and placeholder.encode() in data:
        record |= {"file_mode": "binary" if b"\0" in data else "text", "prefix_placeholder": placeholder}
    return record


def _info(
    index: dict[str, Any],
    paths: list[dict[str, Any]],
    about: dict[str, Any] | None,
    extra: Mapping[str, bytes],
) -> list[tuple[str, bytes]]:
    """Return the members of ``info/``, sorted."""
    members = {f"info/{path}": data for path, data in extra.items()}
    members |= {
        "info/index.json": _json(index),
        "info/paths.json": _json({"paths": paths, "paths_version": 1}),
        "info/files": "".join(f"{record['_path']}\n" for record in paths).encode(),
    }
    if about is not None:
        members["info/about.json"] = _json(about)
    if (noarch := index.get("noarch")) is not None:
        members["info/link.json"] = _json({"noarch": {"type": noarch}, "package_metadata_version": 1})
    return sorted(members.items())


def write_repodata(channel_dir: Path, subdirs: Sequence[str]) -> None:
    """Index a channel folder: write ``<subdir>/repodata.json`` for each subdir from the packages that lie in it.

    ``noarch`` is always written, because every client asks for it.

    Raises:
        HelioError: a package whose index does not fit its file name or folder.
    """
    for subdir in sorted({*subdirs, "noarch"}):
        folder = channel_dir / subdir
        folder.mkdir(parents=True, exist_ok=True)
        packages: dict[str, dict[str, Any]] = {"packages": {}, "packages.conda": {}}
        for path in sorted(folder.iterdir()):
            suffix = next((s for s in (".conda", ".tar.bz2") if path.name.endswith(s)), None)
            if suffix is None:
                continue
            index = read_index(path)
            if path.name != f"{index['name']}-{index['version']}-{index['build']}{suffix}":
                raise _broken(path, "its name does not fit its index")
            # An older package does not say where it belongs: it belongs where it lies.
            if index.setdefault("subdir", subdir) != subdir:
                raise _broken(path, f"it is in {subdir}/, but its index says {index['subdir']}")
            record = {key: index[key] for key in _REPODATA_FIELDS if index.get(key) is not None}
            with open(path, "rb") as file:
                record["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                record["md5"] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                record["size"] = file.tell()
            packages["packages.conda" if suffix == ".conda" else "packages"][path.name] = record
        document = {"info": {"subdir": subdir}, **packages, "removed": [], "repodata_version": 1}
        with _replacing(folder / "repodata.json") as file:
            file.write(_json(document))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@contextlib.contextmanager
def _replacing(out: Path) -> Iterator[IO[bytes]]:
    """Yield a file that becomes ``out`` whole, or leaves nothing."""
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name[:32]}.")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            os.fchmod(file.fileno(), 0o644)
        os.replace(name, out)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def _zip_member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    return info


@contextlib.contextmanager
def _tar_zst(archive: zipfile.ZipFile, name: str) -> Iterator[tarfile.TarFile]:
    # threads=0: zstd's own worker threads give other bytes than its single thread.
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=0)
    with (
        archive.open(_zip_member(name), "w", force_zip64=False) as raw,
        compressor.stream_writer(raw, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar


def _tar_member(entry: Entry, data: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(entry.path)
    member.mtime = LAYER_MTIME
    member.mode = 0o755 if entry.mode & 0o111 else 0o644
    if entry.kind is Kind.FILE:
        member.size = len(data)
    elif entry.kind is Kind.SYMLINK:
        member.type, member.mode, member.linkname = tarfile.SYMTYPE, 0o777, entry.target
    else:
        member.type, member.linkname = tarfile.LNKTYPE, entry.target
    return member


def _broken(path: Path, what: str) -> HelioError:
    return HelioError(
        Stage.BUILD,
        f"cannot write the conda package `{path.name}`: {what}",
        where=path.name,
        hint="mend the recipe in channel/",
    )

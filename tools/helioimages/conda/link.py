"""Link one conda package: the entries that an installer would make in the prefix, without making them.

The result is the same as of rattler's own ``install``, but for what depends on the machine: modes become 0644 or
0755, everything belongs to root, and the record in ``conda-meta/`` names no local path. Two packages that bring one
path are found where their entries are merged.

Spec: conda CEP 34; conda's and rattler's installers (tests/integration/test_conda_oracle.py compares).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import entries
from ..core.entries import Content, Entry, Kind, check_path
from ..core.errors import HelioError, Stage
from ..core.platform import Subdir
from .lock import CondaPackage
from .metadata import malformed
from .prefix import entry_point_script, replace_binary, replace_text
from .read import Archive, CondaMember, read_archive
from .scripts import SCRIPT_HINT, script_kind

PREFIX = "/srv/conda/envs/notebook"

_RECORD_FIELDS = (
    "arch",
    "constrains",
    "features",
    "license",
    "license_family",
    "noarch",
    "platform",
    "python_site_packages_path",
    "timestamp",
    "track_features",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """An environment that packages are linked into.

    Attributes:
        path: absolute, in the image.
        python_version: major and minor of the environment's Python, e.g. ``3.13``; None when it has none.
        site_packages: where Python's packages lie, relative to the prefix: the python package's
            ``python_site_packages_path``; None for ``lib/python<version>/site-packages``.
        platform: conda's name of the target, e.g. ``linux-64``.
        scripts: sha256 of scripts that installers run and that need not run here; they are only files.
    """

    path: str = PREFIX
    python_version: str | None
    site_packages: str | None = None
    platform: Subdir
    scripts: AbstractSet[str] = frozenset()


def link(
    archive_path: Path, package: CondaPackage, prefix: Prefix, *, requested_specs: Sequence[str] = ()
) -> tuple[Entry, ...]:
    """Return the entries of one package, sorted by path, its record in ``conda-meta/`` included.

    Args:
        archive_path: the package file, e.g. in the store; its own name does not matter.
        package: what the lock says of it.
        prefix: the environment that it is linked into.
        requested_specs: what was asked for that this package answers, for the record.

    Raises:
        HelioError: not the locked package, malformed, hostile, or with a script to run at installation.
    """
    archive = read_archive(archive_path, package.file_name)
    _check_identity(archive, package, prefix.platform)
    _check_prefix(prefix.path)
    linker = _Linker(archive, package, prefix)
    linked = [linker.entry(member) for member in archive.members]
    linked += [linker.entry_point(line) for line in archive.entry_points if archive.noarch == "python"]
    paths = [entry.path for entry in linked]
    if len(set(paths)) < len(paths):
        twice = next(path for index, path in enumerate(paths) if path in paths[:index])
        raise malformed(package.file_name, f"two of its files become {twice}")
    record = _record_bytes(linker.record(requested_specs))
    linked.append(entries.file(linker.place(record_path(package)), record, origin=linker.origin))
    return tuple(sorted(linked, key=lambda entry: entry.path.split("/")))


def record_path(package: CondaPackage) -> str:
    """Return where a package's record lies in the prefix: named by what it is, whatever its file is called."""
    return f"conda-meta/{package.name}-{package.version}-{package.build}.json"


def with_compiled(
    entries: Iterable[Entry], compiled: Iterable[Entry], package: CondaPackage, prefix: str = PREFIX
) -> tuple[Entry, ...]:
    """Return a package's entries and the .pyc compiled from them; where both have one, ours stays.

    The package's own is for the source's time on the machine that built it, and every file of a layer has another time:
    the interpreter would compile again at each import. The package's record says what lies there now.

    Args:
        entries: what `link` gave.
        compiled: see `pypi.pyc.compile_entries`.
    """
    entries, compiled = tuple(entries), tuple(compiled)
    ours = {entry.path: entry for entry in compiled}
    replaced = {entry.path: entry for entry in entries if entry.path in ours}
    if not replaced:
        return (*entries, *compiled)
    start = prefix.removeprefix("/") + "/"
    told = {path.removeprefix(start): ours[path] for path in replaced}
    record = start + record_path(package)
    return (*_recorded(_heirs(entries, replaced), record, lambda data: _amended(data, told)), *compiled)


def forgetting(
    entries: tuple[Entry, ...], kept: tuple[Entry, ...], package: CondaPackage, prefix: str = PREFIX
) -> tuple[Entry, ...]:
    """Return the entries that a package keeps where others win some of its paths; its record forgets those.

    Args:
        entries: what `link` gave.
        kept: those of them that nobody else wins.
    """
    lost = {entry.path for entry in entries} - {entry.path for entry in kept}
    if not lost:
        return kept
    start = prefix.removeprefix("/") + "/"
    gone = {path.removeprefix(start) for path in lost}
    return tuple(_recorded(_heirs(entries, lost), start + record_path(package), lambda data: _less(data, gone)))


def _heirs(entries: tuple[Entry, ...], gone: Collection[str]) -> Iterator[Entry]:
    """Yield the entries less those of some paths; a second name of one that goes becomes the file."""
    linked = {entry.path: entry for entry in entries}
    heirs: dict[str, str] = {}
    for entry in entries:
        if entry.path in gone:
            continue
        if entry.kind is Kind.HARDLINK and entry.target in gone:
            first = heirs.setdefault(entry.target, entry.path)
            if first == entry.path:
                entry = replace(entry, kind=Kind.FILE, target="", content=linked[entry.target].content)
            else:
                entry = replace(entry, target=first)
        yield entry


def _recorded(entries: Iterable[Entry], record: str, change: Callable[[bytes], bytes]) -> Iterator[Entry]:
    """Yield the entries, the package's record changed."""
    for entry in entries:
        if entry.path == record:
            assert entry.content is not None
            entry = replace(entry, content=Content.of(change(entry.content.read())))
        yield entry


def _less(record: bytes, gone: Collection[str]) -> bytes:
    """Return a record that does not tell of some paths."""
    document = json.loads(record)
    document["files"] = [path for path in document["files"] if path not in gone]
    paths = document["paths_data"]["paths"]
    document["paths_data"]["paths"] = [item for item in paths if item["_path"] not in gone]
    return _record_bytes(document)


def _amended(record: bytes, ours: Mapping[str, Entry]) -> bytes:
    """Return a record that tells size and digest of the files that replaced the package's own."""
    document = json.loads(record)
    for item in document["paths_data"]["paths"]:
        if entry := ours.get(item["_path"]):
            assert entry.content is not None
            item["sha256_in_prefix"] = hashlib.sha256(entry.content.read()).hexdigest()
            item["size_in_bytes"] = entry.content.size
    return _record_bytes(document)


def _record_bytes(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _check_prefix(prefix: str) -> None:
    # A `#!` line cannot hold white space, and a relative prefix would be written into files as it is.
    if not prefix.startswith("/") or prefix.split() != [prefix]:
        raise HelioError(
            Stage.LINK,
            f"`{prefix}` cannot be a prefix",
            detail="expected an absolute path without white space",
            hint=f"use {PREFIX}",
        )
    check_path(prefix[1:], "the prefix")


def _check_identity(archive: Archive, package: CondaPackage, platform: Subdir) -> None:
    """Refuse another package than the locked one (the store has checked the digest, the lock may be wrong)."""
    for key in ("name", "version", "build"):
        if archive.index[key] != getattr(package, key):
            raise malformed(
                package.file_name,
                f"its {key} is not the locked one",
                f"expected {getattr(package, key)} not {archive.index[key]}",
            )
    if package.subdir not in (platform, "noarch"):
        raise HelioError(
            Stage.LINK,
            f"the conda package `{package.file_name}` is for another platform",
            detail=f"expected {platform} or noarch not {package.subdir}",
            hint="run `buildimages lock`",
        )


class _Linker:
    """What is the same for all files of one package, and the record that grows with them."""

    def __init__(self, archive: Archive, package: CondaPackage, prefix: Prefix) -> None:
        self.origin = f"{package.name}-{package.version}"
        self._archive, self._package = archive, package
        self._prefix, self._platform, self._scripts = prefix.path, prefix.platform, prefix.scripts
        self._python_version = prefix.python_version
        self._site_packages = prefix.site_packages or f"lib/python{prefix.python_version}/site-packages"
        self._listed = {member.listed.path: member for member in archive.members}
        self._paths: list[dict[str, Any]] = []
        if archive.noarch == "python" and prefix.python_version is None:
            raise HelioError(
                Stage.LINK,
                f"`{package.file_name}` is a noarch python package, but the environment has no python",
                where=package.file_name,
                hint="add python to the conda section of environment.yml",
            )

    def place(self, path: str) -> str:
        """Return a path of the prefix as a path of the image."""
        return f"{self._prefix.removeprefix('/')}/{path}"

    def _target(self, path: str) -> str:
        """Return where a file of the package goes, relative to the prefix.

        Spec: CEP 34, "noarch: python".
        """
        if self._archive.noarch == "python":
            if path.startswith("site-packages/"):
                return f"{self._site_packages}/{path.removeprefix('site-packages/')}"
            if path.startswith("python-scripts/"):
                return f"bin/{path.removeprefix('python-scripts/')}"
        return path

    def entry(self, member: CondaMember) -> Entry:
        """Return the entry of one file, and note it for the record."""
        listed = member.listed
        target = self._target(listed.path)
        kind = script_kind(self._package.name, target)
        if kind and not (member.sha256 and member.sha256 in self._scripts):
            raise HelioError(
                Stage.LINK,
                f"`{self._package.file_name}` has a {kind} script, which would have to run at installation",
                where=f"{self._package.file_name} at {listed.path}",
                hint=SCRIPT_HINT,
            )
        path = self.place(target)
        record: dict[str, Any] = {"_path": target}
        if listed.no_link:
            record["no_link"] = True
        if member.kind is Kind.DIR:
            self._paths.append(record | {"path_type": "directory"})
            return entries.directory(path, origin=self.origin)
        if listed.told_sha256 is not None:
            record["sha256"] = listed.told_sha256
        if member.kind is Kind.SYMLINK:
            size = len(member.target.encode()) if listed.told_size is None else listed.told_size
            # Builders hash the link's text, its target, or nothing; what lies in the prefix is the text.
            actual = hashlib.sha256(member.target.encode()).hexdigest()
            if listed.told_sha256 != actual:
                record["sha256_in_prefix"] = actual
            self._paths.append(record | {"path_type": "softlink", "size_in_bytes": size})
            return entries.symlink(path, member.target, origin=self.origin)
        content = self._content(member)
        record |= {"path_type": "hardlink", "size_in_bytes": content.size}
        if listed.placeholder:
            record |= {"file_mode": listed.file_mode, "prefix_placeholder": listed.placeholder}
        if content.sha256 != listed.sha256:
            record["sha256_in_prefix"] = content.sha256
        self._paths.append(record)
        mode = 0o755 if member.mode & 0o111 else 0o644
        if self._shared(member):
            target = self.place(self._target(member.target))
            return Entry(path=path, kind=Kind.HARDLINK, mode=mode, target=target, origin=self.origin)
        return Entry(path=path, kind=Kind.FILE, mode=mode, content=content, origin=self.origin)

    def _shared(self, member: CondaMember) -> bool:
        """Say whether a hard link of the archive is still the same file as its target once prefixes are replaced."""
        other = self._listed.get(member.target) if member.kind is Kind.HARDLINK else None
        return (
            other is not None
            and other.listed.placeholder == member.listed.placeholder
            and other.listed.file_mode == member.listed.file_mode
        )

    def _content(self, member: CondaMember) -> Content:
        listed, original = member.listed, member.content
        assert original is not None  # of a file or a hard link, which is all that comes here
        if not listed.placeholder:
            return replace(original, sha256=member.sha256)
        prefix, platform, name = self._prefix, self._platform, self._package.file_name

        def read() -> bytes:
            if listed.file_mode == "text":
                return replace_text(original.read(), listed.placeholder, prefix, platform)
            try:
                return replace_binary(original.read(), listed.placeholder, prefix)
            except ValueError as error:
                raise HelioError(
                    Stage.LINK,
                    f"the prefix does not fit into `{name}`",
                    where=f"{name} at {listed.path}",
                    detail=str(error),
                    hint="choose a shorter prefix, or a build of the package with a longer placeholder",
                ) from error

        data = read()
        return Content(len(data), read, hashlib.sha256(data).hexdigest())

    def entry_point(self, line: str) -> Entry:
        """Return the script of one entry point, and note it for the record."""
        command, script = entry_point_script(
            line, self._prefix, self._python_version or "", self._platform, self._package.file_name
        )
        self._paths.append(
            {
                "_path": f"bin/{command}",
                "path_type": "unix_python_entry_point",
                "sha256": hashlib.sha256(script).hexdigest(),
                "size_in_bytes": len(script),
            }
        )
        return entries.file(self.place(f"bin/{command}"), script, mode=0o755, origin=self.origin)

    def record(self, requested_specs: Sequence[str]) -> dict[str, Any]:
        """Return the package's record, ``conda-meta/<name-version-build>.json``.

        Spec: rattler_conda_types ``PrefixRecord``, conda ``PrefixRecord``.
        """
        package, index = self._package, self._archive.index
        paths = sorted(self._paths, key=lambda record: record["_path"].split("/"))
        # rattler reads only absolute URLs; one of a channel without a place on the network names no host.
        url = package.url if "://" in package.url else f"file:///{package.url}"
        record = {key: index[key] for key in _RECORD_FIELDS if index.get(key) not in (None, "", [])}
        record |= {
            "name": package.name,
            "version": package.version,
            "build": package.build,
            "build_number": index["build_number"],
            "subdir": package.subdir,
            "depends": list(package.depends),
            "md5": package.md5,
            "sha256": package.sha256,
            "fn": package.file_name,
            "url": url,
            "channel": url.removesuffix(f"{package.subdir}/{package.file_name}"),
            "requested_specs": list(requested_specs),
            "files": [item["_path"] for item in paths if item["path_type"] != "directory"],
            "paths_data": {"paths_version": 1, "paths": paths},
        }
        if package.size is not None:
            record["size"] = package.size
        if requested_specs:
            record["requested_spec"] = requested_specs[0]
        return record

"""Conda packages written member by member, and what py-rattler's own installer makes of them.

py-rattler runs in a process of its own, because 0.28 now and then crashes while its interpreter shuts down.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import zstandard

from helioimages.conda.archive import read_index, write_repodata
from helioimages.conda.link import Prefix, link
from helioimages.conda.lock import CondaPackage
from helioimages.core.entries import Entry, Kind, merge

PREFIX = "/srv/conda/envs/notebook"
PLACEHOLDER = "/build/" + "placehold_" * 24 + "end"
VIRTUAL = {"__glibc": "2.41", "__linux": "6.1", "__unix": "0", "__archspec": "x86_64"}

INSTALL = """
import asyncio, json, os, sys
from pathlib import Path
import rattler

async def main(channel, names, target, cache, platform, prefix):
    records = []
    for subdir in (platform, "noarch"):
        path = Path(channel, subdir, "repodata.json")
        records += rattler.RepoData.from_path(path).into_repo_data(rattler.Channel(Path(channel).as_uri()))
    chosen = [record for record in records if record.file_name in names]
    assert len(chosen) == len(names), names
    await rattler.install(
        chosen, target_prefix=target, cache_dir=Path(cache), platform=rattler.Platform(platform),
        execute_link_scripts=False, show_progress=False, alternative_target_prefix=prefix)

asyncio.run(main(*json.load(sys.stdin)))
sys.stdout.flush()
os._exit(0)
"""

READ_RECORDS = """
import json, os, sys
import rattler

for path in json.load(sys.stdin):
    record = rattler.PrefixRecord.from_path(path)
    print(record.name.source, record.version, record.build, len(record.files), len(record.paths_data.paths))
sys.stdout.flush()
os._exit(0)
"""


def run_python(code: str, value: Any) -> str:
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(value), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def tar_of(files: Mapping[str, tuple[bytes | str, int]]) -> bytes:
    """Return a tar: bytes are files, ``-> text`` symbolic links, ``== path`` hard links; each with its mode."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, (content, mode) in files.items():
            member = tarfile.TarInfo(path)
            member.mode = mode
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
                continue
            member.type = tarfile.SYMTYPE if content.startswith("-> ") else tarfile.LNKTYPE
            member.linkname = content[3:]
            tar.addfile(member)
    return raw.getvalue()


def write_package(
    channel: Path,
    name: str,
    files: Mapping[str, tuple[bytes | str, int]],
    *,
    version: str = "1.0",
    noarch: str | None = None,
    index: Mapping[str, Any] | None = None,
    info: Mapping[str, bytes] | None = None,
    prefixes: Mapping[str, str] | None = None,
    no_link: tuple[str, ...] = (),
    as_bz2: bool = False,
    paths_json: bool = True,
) -> None:
    """Write a package member by member, so that nothing of ours stands between the test and the reader."""
    subdir = "noarch" if noarch else "linux-64"
    head = {"name": name, "version": version, "build": "h0_0", "build_number": 0, "subdir": subdir, "depends": []}
    head |= {"license": "MIT", "timestamp": 1_700_000_000_000} | dict(index or {})
    if noarch:
        head["noarch"] = noarch
    head = {key: value for key, value in head.items() if value is not None}
    paths = []
    for path, (content, _) in files.items():
        data = content
        while isinstance(data, str) and data.startswith("== "):
            data = files[data[3:]][0]
        is_link = isinstance(data, str)
        data = data[3:].encode() if isinstance(data, str) else data
        record = {"_path": path, "path_type": "softlink" if is_link else "hardlink", "size_in_bytes": len(data)}
        record["sha256"] = hashlib.sha256(data).hexdigest()
        if mode := (prefixes or {}).get(path):
            record |= {"file_mode": mode, "prefix_placeholder": PLACEHOLDER}
        if path in no_link:
            record["no_link"] = True
        paths.append(record)
    members = {"info/index.json": json.dumps(head).encode(), **(info or {})}
    if paths_json:
        members["info/paths.json"] = json.dumps({"paths": paths, "paths_version": 1}).encode()
    else:
        members["info/files"] = "".join(f"{path}\n" for path in files).encode()
        if prefixes:
            lines = (f"{PLACEHOLDER} {mode} {path}\n" for path, mode in prefixes.items())
            members.setdefault("info/has_prefix", "".join(lines).encode())
        if no_link:
            members["info/no_link"] = "".join(f"{path}\n" for path in no_link).encode()
    information = {path: (data, 0o644) for path, data in members.items()}
    stem = f"{name}-{version}-h0_0"
    (channel / subdir).mkdir(parents=True, exist_ok=True)
    if as_bz2:
        (channel / subdir / f"{stem}.tar.bz2").write_bytes(bz2.compress(tar_of({**files, **information})))
        return
    with zipfile.ZipFile(channel / subdir / f"{stem}.conda", "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        compress = zstandard.ZstdCompressor().compress
        archive.writestr(f"pkg-{stem}.tar.zst", compress(tar_of(files)))
        archive.writestr(f"info-{stem}.tar.zst", compress(tar_of(information)))


def package_files(channel: Path, platform: str) -> list[Path]:
    paths = [path for subdir in (platform, "noarch") for path in (channel / subdir).iterdir()]
    return sorted(path for path in paths if path.name.endswith((".conda", ".tar.bz2")))


def conda_package(
    name: str,
    version: str = "1.0",
    build: str = "h0_0",
    *,
    channel: str = "local",
    subdir: str = "linux-64",
    **changes: Any,
) -> CondaPackage:
    """Return a locked package of linux-64; what ``changes`` do not say of its file is made up."""
    file_name = changes.get("file_name", f"{name}-{version}-{build}.conda")
    values: dict[str, Any] = {"platform": "linux-64", "file_name": file_name, "url": f"{channel}/{subdir}/{file_name}"}
    values |= {"sha256": "0" * 64, "md5": "0" * 32, "size": 1, "depends": ()}
    return CondaPackage(name=name, version=version, build=build, channel=channel, subdir=subdir, **values | changes)


def locked_package(path: Path, platform: str) -> CondaPackage:
    index, data = read_index(path), path.read_bytes()
    return conda_package(
        index["name"],
        index["version"],
        index["build"],
        subdir=path.parent.name,
        platform=platform,
        file_name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        md5=hashlib.md5(data).hexdigest(),
        size=len(data),
        depends=tuple(index["depends"]),
    )


def _comparable(record: bytes) -> Any:
    """Return a conda-meta record without what names a place."""
    value = json.loads(record)
    for key in ("url", "channel", "link", "extracted_package_dir", "package_tarball_full_path"):
        value.pop(key, None)
    return value


def facts_of(path: str, data: bytes | str, mode: int) -> tuple[Any, ...]:
    if isinstance(data, str):
        return ("link", data)
    if path.startswith("conda-meta/"):
        return ("record", _comparable(data))
    return ("file", hashlib.sha256(data).hexdigest(), bool(mode & 0o111))


Facts = dict[str, tuple[Any, ...]]


def our_entries(files: list[Path], platform: str, **options: Any) -> tuple[Facts, tuple[Entry, ...]]:
    """Return what our linker makes of packages: comparable, and as it is."""
    prefix = Prefix(platform=platform, **options)
    entries = merge(entry for path in files for entry in link(path, locked_package(path, platform), prefix))
    return entry_facts(entries), entries


def entry_facts(entries: Iterable[Entry]) -> Facts:
    """Return path -> what is there, of merged entries."""
    entries = tuple(entries)
    by_path = {entry.path: entry for entry in entries}
    facts = {}
    for entry in entries:
        path = entry.path.removeprefix(PREFIX.removeprefix("/") + "/")
        if entry.kind is Kind.DIR:
            continue
        if entry.kind is Kind.SYMLINK:
            facts[path] = facts_of(path, entry.target, 0)
            continue
        original = by_path[entry.target] if entry.kind is Kind.HARDLINK else entry
        assert original.content is not None
        data = original.content.read()
        assert len(data) == original.content.size, path
        assert (entry.mode in (0o644, 0o755), entry.uid, entry.gid) == (True, 0, 0), path
        facts[path] = facts_of(path, data, entry.mode)
    return facts


def their_files(channel: Path, files: list[Path], tmp: Path, platform: str) -> Facts:
    """Return what rattler's installer makes of packages."""
    target = tmp / "prefix"
    names = [path.name for path in files]
    run_python(INSTALL, [str(channel), names, str(target), str(tmp / "cache"), platform, PREFIX])
    return tree_facts(target)


def tree_facts(target: Path) -> Facts:
    """Return path -> what is there, of an installed environment."""
    facts = {}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        # Made once for the whole environment, not by a package.
        if name in ("CACHEDIR.TAG", "conda-meta/history") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            facts[name] = facts_of(name, os.readlink(path), 0)
        else:
            facts[name] = facts_of(name, path.read_bytes(), path.stat().st_mode)
    return facts


def agree(channel: Path, tmp: Path, *, platform: str = "linux-64", **options: Any) -> tuple[Entry, ...]:
    """Assert that rattler and we make the same of a channel's packages; return our entries."""
    write_repodata(channel, [platform])
    files = package_files(channel, platform)
    ours, entries = our_entries(files, platform, **options)
    assert differences(ours, their_files(channel, files, tmp, platform)) == []
    return entries


def differences(ours: Facts, theirs: Facts) -> list[str]:
    """Return what differs, for a person to read: one line a path, and a record's fields apart."""
    lines = []
    for path in sorted(ours.keys() | theirs.keys()):
        left, right = ours.get(path), theirs.get(path)
        if left == right:
            continue
        if left and right and left[0] == right[0] == "record":
            left, right = dict(left[1]), dict(right[1])
            for record in (left, right):
                record.update({item["_path"]: item for item in record.pop("paths_data")["paths"]})
            lines += [
                f"{path}: {key}: {left.get(key)} != {right.get(key)}"
                for key in sorted(left.keys() | right.keys())
                if left.get(key) != right.get(key)
            ]
        else:
            lines.append(f"{path}: {left} != {right}")
    return lines


INSTALL_EACH = """
import asyncio, json, os, sys
from pathlib import Path
import rattler

async def install(channels, target, cache, platform, prefix):
    records = []
    for channel in channels:
        for path in Path(channel).glob("*/repodata.json"):
            records += rattler.RepoData.from_path(path).into_repo_data(rattler.Channel(Path(channel).as_uri()))
    await rattler.install(
        records, target_prefix=target, cache_dir=Path(cache), platform=rattler.Platform(platform),
        execute_link_scripts=False, show_progress=False, alternative_target_prefix=prefix)

said = []
for job in json.load(sys.stdin):
    try:
        asyncio.run(install(*job))
        said.append("")
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
json.dump(said, sys.stdout)
sys.stdout.flush()
os._exit(0)
"""


def install_each(jobs: list[tuple[list[str], str, str, str]]) -> list[str]:
    """Install environments with rattler, one after another: what it says of each, empty where it is content.

    Args:
        jobs: the channels (all their packages are installed), the target, the cache, the platform.
    """
    told: list[str] = json.loads(run_python(INSTALL_EACH, [[*job, PREFIX] for job in jobs]))
    return told


def raw_index(path: Path) -> dict[str, Any]:
    """Return info/index.json as the package has it, with no reader of ours between.

    Raises:
        Exception: whatever the formats' readers raise on a package that is none.
    """
    data = path.read_bytes()
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            [info] = [name for name in archive.namelist() if name.startswith("info-")]
            unpacked = zstandard.ZstdDecompressor().stream_reader(archive.read(info)).read()
    else:
        unpacked = bz2.decompress(data)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        for member in tar:
            if member.name.removeprefix("./") == "info/index.json":
                file = tar.extractfile(member)
                assert file is not None
                value: dict[str, Any] = json.load(file)
                return value
    raise LookupError("no info/index.json")

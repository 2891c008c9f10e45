"""The linker, the solver and the writer against the real thing: py-rattler's own installer and readers.

py-rattler runs in a process of its own, because 0.28 now and then crashes while its interpreter shuts down.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from helioimages.conda.archive import read_index, write_repodata
from helioimages.conda.link import link
from helioimages.conda.lock import CondaPackage
from helioimages.conda.solve import solve
from helioimages.core.entries import Entry, Kind, merge
from helioimages.machine.store import default_root

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


def _python(code: str, value: Any) -> str:
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(value), capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return done.stdout


def _tar(files: Mapping[str, tuple[bytes | str, int]]) -> bytes:
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


def _package(
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
    bz2: bool = False,
    paths_json: bool = True,
) -> None:
    """Write a package member by member, so that nothing of ours stands between the test and the reader."""
    subdir = "noarch" if noarch else "linux-64"
    head = {"name": name, "version": version, "build": "h0_0", "build_number": 0, "subdir": subdir, "depends": []}
    head |= {"license": "MIT", "timestamp": 1_700_000_000_000} | dict(index or {})
    if noarch:
        head["noarch"] = noarch
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
    if bz2:
        import bz2 as compressor

        (channel / subdir / f"{stem}.tar.bz2").write_bytes(compressor.compress(_tar({**files, **information})))
        return
    with zipfile.ZipFile(channel / subdir / f"{stem}.conda", "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        compress = zstandard.ZstdCompressor().compress
        archive.writestr(f"pkg-{stem}.tar.zst", compress(_tar(files)))
        archive.writestr(f"info-{stem}.tar.zst", compress(_tar(information)))


def _files(channel: Path, platform: str) -> list[Path]:
    found = [path for subdir in (platform, "noarch") for path in (channel / subdir).iterdir()]
    return sorted(path for path in found if path.name.endswith((".conda", ".tar.bz2")))


def _locked(path: Path, platform: str) -> CondaPackage:
    index, data = read_index(path), path.read_bytes()
    return CondaPackage(
        name=index["name"],
        version=index["version"],
        build=index["build"],
        platform=platform,
        subdir=index["subdir"],
        channel="local",
        file_name=path.name,
        url=f"local/{index['subdir']}/{path.name}",
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


def _facts(path: str, data: bytes | str, mode: int) -> tuple[Any, ...]:
    if isinstance(data, str):
        return ("link", data)
    if path.startswith("conda-meta/"):
        return ("record", _comparable(data))
    return ("file", hashlib.sha256(data).hexdigest(), bool(mode & 0o111))


def _ours(files: list[Path], platform: str, **options: Any) -> tuple[dict[str, tuple[Any, ...]], tuple[Entry, ...]]:
    entries = merge(
        entry for path in files for entry in link(path, _locked(path, platform), platform=platform, **options)
    )
    by_path = {entry.path: entry for entry in entries}
    found = {}
    for entry in entries:
        path = entry.path.removeprefix(PREFIX.removeprefix("/") + "/")
        if entry.kind is Kind.DIR:
            continue
        if entry.kind is Kind.SYMLINK:
            found[path] = _facts(path, entry.target, 0)
            continue
        original = by_path[entry.target] if entry.kind is Kind.HARDLINK else entry
        data = original.content.read()
        assert len(data) == original.content.size, path
        assert (entry.mode in (0o644, 0o755), entry.uid, entry.gid) == (True, 0, 0), path
        found[path] = _facts(path, data, entry.mode)
    return found, entries


def _theirs(channel: Path, files: list[Path], tmp: Path, platform: str) -> dict[str, tuple[Any, ...]]:
    target = tmp / "prefix"
    names = [path.name for path in files]
    _python(INSTALL, [str(channel), names, str(target), str(tmp / "cache"), platform, PREFIX])
    found = {}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        # Made once for the whole environment, not by a package.
        if name in ("CACHEDIR.TAG", "conda-meta/history") or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink():
            found[name] = _facts(name, os.readlink(path), 0)
        else:
            found[name] = _facts(name, path.read_bytes(), path.stat().st_mode)
    return found


def _agree(channel: Path, tmp: Path, *, platform: str = "linux-64", **options: Any) -> tuple[Entry, ...]:
    write_repodata(channel, [platform])
    files = _files(channel, platform)
    ours, entries = _ours(files, platform, **options)
    theirs = _theirs(channel, files, tmp, platform)
    _same(ours, theirs)
    return entries


def _same(ours: dict[str, tuple[Any, ...]], theirs: dict[str, tuple[Any, ...]]) -> None:
    """Compare, with a difference that a person can read: one line a path, and a record's fields apart."""
    found = []
    for path in sorted(ours.keys() | theirs.keys()):
        left, right = ours.get(path), theirs.get(path)
        if left == right:
            continue
        if left and right and left[0] == right[0] == "record":
            left, right = dict(left[1]), dict(right[1])
            for record in (left, right):
                record.update({item["_path"]: item for item in record.pop("paths_data")["paths"]})
            found += [
                f"{path}: {key}: {left.get(key)} != {right.get(key)}"
                for key in sorted(left.keys() | right.keys())
                if left.get(key) != right.get(key)
            ]
        else:
            found.append(f"{path}: {left} != {right}")
    assert found == []


def _text(*parts: str) -> bytes:
    return "".join(parts).replace("@", PLACEHOLDER).encode()


#: name -> (content, mode, has_prefix)
CASES: dict[str, tuple[bytes | str, int, str]] = {
    "bin/script": (_text("#!@/bin/sh -e\necho @ @\n"), 0o755, "text"),
    "bin/again": ("== bin/script", 0o755, "text"),
    "bin/plain": (b"#!/bin/sh\n", 0o775, ""),
    "bin/plain-again": ("== bin/plain", 0o775, ""),
    "bin/long": (_text("#!@/bin/", "y" * 120, " -e -u\n@\n"), 0o755, "text"),
    "bin/long-python": (_text("#!@/", "y" * 120, "/python3.13 -s\n@\n"), 0o755, "text"),
    "bin/long-python-spaced": (_text("#!  @/", "y" * 120, "/python"), 0o755, "text"),
    "bin/long-pypy": (_text("#!@/", "y" * 120, "/python3-config\n"), 0o755, "text"),
    "bin/long-elsewhere": (_text("#!/opt/", "y" * 130, " -x\n@"), 0o755, "text"),
    "bin/long-nothing": (_text("#!", "y" * 130, "\n@"), 0o755, "text"),
    "bin/long-crlf": (_text("#!@/bin/", "y" * 120, " -e\r\n@\r\n"), 0o755, "text"),
    "bin/127": (_text("#!@/bin/", "y" * (127 - len(PREFIX) - 7), "\n@"), 0o755, "text"),
    "bin/128": (_text("#!@/bin/", "y" * (128 - len(PREFIX) - 7), "\n@"), 0o755, "text"),
    "lib/only": (_text("@"), 0o644, "text"),
    "lib/absent": (b"nothing to replace\xff", 0o664, "text"),
    "lib/empty": (b"", 0o600, ""),
    "lib/strings": (_text("\0\1@/a:@/b\0tail\0@"), 0o755, "binary"),
    "lib/no-end": (_text("\0@/a:@/b"), 0o644, "binary"),
    "lib/adjacent": (_text("@@\0\0@\0x"), 0o644, "binary"),
    "lib/none": (b"\0\1\2", 0o644, "binary"),
    "lib/link": ("-> strings", 0o777, ""),
    "lib/up": ("-> ../bin/script", 0o777, ""),
    "lib/dangling": ("-> /nowhere/at/all", 0o777, ""),
    "lib/über/ünï code": (b"1", 0o644, ""),
    "lib/copied": (b"2", 0o644, ""),
}


@pytest.mark.parametrize("bz2", [False, True], ids=["conda", "tar.bz2"])
@pytest.mark.parametrize("paths_json", [True, False], ids=["paths.json", "files"])
def test_every_linker_case(tmp_path: Path, bz2: bool, paths_json: bool) -> None:
    channel = tmp_path / "channel"
    files = {path: (content, mode) for path, (content, mode, _) in CASES.items()}
    prefixes = {path: mode for path, (_, _, mode) in CASES.items() if mode}
    options: dict[str, Any] = {"index": {"constrains": ["other >1"], "depends": ["zlib >=1", "python"]}}
    _package(
        channel, "cases", files, prefixes=prefixes, no_link=("lib/copied",), bz2=bz2, paths_json=paths_json, **options
    )
    entries = {entry.path: entry for entry in _agree(channel, tmp_path, python_version=None)}
    assert entries[f"{PREFIX[1:]}/bin/plain-again"].kind is Kind.HARDLINK


def test_old_default_placeholder(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    files = {"bin/old": (b"#!/opt/anaconda1anaconda2anaconda3/bin/sh\n", 0o755)}
    _package(channel, "old", files, paths_json=False, bz2=True, info={"info/has_prefix": b"bin/old\n"})
    entries = _agree(channel, tmp_path, python_version=None)
    content = {entry.path: entry.content for entry in entries}[f"{PREFIX[1:]}/bin/old"]
    assert content.read() == b"#!/srv/conda/envs/notebook/bin/sh\n"


@pytest.mark.parametrize("site_packages", [None, "lib/python3.13t/site-packages"])
def test_noarch(tmp_path: Path, site_packages: str | None) -> None:
    channel = tmp_path / "channel"
    index = {"python_site_packages_path": site_packages} if site_packages else {}
    _package(channel, "python", {"bin/python3.13": (b"", 0o755)}, version="3.13.5", index=index)
    link_json = {
        "noarch": {"type": "python", "entry_points": ["one = pkg.cli:main", "two=pkg:App.run"]},
        "package_metadata_version": 1,
    }
    _package(
        channel,
        "pure",
        {
            "site-packages/pkg/__init__.py": (_text("PREFIX = '@'\n"), 0o644),
            "site-packages/pkg-1.0.dist-info/RECORD": (b"", 0o644),
            "python-scripts/three": (_text("#!@/bin/python\n"), 0o755),
            "share/site-packages/x": (b"x", 0o644),
        },
        noarch="python",
        prefixes={"site-packages/pkg/__init__.py": "text", "python-scripts/three": "text"},
        info={"info/link.json": json.dumps(link_json).encode()},
    )
    _package(channel, "data", {"site-packages/not-python": (b"1", 0o644)}, noarch="generic")
    entries = _agree(channel, tmp_path, python_version="3.13", site_packages=site_packages)
    paths = {entry.path.removeprefix(PREFIX[1:] + "/") for entry in entries}
    assert {"bin/one", "bin/two", "bin/three", "site-packages/not-python"} <= paths
    assert f"{site_packages or 'lib/python3.13/site-packages'}/pkg/__init__.py" in paths


_pieces = st.lists(
    st.sampled_from(
        [PLACEHOLDER, PLACEHOLDER[:-1], "/bin/", " ", "a", "b" * 30, "y" * 100, "python3", "\t", "é", "\r"]
    ),
    max_size=8,
).map("".join)
_texts = st.tuples(
    st.sampled_from(["", "#!", "#! ", "#!/", f"#!{PLACEHOLDER}/bin/"]),
    _pieces,
    st.sampled_from(["", "\n", "\n\n"]),
    _pieces,
).map(lambda parts: "".join(parts).encode())
_binaries = st.lists(
    st.sampled_from([PLACEHOLDER.encode(), PLACEHOLDER[:-1].encode(), b"\0", b"\0\0", b"\xff", b":/x", b"\n"]),
    max_size=12,
).map(b"".join)


# One file differs, of many that were made at once: there is nothing to shrink, and each try starts an installer.
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    texts=st.lists(_texts, min_size=5, max_size=40),
    binaries=st.lists(_binaries, min_size=5, max_size=40),
    mode=st.sampled_from([0o644, 0o755]),
)
def test_any_text_and_any_binary(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], binaries: list[bytes], mode: int
) -> None:
    tmp = tmp_path_factory.mktemp("any")
    files = {f"text/{index}": (data, mode) for index, data in enumerate(texts)}
    files |= {f"binary/{index}": (data, mode) for index, data in enumerate(binaries)}
    prefixes = {path: path.partition("/")[0] for path in files}
    _package(tmp / "channel", "any", files, prefixes=prefixes)
    _agree(tmp / "channel", tmp, python_version=None)


def test_rattler_reads_our_records(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    _package(channel, "reads", {"bin/x": (b"", 0o755), "lib/l": ("-> x", 0o777)}, index={"depends": ["python"]})
    [path] = _files(channel, "linux-64") if (channel / "noarch").mkdir() is None else []
    entries = link(
        path,
        _locked(path, "linux-64"),
        python_version=None,
        platform="linux-64",
        requested_specs=("reads >=1",),
    )
    [record] = [entry for entry in entries if "/conda-meta/" in entry.path]
    out = tmp_path / Path(record.path).name
    out.write_bytes(record.content.read())
    assert _python(READ_RECORDS, [str(out)]) == "reads 1.0 h0_0 2 2\n"


def _local_channel() -> Path:
    found = sorted(default_root().glob("channels/*/channel.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip("the store has no local channel: run `buildimages channel`")
    return found[-1].parent


def test_the_local_channel(tmp_path: Path) -> None:
    channel = _local_channel()
    [platform] = {path.parent.name for path in channel.glob("*/*.conda")} - {"noarch"}
    files = _files(channel, platform)
    python = next(read_index(path)["version"] for path in files if path.name.startswith("python-3"))
    minor = ".".join(python.split(".")[:2])
    ours, entries = _ours(files, platform, python_version=minor)
    _same(ours, _theirs(channel, files, tmp_path, platform))
    records = [entry for entry in entries if "/conda-meta/" in entry.path]
    for entry in records:
        (tmp_path / Path(entry.path).name).write_bytes(entry.content.read())
    read = _python(READ_RECORDS, [str(tmp_path / Path(entry.path).name) for entry in records])
    assert len(read.splitlines()) == len(files)


def test_solving_the_local_channel() -> None:
    channel = _local_channel()
    [platform] = {path.parent.name for path in channel.glob("*/*.conda")} - {"noarch"}
    found = solve(
        ["python 3.13.*"], channel="local", repodata_dirs=[channel], platform=platform, virtual_packages=VIRTUAL
    )
    for package in found:
        path = channel / package.subdir / package.file_name
        assert package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert package.url == f"local/{package.subdir}/{package.file_name}"
    assert "python" in [package.name for package in found]

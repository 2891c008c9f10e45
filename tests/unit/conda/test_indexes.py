"""Indexes of channels over HTTP on loopback, in every form that rattler reads: what is chosen, what is refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helioimages.conda.channels import ChannelPlaces
from helioimages.conda.lock import CondaPackage
from helioimages.conda.solve import CondaQuestion
from helioimages.conda.solve_channels import Channels, solve_channels
from helioimages.core.errors import HelioError

SUBDIRS = ("linux-64", "noarch")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        pass


def record(name: str = "a", version: str = "1.0", **changes: Any) -> dict[str, Any]:
    """Return a record; a field that is None is left out."""
    text = f"{name} {version}".encode()
    fields = {
        **{"name": name, "version": version, "build": "0", "build_number": 0, "depends": [], "subdir": "linux-64"},
        **{"size": 3, "sha256": hashlib.sha256(text).hexdigest(), "md5": hashlib.md5(text).hexdigest()},
        "timestamp": 1_700_000_000_000,
    }
    return {key: value for key, value in (fields | changes).items() if value is not None}


def repodata(*records: Mapping[str, Any], subdir: str = "linux-64", **changes: Any) -> dict[str, Any]:
    files = {f"{row['name']}-{row['version']}-0.conda": row for row in records}
    document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": files, "repodata_version": 1} | changes
    return {key: value for key, value in document.items() if value is not None}


class World:
    """One channel, called ``c``."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url, self.as_folder = folder, url, False

    def write(self, *records: Mapping[str, Any], **changes: Any) -> None:
        self.put("linux-64/repodata.json", json.dumps(repodata(*records, **changes)).encode())
        self.put("noarch/repodata.json", json.dumps(repodata(subdir="noarch")).encode())

    def put(self, path: str, data: bytes) -> None:
        file = self.folder / "c" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def solve(self, *specs: str) -> tuple[CondaPackage, ...]:
        channels = Channels(
            names=("c",),
            strict=True,
            folders={"c": self.folder / "c"} if self.as_folder else {},
            places=ChannelPlaces(alias=self.url),
            cache=self.folder / "cache",
        )
        virtual = {"__glibc": "2.41", "__linux": "0", "__unix": "0"}
        question = CondaQuestion(specs=specs or ("a",), platform="linux-64", virtual_packages=virtual, where="e.yml")
        return solve_channels(question, channels)[0]

    def files(self, *specs: str) -> list[str]:
        return [package.file_name for package in self.solve(*specs)]

    def refused(self, *specs: str) -> HelioError:
        with pytest.raises(HelioError) as caught:
            self.solve(*specs)
        assert "Traceback" not in str(caught.value)
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield World(tmp_path, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()
    thread.join()


def msgpack(value: Any) -> bytes:
    """Return a value as MessagePack, as far as indexes need it. Spec: msgpack.org."""
    if isinstance(value, Mapping):
        return b"\xdf" + len(value).to_bytes(4) + b"".join(msgpack(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return b"\xdd" + len(value).to_bytes(4) + b"".join(map(msgpack, value))
    if isinstance(value, bytes):
        return b"\xc6" + len(value).to_bytes(4) + value
    if isinstance(value, int):
        return b"\xcf" + value.to_bytes(8)
    return b"\xdb" + len(value.encode()).to_bytes(4) + value.encode()


def shards(world: World, *records: Mapping[str, Any], subdir: str) -> None:
    """Write a sharded index. Spec: CEP 16."""
    named: dict[str, dict[str, Any]] = {}
    for row in records:
        digests = {key: bytes.fromhex(row[key]) for key in ("sha256", "md5")}
        named.setdefault(row["name"], {})[f"{row['name']}-{row['version']}-0.conda"] = {**row, **digests}
    digests_by_name = {}
    for name, files in named.items():
        shard = zstandard.compress(msgpack({"packages": {}, "packages.conda": files, "removed": []}))
        digests_by_name[name] = hashlib.sha256(shard).digest()
        world.put(f"{subdir}/shards/{digests_by_name[name].hex()}.msgpack.zst", shard)
    info = {"subdir": subdir, "base_url": "./", "shards_base_url": "./shards/"}
    world.put(
        f"{subdir}/repodata_shards.msgpack.zst", zstandard.compress(msgpack({"info": info, "shards": digests_by_name}))
    )


@pytest.mark.parametrize(("end", "pack"), [("zst", zstandard.compress), ("bz2", bz2.compress)])
def test_a_compressed_index_is_enough(world: World, end: str, pack: Any) -> None:
    world.write(record())
    for subdir in SUBDIRS:
        plain = world.folder / "c" / subdir / "repodata.json"
        plain.with_name(f"repodata.json.{end}").write_bytes(pack(plain.read_bytes()))
        plain.unlink()
    assert world.files() == ["a-1.0-0.conda"]


def test_a_sharded_index_is_enough(world: World) -> None:
    shards(world, record(depends=["b >=2"]), record("b", "2.0"), record("b", "1.0"), subdir="linux-64")
    shards(world, subdir="noarch")
    assert [(package.file_name, package.url) for package in world.solve()] == [
        ("a-1.0-0.conda", "c/linux-64/a-1.0-0.conda"),
        ("b-2.0-0.conda", "c/linux-64/b-2.0-0.conda"),
    ]


@pytest.mark.parametrize("key", ["packages", "packages.conda"])
def test_one_of_the_two_lists_is_enough(world: World, key: str) -> None:
    end = "tar.bz2" if key == "packages" else "conda"
    document = {"info": {"subdir": "linux-64"}, key: {f"a-1.0-0.{end}": record()}}
    world.write()
    world.put("linux-64/repodata.json", json.dumps(document).encode())
    assert world.files() == [f"a-1.0-0.{end}"]


def test_of_two_forms_of_one_build_the_newer_form_is_taken(world: World) -> None:
    world.write(record(), packages={"a-1.0-0.tar.bz2": record()})
    assert world.files() == ["a-1.0-0.conda"]


@pytest.mark.parametrize(
    "changes", [{"depends": None}, {"subdir": None}, {"timestamp": 1_700_000_000}, {"run_exports": {"weak": ["b"]}}]
)
def test_records_as_channels_have_them(world: World, changes: dict[str, Any]) -> None:
    world.write(record(**changes))
    assert world.files() == ["a-1.0-0.conda"]


def test_a_package_without_size_is_locked_without(world: World) -> None:
    world.write(record(size=None))
    assert [package.size for package in world.solve()] == [None]


def test_revoked_and_removed_packages_are_not_taken(world: World) -> None:
    revoked = record(version="2.0", revoked=True, depends=["package_has_been_revoked"])
    world.write(record(), revoked, record(version="3.0"), removed=["a-3.0-0.conda"])
    assert world.files() == ["a-1.0-0.conda"]
    assert "package_has_been_revoked" in str(world.refused("a=2.0"))


def test_a_patched_record_says_what_is_needed(world: World) -> None:
    """The index counts, whatever the package itself says."""
    world.write(record(depends=["b <2"]), record("b", "2.0"), record("b", "1.5"))
    assert world.files() == ["a-1.0-0.conda", "b-1.5-0.conda"]


def test_base_url_is_where_packages_lie(world: World) -> None:
    info = {"subdir": "linux-64", "base_url": "https://cdn.example.org/x/linux-64/"}
    world.write(record(), info=info, repodata_version=2)
    assert [package.url for package in world.solve()] == ["https://cdn.example.org/x/linux-64/a-1.0-0.conda"]


def test_noarch_alone_is_a_channel_and_without_it_there_is_none(world: World) -> None:
    row = record(subdir="noarch", noarch="generic")
    world.put("noarch/repodata.json", json.dumps(repodata(row, subdir="noarch")).encode())
    assert world.files() == ["a-1.0-0.conda"]
    (world.folder / "c/noarch").rename(world.folder / "c/linux-64")
    error = world.refused()
    assert error.message == "cannot read the conda channel `c`"
    assert "it has no index there" in error.detail and "noarch" in error.detail


@pytest.mark.parametrize(("key", "value"), [("build_number", None), ("build_number", "x"), ("version", "")])
def test_a_malformed_record_is_told_without_a_traceback(world: World, key: str, value: Any) -> None:
    row = record(**{key: value})
    world.write(record("b"))
    document = repodata(record("b")) | {"packages.conda": {"a-1.0-0.conda": row}}
    world.put("linux-64/repodata.json", json.dumps(document).encode())
    error = world.refused()
    assert error.message == "the conda solver cannot read what the channel `c` says"
    assert "malformed" in error.hint


@pytest.mark.parametrize("data", [b"", b"<html>log in</html>", b'{"packages.conda": {"a'])
def test_what_is_no_index_is_told(world: World, data: bytes) -> None:
    world.write()
    world.put("linux-64/repodata.json", data)
    assert "its index is damaged or cut" in world.refused().detail


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("pack", [None, zstandard.compress])
@pytest.mark.parametrize("subdir", SUBDIRS)
def test_an_index_of_a_later_version_is_refused(world: World, as_folder: bool, pack: Any, subdir: str) -> None:
    """Spec: CEP 36. What it has that we do not know would be left out in silence."""
    if as_folder and pack:
        pytest.skip("compressed indexes are not read from a folder")
    world.as_folder = as_folder
    world.write(record())
    plain = world.folder / "c" / subdir / "repodata.json"
    for time, version in enumerate((2, 3, 2, 17), 1_700_000_000):
        plain.write_text(json.dumps(json.loads(plain.read_text()) | {"repodata_version": version}))
        if pack:
            packed = plain.with_name("repodata.json.zst")
            packed.write_bytes(pack(plain.read_bytes()))
            os.utime(packed, (time, time))
        # Servers tell whole seconds, and what is newer is asked for again.
        os.utime(plain, (time, time))
        if version == 2:
            assert world.files() == ["a-1.0-0.conda"]
            continue
        error = world.refused()
        assert error.message == "cannot read the conda channel `c`"
        assert f"{subdir}/repodata.json: expected a repodata_version of at most 2 not {version}" in error.detail
        assert "update helioimages" in error.hint


def test_an_index_in_another_packing_is_none(world: World) -> None:
    world.write(record())
    for subdir in SUBDIRS:
        plain = world.folder / "c" / subdir / "repodata.json"
        plain.with_name("repodata.json.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    error = world.refused()
    assert "no index there of those that are read: repodata_shards.msgpack.zst, repodata.json.zst" in error.detail
    world.as_folder = True
    assert "`gunzip -k repodata.json.gz`" in world.refused().hint


@pytest.mark.parametrize(("end", "command"), [("zst", "zstd -d"), ("bz2", "bunzip2 -k"), ("gz", "gunzip -k")])
def test_a_folder_with_a_compressed_index_alone_is_told(world: World, end: str, command: str) -> None:
    world.write(record())
    world.as_folder = True
    assert world.files() == ["a-1.0-0.conda"]
    plain = world.folder / "c/linux-64/repodata.json"
    plain.rename(plain.with_name(f"repodata.json.{end}"))
    error = world.refused()
    assert error.message == "the folder of the conda channel `c` has its index only compressed"
    assert error.where == f"{plain}.{end}" and f"`{command} repodata.json.{end}`" in error.hint
    (world.folder / f"c/linux-64/repodata.json.{end}").unlink()
    (world.folder / "c/noarch/repodata.json").unlink()
    assert "give a folder that has noarch/repodata.json" in world.refused().hint

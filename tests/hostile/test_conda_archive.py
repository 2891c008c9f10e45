"""Packages that are broken, lie or mean harm are refused by name, and nothing else is ever raised."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from conda_support import conda_package
from hypothesis import given, settings
from hypothesis import strategies as st

from helioimages.conda import read
from helioimages.conda.link import Prefix, link
from helioimages.conda.read import read_archive, read_index
from helioimages.core.errors import HelioError, Stage

NAME = "bad-1.0-0.conda"
INDEX = {"name": "bad", "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": []}
HINT = "the package is malformed or malicious; do not use it"


def _member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, content


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def _listed(path: str, content: bytes = b"", **fields: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"_path": path, "path_type": "hardlink", "sha256": digest, "size_in_bytes": len(content)} | fields


def _info(*listed: dict[str, Any], **changes: bytes) -> bytes:
    files = {
        "info/index.json": json.dumps(INDEX).encode(),
        "info/paths.json": json.dumps({"paths": list(listed), "paths_version": 1}).encode(),
    }
    files |= {f"info/{name.replace('__', '.')}": content for name, content in changes.items()}
    return _tar(*(_member(path, content) for path, content in files.items()))


def _conda(pkg: bytes, info: bytes, *more: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", method) as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr("pkg-bad-1.0-0.tar.zst", zstandard.compress(pkg))
        archive.writestr("info-bad-1.0-0.tar.zst", zstandard.compress(info))
        for name, content in more:
            archive.writestr(name, content)
    return raw.getvalue()


GOOD = _member("lib/x", b"x")
GOOD_LISTED = _listed("lib/x", b"x")
SETUID = _member("lib/x", b"x", mode=0o4755)
DEVICE = _member("lib/x", type=tarfile.CHRTYPE, devmajor=1, devminor=3)
FIFO = _member("lib/x", type=tarfile.FIFOTYPE)


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return _member(name, type=kind, linkname=target)


#: what is wrong -> the package, and what is said of it
MALFORMED: dict[str, tuple[bytes, str]] = {
    "device": (_conda(_tar(DEVICE), _info(GOOD_LISTED)), "lib/x is neither a file, a folder nor a link"),
    "fifo": (_conda(_tar(FIFO), _info(GOOD_LISTED)), "lib/x is neither a file, a folder nor a link"),
    "setuid": (_conda(_tar(SETUID), _info(GOOD_LISTED)), "lib/x has mode 4755: setuid, setgid or sticky"),
    "setgid": (
        _conda(_tar(_member("lib/x", b"x", mode=0o2755)), _info(GOOD_LISTED)),
        "lib/x has mode 2755: setuid, setgid or sticky",
    ),
    "twice in the tar": (_conda(_tar(GOOD, GOOD), _info(GOOD_LISTED)), "it holds lib/x twice"),
    "twice, one dotted": (
        _conda(_tar(GOOD, _member("./lib/x", b"y")), _info(GOOD_LISTED)),
        "it holds lib/x twice",
    ),
    "twice in the list": (_conda(_tar(GOOD), _info(GOOD_LISTED, GOOD_LISTED)), "it lists lib/x twice"),
    "through a link": (
        _conda(_tar(_link("lib", "/etc"), GOOD), _info(GOOD_LISTED)),
        "lib/x lies below lib, which is not a folder",
    ),
    "below a file": (
        _conda(_tar(GOOD, _member("lib/x/y", b"")), _info(GOOD_LISTED)),
        "lib/x/y lies below lib/x, which is not a folder",
    ),
    "hard link to nothing": (
        _conda(_tar(_link("lib/x", "etc/passwd", tarfile.LNKTYPE)), _info(GOOD_LISTED)),
        "lib/x is a hard link to etc/passwd, which is not a file before it",
    ),
    "hard link to a link": (
        _conda(_tar(_link("lib/l", "/etc/passwd"), _link("lib/x", "lib/l", tarfile.LNKTYPE)), _info(GOOD_LISTED)),
        "lib/x is a hard link to lib/l, which is not a file before it",
    ),
    "hard link to itself": (
        _conda(_tar(_link("lib/x", "lib/x", tarfile.LNKTYPE)), _info(GOOD_LISTED)),
        "lib/x is a hard link to lib/x, which is not a file before it",
    ),
    "link to nowhere": (
        _conda(_tar(_link("lib/x", "")), _info(_listed("lib/x", path_type="softlink"))),
        "the symbolic link lib/x points nowhere",
    ),
    "listed but absent": (
        _conda(_tar(GOOD), _info(GOOD_LISTED, _listed("lib/y"))),
        "it lists lib/y but does not hold it",
    ),
    "another kind": (
        _conda(_tar(_link("lib/x", "y")), _info(GOOD_LISTED)),
        "it lists lib/x as a file, which is a symlink",
    ),
    "conda-meta": (
        _conda(_tar(_member("conda-meta/history", b"")), _info(_listed("conda-meta/history"))),
        "it brings conda-meta/history, which is the installer's to write",
    ),
    "two payloads": (
        _conda(_tar(GOOD), _info(GOOD_LISTED), ("pkg-other-1.tar.zst", b"")),
        "it has two pkg members",
    ),
    "compressed twice": (
        _conda(_tar(GOOD), _info(GOOD_LISTED), method=zipfile.ZIP_DEFLATED),
        "pkg-bad-1.0-0.tar.zst is not a stored .tar.zst",
    ),
    "no index": (
        _conda(_tar(GOOD), _tar(_member("info/paths.json", b'{"paths": [], "paths_version": 1}'))),
        "it has no info/index.json",
    ),
    "no list": (
        _conda(_tar(GOOD), _tar(_member("info/index.json", json.dumps(INDEX).encode()))),
        "it has neither info/paths.json nor info/files",
    ),
    "a later list": (
        _conda(_tar(GOOD), _info(paths__json=b'{"paths": [], "paths_version": 2}')),
        ("info/paths.json at paths_version", "expected 1 not 2"),
    ),
    "list of no list": (
        _conda(_tar(GOOD), _info(paths__json=b'{"paths": {}, "paths_version": 1}')),
        ("info/paths.json at paths", "expected an array not an object"),
    ),
    "unknown path_type": (
        _conda(_tar(GOOD), _info(GOOD_LISTED | {"path_type": "device"})),
        ("info/paths.json at paths[0].path_type", "expected hardlink, softlink or directory not device"),
    ),
    "unknown file_mode": (
        _conda(_tar(GOOD), _info(GOOD_LISTED | {"prefix_placeholder": "/p", "file_mode": "shell"})),
        ("info/paths.json at paths[0].file_mode", "expected text or binary not shell"),
    ),
    "no digest": (
        _conda(_tar(GOOD), _info(GOOD_LISTED | {"sha256": "0"})),
        ("info/paths.json at paths[0].sha256", "expected 64 lower-case hexadecimal digits not '0'"),
    ),
    "negative size": (
        _conda(_tar(GOOD), _info(GOOD_LISTED | {"size_in_bytes": -1})),
        ("info/paths.json at paths[0].size_in_bytes", "expected 0 or more not -1"),
    ),
    "unknown noarch": (
        _conda(_tar(GOOD), _info(GOOD_LISTED, link__json=b'{"noarch": {"type": "ruby"}}')),
        "its noarch type is 'ruby', expected python or generic",
    ),
    "has_prefix of nothing": (
        _conda(
            _tar(GOOD),
            _tar(
                _member("info/index.json", json.dumps(INDEX).encode()),
                _member("info/files", b"lib/x\n"),
                _member("info/has_prefix", b"/p text lib/y\n"),
            ),
        ),
        "info/has_prefix names lib/y, which info/files does not",
    ),
}


def test_a_listed_path_may_have_what_python_takes_for_the_end_of_a_line(tmp_path: Path) -> None:
    path, odd = tmp_path / "package", "lib/x\u2028\x85\x0b"
    listed = _tar(
        _member("info/index.json", json.dumps(INDEX).encode()),
        _member("info/files", f"{odd}\r\n".encode()),
        _member("info/no_link", f"{odd}\n".encode()),
    )
    path.write_bytes(_conda(_tar(_member(odd, b"x")), listed))
    (member,) = read_archive(path, NAME).members
    assert (member.listed.path, member.listed.no_link) == (odd, True)


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(tmp_path: Path, case: str) -> None:
    data, what = MALFORMED[case]
    # A field that is wrong is told by its place.
    message, place, detail = (
        (f": {what}", "", "") if isinstance(what, str) else ("", f" at {what[0]}", f"\n  {what[1]}")
    )
    path = tmp_path / "package"
    path.write_bytes(data)
    with pytest.raises(HelioError) as caught:
        read_archive(path, NAME)
    assert caught.value.stage is Stage.LINK
    said = f"the conda package `{NAME}` is malformed{message}\n  in {NAME}{place}{detail}\n\nhint: {HINT}"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "lib/../../x", "lib//x", "lib/./x", "lib/.wh.x", ".wh..wh..opq", ".."]
)
@pytest.mark.parametrize("where", ["tar", "list", "hard link", "bz2"])
def test_paths_that_leave(tmp_path: Path, path: str, where: str) -> None:
    bad = _member(path, b"x")
    data = {
        "tar": _conda(_tar(bad), _info()),
        "list": _conda(_tar(bad), _info(_listed(path, b"x"))),
        "hard link": _conda(_tar(GOOD, _link("lib/y", path, tarfile.LNKTYPE)), _info(GOOD_LISTED)),
        "bz2": bz2.compress(_tar(bad, _member("info/index.json", json.dumps(INDEX).encode()))),
    }[where]
    (tmp_path / "package").write_bytes(data)
    with pytest.raises(HelioError) as caught:
        read_archive(tmp_path / "package", NAME)
    assert caught.value.message == f"`{NAME}` has a path that may not be in a layer: {path!r}"


@pytest.mark.parametrize(
    ("change", "what", "detail"),
    [
        ({"size_in_bytes": 2}, "it lists another size for lib/x", "expected 2 bytes not 1"),
        (
            {"sha256": "0" * 64},
            "it lists another digest for lib/x",
            f"expected sha256:{'0' * 64} not sha256:{hashlib.sha256(b'x').hexdigest()}",
        ),
    ],
)
def test_lies(tmp_path: Path, change: dict[str, Any], what: str, detail: str) -> None:
    (tmp_path / "package").write_bytes(_conda(_tar(GOOD), _info(GOOD_LISTED | change)))
    with pytest.raises(HelioError) as caught:
        read_archive(tmp_path / "package", NAME)
    assert (caught.value.message, caught.value.detail) == (f"the conda package `{NAME}` is malformed: {what}", detail)


def test_a_bomb_stops_at_what_was_listed(tmp_path: Path) -> None:
    # 1 GiB of zeros is 33 KB of zstd; the list says one byte.
    bomb = _conda(b"", _info(GOOD_LISTED))
    raw = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(bomb)) as old, zipfile.ZipFile(raw, "w") as new:
        new.writestr("metadata.json", old.read("metadata.json"))
        new.writestr("info-bad-1.0-0.tar.zst", old.read("info-bad-1.0-0.tar.zst"))
        compressor = zstandard.ZstdCompressor().compressobj()
        zeros = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(1024)) + compressor.flush()
        new.writestr("pkg-bad-1.0-0.tar.zst", zeros)
    (tmp_path / "package").write_bytes(raw.getvalue())
    with pytest.raises(HelioError) as caught:
        read_archive(tmp_path / "package", NAME)
    bound = 1 + 4 * 512 + 4 * len("lib/x") + (64 << 20)
    assert caught.value.message == (f"the conda package `{NAME}` is malformed: it unpacks to more than {bound:,} bytes")
    assert caught.value.detail == "it may be a decompression bomb"


def test_a_bz2_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(bz2.compress(bytes(32 << 20)))
    with pytest.raises(HelioError) as caught:
        read_archive(tmp_path / "package", NAME, limit=1 << 20)
    assert caught.value.message == f"the conda package `{NAME}` is malformed: it unpacks to more than 1,048,576 bytes"


def test_an_info_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_INFO", 1 << 20)
    (tmp_path / "package").write_bytes(_conda(b"", bytes(32 << 20)))
    for reader in (lambda path: read_archive(path, "package"), read_index):
        with pytest.raises(HelioError) as caught:
            reader(tmp_path / "package")
        assert caught.value.message == (
            "the conda package `package` is malformed: it unpacks to more than 1,048,576 bytes"
        )


def test_a_tar_that_goes_back(tmp_path: Path) -> None:
    """A negative size in base 256 makes tarfile read one member for ever. Spec: CVE-2025-8194."""
    header = bytearray(_tar(GOOD)[:512])
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "package").write_bytes(_conda(bytes(header) + bytes(4096), _info(GOOD_LISTED)))
    with pytest.raises(HelioError) as caught:
        read_archive(tmp_path / "package", NAME)
    # A Python in which that was mended (3.13.5 of Debian 13) refuses the header by itself.
    assert caught.value.message in (
        f"the conda package `{NAME}` is malformed: the tar header of 'lib/x' is wrong",
        f"the conda package `{NAME}` is malformed: it cannot be read",
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a package",
        b"PK\x03\x04",
        b"BZh9",
        b"BZh91AY&SY",
        _conda(b"", b"")[:-40],
        _conda(b"x" * 600, b"y" * 600),
    ],
    ids=["empty", "text", "zip magic", "bz2 magic", "bz2 block", "cut zip", "no tar"],
)
def test_not_a_package(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "package").write_bytes(data)
    for reader in (lambda path: read_archive(path, "package"), read_index):
        with pytest.raises(HelioError, match=r"^the conda package `package` is malformed: "):
            reader(tmp_path / "package")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"name": 1}', b'{"name": NaN}'])
@pytest.mark.parametrize("member", ["index__json", "paths__json", "link__json"])
def test_nonsense_for_json(tmp_path: Path, text: bytes, member: str) -> None:
    (tmp_path / "package").write_bytes(_conda(_tar(GOOD), _info(GOOD_LISTED, **{member: text})))
    # link.json may be any mapping: without `noarch` it says nothing.
    if member == "link__json" and text.startswith(b'{"'):
        assert read_archive(tmp_path / "package", NAME).noarch is None
        return
    with pytest.raises(
        HelioError, match=rf"^the conda package `{NAME}` is malformed(: (it cannot|info/)|\n  in {NAME} at info/)"
    ):
        read_archive(tmp_path / "package", NAME)


def _facts(path: Path) -> list[tuple[object, ...]]:
    package = conda_package("bad", build="0", size=None)
    entries = link(path, package, Prefix(python_version=None, platform="linux-64"))
    return [(e.path, e.kind, e.mode, e.target, e.content and e.content.read()) for e in entries]


FUZZED = [
    _member("bin/x", b"#!/placeholder/bin/sh\n", mode=0o755),
    _link("lib/l", "x"),
    _link("bin/y", "bin/x", tarfile.LNKTYPE),
]
FUZZED_LIST = [
    _listed("bin/x", FUZZED[0][1], prefix_placeholder="/placeholder" + "/" * 30, file_mode="text"),
    _listed("lib/l", path_type="softlink"),
    _listed("bin/y", FUZZED[0][1]),
]


@pytest.mark.parametrize(
    "make",
    [
        lambda: _conda(_tar(*FUZZED), _info(*FUZZED_LIST)),
        lambda: bz2.compress(
            _tar(
                *FUZZED,
                _member("info/index.json", json.dumps(INDEX).encode()),
                _member("info/paths.json", json.dumps({"paths": FUZZED_LIST, "paths_version": 1}).encode()),
            )
        ),
    ],
    ids=["conda", "tar.bz2"],
)
def test_damage_is_found_or_without_effect(tmp_path: Path, make: Callable[[], bytes]) -> None:
    data, path = make(), tmp_path / "package"
    path.write_bytes(data)
    expected = _facts(path)

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(data) - 1), st.integers(0, 255), st.integers(0, len(data)))
    def damage(at: int, byte: int, length: int) -> None:
        damaged = bytearray(data)
        damaged[at] = byte
        path.write_bytes(damaged[:length] if length % 3 == 0 else damaged)
        try:
            assert _facts(path) == expected
        except HelioError as error:
            assert NAME in error.message

    damage()


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, 4095), damage=st.binary(min_size=1, max_size=24))
def test_a_tar_made_to_confuse(tmp_path_factory: pytest.TempPathFactory, at: int, damage: bytes) -> None:
    """Behind the archive's checksums: whatever the tar's headers say, it is read whole or refused."""
    tar = bytearray(_tar(*FUZZED))
    at %= len(tar)
    tar[at : at + len(damage)] = damage
    path = tmp_path_factory.mktemp("tar") / "package"
    path.write_bytes(_conda(bytes(tar), _info(*FUZZED_LIST)))
    try:
        facts = _facts(path)
    except HelioError as error:
        assert NAME in error.message
    else:
        assert {entry[0].removeprefix("srv/conda/envs/notebook/") for entry in facts} == {
            "bin/x",
            "bin/y",
            "lib/l",
            "conda-meta/bad-1.0-0.json",
        }
        assert all(entry[2] & 0o7000 == 0 for entry in facts)

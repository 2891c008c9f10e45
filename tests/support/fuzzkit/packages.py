"""Packages as fuzzers' targets: wheels, conda archives old and new, a root file system; whole, and member by member."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from conda_support import conda_package
from hypothesis import strategies as st
from pypi_support import METADATA, WHEEL, record_row, wheel_bytes, wheel_of

from helioimages.conda import link as conda_link
from helioimages.core.entries import Entry, Kind, check_path, merge
from helioimages.debian import tree
from helioimages.pypi import wheel as wheel_link

from .edits import Target, broken, edited, to_json

PREFIX = "/srv/conda/envs/notebook"
PLACEHOLDER = "/placeholder" * 20


def checked(entries: tuple[Entry, ...]) -> None:
    """Check what a package that was accepted brings: nothing outside, no device, nothing setuid."""
    for entry in entries:
        if not entry.path.startswith(PREFIX[1:] + "/"):
            raise AssertionError(f"{entry.path} is outside of the prefix")
        check_path(entry.path, "fuzz")
        if entry.kind is Kind.FILE and entry.mode & 0o7000:
            raise AssertionError(f"{entry.path} has mode {entry.mode:o}")
        if entry.content is not None and len(entry.content.read()) != entry.content.size:
            raise AssertionError(f"{entry.path} lies about its size")
    merge(entries)


def targets() -> Iterator[Target]:
    wheel = wheel_bytes(
        {"demo/__init__.py": b"x = 1\n", "demo-1.0.data/scripts/tool": b"#!python\n", "demo/data": b"\0" * 300},
        entry_points="[console_scripts]\nother = demo:main\n",
    )
    yield Target(name="wheel", **broken(wheel), feed=_wheel)
    yield Target(name="wheel members", good=wheel, inputs=_wheel_members(), feed=_wheel)
    conda = conda_of(tar_of(FILES), tar_of(_INFO))
    yield Target(name="conda archive", **broken(conda), feed=lambda data: _link(data, ".conda"))
    yield Target(name="conda members", good=conda, inputs=_conda_members(), feed=lambda data: _link(data, ".conda"))
    old = bz2.compress(tar_of({**_INFO, **FILES}))
    yield Target(name="conda tar.bz2", **broken(old), feed=lambda data: _link(data, ".tar.bz2"))
    inner = edited(tar_of({**_INFO, **FILES}), None, None).map(bz2.compress)
    yield Target(name="conda tar in bz2", good=old, inputs=inner, feed=lambda data: _link(data, ".tar.bz2"))
    system = tar_of({"etc/passwd": b"root:x:0:0:root:/root:/bin/bash\n", "usr/bin/x": b"x", "var/lib/dpkg/status": b""})
    yield Target(name="debian tar", **broken(system), feed=_system)


def _wheel(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        checked(wheel_link.link(Path(file.name), wheel_of(data), prefix=PREFIX, python_version="3.13"))


def _wheel_members() -> st.SearchStrategy[bytes]:
    info = "demo-1.0.dist-info"
    members = {
        "demo/__init__.py": b"x = 1\n",
        f"{info}/METADATA": METADATA.format(name="demo", version="1.0").encode(),
        f"{info}/WHEEL": WHEEL.format(purelib="true").encode(),
        f"{info}/entry_points.txt": b"[console_scripts]\ntool = demo:main\n[gui_scripts]\nwin = demo.gui:main\n",
    }

    def pack(choice: tuple[str, bytes]) -> bytes:
        changed = members | ({choice[0]: choice[1]} if choice[0] in members else {})
        record = "".join(record_row(name, data) for name, data in changed.items()) + f"{info}/RECORD,,\n"
        changed[f"{info}/RECORD"] = choice[1] if choice[0] == "RECORD" else record.encode()
        if choice[0] == "name":
            name = choice[1].decode("utf-8", "replace")
            changed[name] = b"x"
            changed[f"{info}/RECORD"] += record_row(f'"{name}"', b"x").encode()
        raw = io.BytesIO()
        with zipfile.ZipFile(raw, "w") as archive:
            for name, data in changed.items():
                archive.writestr(zipfile.ZipInfo(name), data)
        return raw.getvalue()

    record = "".join(record_row(name, data) for name, data in members.items()) + f"{info}/RECORD,,\n"
    parts = [edited(data, None, None).map(lambda data, name=name: (name, data)) for name, data in members.items()]
    parts.append(edited(record.encode(), None, None).map(lambda data: ("RECORD", data)))
    parts.append(edited(b"demo/sub/module.py", None, None).map(lambda data: ("name", data)))
    return st.one_of(parts).map(pack)


FILES = {
    "lib/x": b"x",
    "bin/tool": f"#!{PLACEHOLDER}/bin/sh\n".encode(),
    "lib/y.so": b"\0" + PLACEHOLDER.encode() + b"\0",
}
_INDEX = {"name": "demo", "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": ["a >1"]}
_PATHS = {
    "paths_version": 1,
    "paths": [
        {
            "_path": path,
            "path_type": "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
            **(
                {"prefix_placeholder": PLACEHOLDER, "file_mode": "text" if path == "bin/tool" else "binary"}
                if b"/pl" in data
                else {}
            ),
        }
        for path, data in FILES.items()
    ],
}
_INFO = {
    "info/index.json": json.dumps(_INDEX).encode(),
    "info/paths.json": json.dumps(_PATHS).encode(),
    "info/link.json": b'{"noarch": {"type": "generic"}, "package_metadata_version": 1}',
    "info/about.json": b"{}",
}


def tar_of(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("lib/z")
        link.type, link.linkname = tarfile.SYMTYPE, "x"
        if "lib/x" in files:
            tar.addfile(link)
    return raw.getvalue()


def conda_of(pkg: bytes, info: bytes) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr("pkg-demo-1.0-0.tar.zst", zstandard.compress(pkg))
        archive.writestr("info-demo-1.0-0.tar.zst", zstandard.compress(info))
    return raw.getvalue()


def _conda_members() -> st.SearchStrategy[bytes]:
    good = {name: data for name, data in _INFO.items() if name != "info/link.json"}
    parts = [
        edited(data, json.loads, to_json).map(
            lambda data, name=name: conda_of(tar_of(FILES), tar_of({**good, name: data}))
        )
        for name, data in _INFO.items()
    ]
    parts.append(edited(tar_of(FILES), None, None).map(lambda data: conda_of(data, tar_of(good))))
    parts.append(edited(tar_of(good), None, None).map(lambda data: conda_of(tar_of(FILES), data)))
    legacy = {"info/index.json": _INFO["info/index.json"], "info/files": "\n".join(FILES).encode()}
    prefixes = f"{PLACEHOLDER} text bin/tool\n{PLACEHOLDER} binary lib/y.so\n".encode()
    parts.append(
        edited(prefixes, None, None).map(
            lambda data: conda_of(tar_of(FILES), tar_of({**legacy, "info/has_prefix": data}))
        )
    )
    return st.one_of(parts)


def _link(data: bytes, suffix: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    package = conda_package("demo", file_name=f"demo-1.0-0{suffix}", build="0", sha256=digest, depends=("a >1",))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        checked(
            conda_link.link(
                Path(file.name), package, conda_link.Prefix(path=PREFIX, python_version="3.13", platform="linux-64")
            )
        )


def _system(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for entry in tree.whole(tree.read_tar(Path(file.name))):
            check_path(entry.path, "fuzz")

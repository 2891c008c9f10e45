"""Each kind of damage that the readers of archives raise otherwise, before each of our readers: told, never a trace.

The kinds are those that fuzzing zipfile and tarfile found; none of them documents what it raises.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from helioimages.cite import facts, modules
from helioimages.conda import read as conda_read
from helioimages.core import archives
from helioimages.core.errors import HelioError, Stage
from helioimages.core.package import Package
from helioimages.core.platform import FIRST
from helioimages.debian import tree
from helioimages.extend import projects
from helioimages.extend.asked import FileLine
from helioimages.locks import held_back
from helioimages.machine.store import Store
from helioimages.oci import layer
from helioimages.prove import audit, layerdiff
from helioimages.publish import sbom, sbom_files
from helioimages.pypi import archive, markers
from helioimages.pypi.lock import PyPILock, Sdist, Wheel
from helioimages.works import restoring

TEXT = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n" * 40
VALUES = markers.environment("3.13", FIRST)


def zipped(name: str, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    """Return a zip of one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(name, TEXT)
    return bytearray(out.getvalue())


def headers(data: bytearray) -> tuple[int, int]:
    """Return where the member's entry in the directory, and the directory's own end stand."""
    return data.rindex(b"PK\1\2"), data.rindex(b"PK\5\6")


def flagged(name: str, bit: int) -> bytearray:
    data = zipped(name)
    for at in (6, headers(data)[0] + 8):
        data[at : at + 2] = struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] | bit)
    return data


def of_method(name: str, method: int) -> bytearray:
    data = zipped(name)
    for at in (8, headers(data)[0] + 10):
        data[at : at + 2] = struct.pack("<H", method)
    return data


def spoilt(name: str, method: int) -> bytearray:
    """Return a zip whose member's stream is no stream."""
    data = zipped(name, method)
    # The head of an LZMA member says how long its properties are.
    start = 30 + len(name) + (9 if method == zipfile.ZIP_LZMA else 0)
    end = headers(data)[0]
    data[start:end] = b"\xff" * (end - start)
    return data


def longer(name: str) -> bytearray:
    """Return a zip whose member goes on behind the file's end."""
    data = zipped(name, zipfile.ZIP_STORED)
    at = headers(data)[0]
    data[at + 20 : at + 28] = struct.pack("<II", 60_000, 60_000)
    return data


def no_text(name: str) -> bytearray:
    data = flagged(name, 0x800)
    at = headers(data)[0]
    data[at + 46] = 0xFF
    return data


def before_start(name: str) -> bytearray:
    """Return a zip whose directory would stand before the file's first byte."""
    data = zipped(name)
    at = headers(data)[1]
    data[at + 12 : at + 16] = struct.pack("<I", len(data) * 2)
    return data


#: What it is -> the archive, and what zipfile raises. Some only at a member, which not all readers open.
ZIPS: dict[str, tuple[Callable[[str], bytes | bytearray], type[Exception] | tuple[type[Exception], ...]]] = {
    "no zip": (lambda _: b"<html>please log in</html>", zipfile.BadZipFile),
    "encrypted": (lambda name: flagged(name, 1), RuntimeError),
    "unknown flag": (lambda name: flagged(name, 0x20), NotImplementedError),
    "unknown method": (lambda name: of_method(name, 99), NotImplementedError),
    "deflate": (lambda name: spoilt(name, zipfile.ZIP_DEFLATED), zlib.error),
    "bzip2": (lambda name: spoilt(name, zipfile.ZIP_BZIP2), OSError),
    "lzma": (lambda name: spoilt(name, zipfile.ZIP_LZMA), lzma.LZMAError),
    "longer than the file": (longer, (EOFError, zipfile.BadZipFile)),
    "a name that is no text": (no_text, UnicodeDecodeError),
    "a directory before the start": (before_start, Exception),
}


def raw_zip(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        for name in file.namelist():
            file.read(name)


@pytest.mark.parametrize("kind", ZIPS)
def test_zipfile_raises_another_thing_for_each(kind):
    """Else the rows of the table would all be one."""
    make, raised = ZIPS[kind]
    with pytest.raises(raised):
        raw_zip(make("a"))
    with pytest.raises(archives.ArchiveError), archives.reading():
        raw_zip(make("a"))


def stored(store: Store, data: bytes, name: str = "demo-1.0-py3-none-any.whl") -> Wheel:
    sha256 = hashlib.sha256(data).hexdigest()
    with store.writing(store.artefact(sha256)) as file:
        file.write(data)
    return Wheel(name="demo", version="1.0", file_name=name, sha256=sha256, size=len(data))


def package_of(wheel: Wheel, kind: str) -> Package:
    return Package(
        kind=kind, name="demo", version="1.0", file_name=wheel.file_name, sha256=wheel.sha256, size=wheel.size
    )


class _Answer(requests.Response):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.status_code, self._content = 200, data


METADATA = "demo-1.0.dist-info/METADATA"


def read_licence(path: Path, kind: str) -> None:
    store = Store(path.parent / "store")
    sbom._licence(store, package_of(stored(store, path.read_bytes()), kind), {}, None)


def read_advisories_fetched(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests, "get", lambda *_, **__: _Answer(path.read_bytes()))
        audit.fetch(Store(path.parent / "store"), ["PyPI"])


def read_requirements(path: Path) -> None:
    store = Store(path.parent / "store")
    lock = PyPILock(python="3.13", platform=FIRST, content_hash="", wheels=())
    held_back.requires(store, stored(store, path.read_bytes()), lock)


def read_modules(path: Path) -> None:
    store = Store(path.parent / "store")
    modules.of_wheels([stored(store, path.read_bytes())], store)


def read_crate(path: Path) -> None:
    with restoring.opened(path):
        pass


def read_members(path: Path) -> None:
    for member in archive.members(path, "demo-1.0-py3-none-any.whl"):
        assert member.content.read() == TEXT


#: Reader -> the name of the member that it opens, and how.
ZIP_READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "wheel": (METADATA, read_members),
    "wheel's modules": (METADATA, read_modules),
    "wheel's facts": (METADATA, lambda path: facts.of_wheel(path, VALUES)),
    "wheel's requirements": (METADATA, read_requirements),
    "wheel's licence": (METADATA, lambda path: read_licence(path, "wheel")),
    "conda package": ("metadata.json", lambda path: conda_read.read_archive(path, "demo-1.0-0.conda")),
    "conda package's index": ("metadata.json", conda_read.read_index),
    "conda package's list": ("metadata.json", lambda path: conda_read.read_listing(path, "demo-1.0-0.conda")),
    "conda package's licence": ("metadata.json", lambda path: read_licence(path, "conda")),
    "advisories": ("X-1.json", lambda path: list(audit.load(path))),
    "advisories fetched": ("X-1.json", read_advisories_fetched),
    "crate": ("ro-crate-metadata.json", read_crate),
}
#: These take a package as one that says nothing of itself: what it is has been told by those that link it.
SILENT = ("wheel's modules", "wheel's requirements")
#: These open no member.
DIRECTORY_ALONE = ("advisories fetched",)
#: That reader inflates itself, and the sum is right.
READ_NEVERTHELESS = (("wheel", "unknown flag"),)
#: What is damage only where a member is opened.
OF_A_MEMBER = ("encrypted", "unknown flag", "unknown method", "deflate", "bzip2", "lzma", "longer than the file")


@pytest.mark.parametrize("reader", ZIP_READERS)
@pytest.mark.parametrize("kind", ZIPS)
def test_a_damaged_zip_is_told(reader, kind, tmp_path):
    name, read = ZIP_READERS[reader]
    path = tmp_path / "all.zip"
    path.write_bytes(ZIPS[kind][0](name))
    if reader in SILENT or (reader, kind) in READ_NEVERTHELESS or (reader in DIRECTORY_ALONE and kind in OF_A_MEMBER):
        read(path)
        return
    with pytest.raises(HelioError) as caught:
        read(path)
    assert caught.value.detail or caught.value.where, "it says where, or what"


def tar_of(name: str, *, kind: bytes = tarfile.REGTYPE) -> bytearray:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.size = kind, len(TEXT)
        tar.addfile(member, io.BytesIO(TEXT))
    return bytearray(out.getvalue())


def headed(name: str, at: int, text: bytes, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar whose one header has other bytes at a place, and the right sum."""
    data = tar_of(name, kind=kind)
    data[at : at + len(text)] = text
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


_SIZE = 124
#: What it is -> the file.
TARS: dict[str, Callable[[str], bytes]] = {
    "no tar": lambda _: b"<html>please log in</html>" * 40,
    "gzip that is none": lambda name: gzip.compress(tar_of(name))[:10] + b"\xff" * 4000,
    "gzip cut off": lambda name: gzip.compress(tar_of(name))[:60],
    "gzip of another sum": lambda name: gzip.compress(tar_of(name))[:-8] + b"\0" * 8,
    "bzip2 that is none": lambda name: bz2.compress(tar_of(name))[:10] + b"\xff" * 4000,
    "xz that is none": lambda name: lzma.compress(tar_of(name))[:20] + b"\xff" * 4000,
    "a size that is no number": lambda name: headed(name, _SIZE, b"zzzzzzzzzzz\0"),
    "a negative size": lambda name: headed(name, _SIZE, b"\xff" * 12),
    "a size beyond all": lambda name: headed(name, _SIZE, b"\x80" + b"\x7f" * 11),
    "an extended header beyond all": lambda name: headed(name, _SIZE, b"\x80" + b"\x7f" * 11, kind=tarfile.XHDTYPE),
    "an extended header of no memory": lambda name: headed(
        name, _SIZE, b"\x80" + (1 << 60).to_bytes(11), kind=tarfile.XHDTYPE
    ),
    "an extended header that is none": lambda name: bytes(tar_of(name, kind=tarfile.XHDTYPE)),
    "a long name without an end": lambda name: bytes(tar_of(name, kind=tarfile.GNUTYPE_LONGNAME)),
}


def read_copyrights(path: Path) -> None:
    store, data = Store(path.parent / "store"), path.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with store.writing(store.blob(digest)) as file:
        file.write(data)
    list(sbom_files._read(store, digest))


def read_source(path: Path) -> None:
    sdist = Sdist(name="demo", version="1.0", file_name="demo-1.0.tar.gz", sha256="", size=1)
    projects._unpacked(path, sdist, FileLine(file="requirements.txt"))


TAR_READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "layer": ("usr/a", lambda path: list(layer.read_layer(path))),
    "layer examined": ("usr/a", layer.examine),
    "layers compared": ("usr/a", lambda path: layerdiff.compare(path, path, {})),
    "layer's packages": (f"lib/python3.13/site-packages/{METADATA}", lambda path: facts.of_layer(path, VALUES)),
    "layer's copyrights": ("usr/share/doc/a/copyright", read_copyrights),
    "root file system": ("./usr/a", tree.read_tar),
    "source archive": ("demo-1.0/setup.py", read_source),
}


#: The sum stands behind the tar's end, where the others do not read: theirs are files of known digests.
UNSEEN, TO_THE_END = "gzip of another sum", ("layer", "layer examined")


@pytest.mark.parametrize("reader", TAR_READERS)
@pytest.mark.parametrize("kind", TARS)
def test_a_damaged_tar_is_told(reader, kind, tmp_path):
    name, read = TAR_READERS[reader]
    path = tmp_path / "a.tar"
    path.write_bytes(TARS[kind](name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == UNSEEN and reader not in TO_THE_END:
            read(path)
            return
        with pytest.raises(HelioError):
            read(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ENOENT])
def test_what_the_machine_does_wrong_is_no_damage(number):
    with pytest.raises(OSError) as caught, archives.reading():
        raise OSError(number, os.strerror(number))
    assert caught.value.errno == number


def test_an_error_for_people_stays_that():
    told = HelioError(Stage.CHECK, "told")
    with pytest.raises(HelioError) as caught, archives.reading():
        raise told
    assert caught.value is told

"""A world that moves on: real Debian packages of which newer ones come, an index that takes files back, and a checkout.

The checkout is small and whole: two images with a real root file system, a local channel and a source-only package that
the real builder makes. The packages are those of the store, so nothing is asked of the real archive; a newer one is the
same package under a higher version.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import shutil
import tarfile
from collections.abc import Collection, Mapping
from importlib import metadata, resources
from pathlib import Path

from checkout_texts import LIBZLIB, environment_yml, image_toml
from debian_support import Archive
from pypi_support import IndexServer, wheel_bytes

from helioimages.core.files import of_file
from helioimages.core.platform import FIRST
from helioimages.debian import lock as debian_lock
from helioimages.debian.lock import AptLock
from helioimages.engines.engine import Engine
from helioimages.locks import apt, locking
from helioimages.locks.checkout import Checkout
from helioimages.locks.file_names import builder_lock
from helioimages.locks.withdrawn import files_of
from helioimages.machine.store import Store, default_root
from helioimages.make import provision, relocking
from helioimages.make.machine import Machine
from helioimages.publish import release
from helioimages.pypi import lock as pypi_lock

ROOT = Path(__file__).parents[2]
BUILDER = builder_lock(FIRST)
#: What a newer version of a package ends with.
NEWER = "+moved1"

BUILD = """\
  build:
    old: {requires: [maker, packaging], reason: of a test}
"""
RECIPES = (
    """
timestamp = 1767225600000

[[source]]
name = "python"
file = "site.py"
pool = "pool/none"
sha256 = "{sha256}"
size = {size}

[[package]]
name = "python"
version = "3.13.5"
source = "python"
script = "python/build.sh"
license = "MIT"
summary = "Python"
home = "https://example.org/"
depends = ["libexpat >={{libexpat}},<3.0a0", "libzlib >={{libzlib}},<2.0a0"]
"""
    + LIBZLIB
    + """
[[package]]
name = "libexpat"
debian = ["libexpat1"]
files = ["usr/lib/*/libexpat.so.*"]
to = "lib"
license = "MIT"
summary = "XML"
home = "https://libexpat.github.io/"
"""
)
#: Debian's own Python, of the builder's packages, stands for one that is compiled.
COMPILE = """set -eu
lib="$OUT/prefix/lib/python3.13"
mkdir -p "$OUT/prefix/bin" "$OUT/licenses" "$OUT/prefix/lib"
cp /usr/bin/python3.13 "$OUT/prefix/bin/python3.13"
ln -s python3.13 "$OUT/prefix/bin/python3"
patchelf --set-rpath '$ORIGIN/../lib' "$OUT/prefix/bin/python3.13"
cp -rL /usr/lib/python3.13 "$lib"
# Little of it is asked for here, and each file is compiled.
cd "$lib"
rm -rf config-* lib-dynload pydoc_data asyncio unittest multiprocessing concurrent curses dbm ctypes sqlite3 xml xmlrpc
rm -rf http html wsgiref _pyrepl venv ensurepip zoneinfo __phello__ turtle* idlelib tkinter
find encodings -name '[b-z]*.py' ! -name 'utf_8*' ! -name 'latin_1*' ! -name 'cp437*' -delete
find . -name __pycache__ -exec rm -rf {} +
cp "$IN/source" "$lib/sitecustomize.py"
echo MIT > "$OUT/licenses/LICENSE"
"""
PYTHON = """import sys
sys.path.append(f"{sys.prefix}/lib/python3.13/site-packages")
"""
BACKEND = """
import re
import zipfile

def build_wheel(folder, settings=None, metadata=None):
    said = open("PKG-INFO").read()
    name, version = re.search("^Name: (.*)$", said, re.M)[1], re.search("^Version: (.*)$", said, re.M)[1]
    info = f"{name}-{version}.dist-info"
    kind = "Wheel-Version: 1.0\\nGenerator: maker\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"made_with = {MAKER!r}\\n")
        archive.writestr(f"{info}/METADATA", said)
        archive.writestr(f"{info}/WHEEL", kind)
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}-{version}-py3-none-any.whl"

"""


def renewed(old: Path, new: Path, known: Collection[str]) -> None:
    """Write a Debian package again under a higher version: its files stay as they are.

    Args:
        known: versions of packages that are renewed too; what depends on exactly one of them follows.

    Spec: deb(5), ar(5).
    """
    data, at, members = old.read_bytes(), 8, []
    while at < len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        members.append((name, data[at + 60 : at + 60 + size]))
        at += 60 + size + size % 2
    with open(new, "wb") as out:
        out.write(b"!<arch>\n")
        for name, content in members:
            if name.startswith("control.tar"):
                name, content = "control.tar.gz", _control(content, known)
            out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content)
            out.write(b"\n" * (len(content) % 2))


def _control(packed: bytes, known: Collection[str]) -> bytes:
    plain = lzma.decompress(packed) if packed[:1] == b"\xfd" else packed
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain)) as source,
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, compresslevel=1) as stream,
        tarfile.open(fileobj=stream, mode="w") as target,
    ):
        for member in source:
            body = source.extractfile(member)
            text = body.read() if body else b""
            if member.name == "./control":
                text = re.sub(r"(?m)^(Version: .*)$", rf"\g<1>{NEWER}", text.decode()).encode()
                text = re.sub(rb"\(= ([^)]+)\)", lambda match: _exact(match, known), text)
                member.size = len(text)
            target.addfile(member, io.BytesIO(text))
    return out.getvalue()


def _exact(match: re.Match[bytes], known: Collection[str]) -> bytes:
    return b"(= " + match[1] + (NEWER.encode() if match[1].decode() in known else b"") + b")"


class World:
    """A checkout, and the archive and the index that its locks are of."""

    def __init__(self, folder: Path, archive: Archive, index: IndexServer, engine: Engine) -> None:
        self.folder, self.archive, self.index, self.engine = folder, archive, index, engine
        self.root = folder / "checkout"
        self.source = folder / "site.py"
        self._fill()
        self._write()

    def _fill(self) -> None:
        """Offer in the archive what the images and the builder ask for, and the wheels in the index."""
        shelf = Store(default_root())
        for name in (BUILDER, "images/base/apt-lock.json"):
            lock = debian_lock.parse((ROOT / name).read_text("utf-8"), name)
            provision.debs(shelf, lock, name, jobs=4)
            self.archive.adopt(lock, shelf)
        self.archive.publish()
        of_builder = self._resolve("patchelf", "python3", "zlib1g")
        needed = {deb.file_name for lock in (of_builder, self._resolve("less")) for deb in lock.packages}
        for path in self.archive.folder.glob("*/pool/**/*.deb"):
            if path.relative_to(self.archive.folder).as_posix().partition("/")[2] not in needed:
                path.unlink()
        self.archive.publish()
        (self.root / "channel" / "python").mkdir(parents=True)
        (self.root / BUILDER).write_text(debian_lock.dump(of_builder))
        for name in ("lib", "app", "kept"):
            self._wheel(name)
        self._maker("1.0")
        module = {
            f"packaging/{file.name}": file.read_bytes()
            for file in resources.files("packaging").iterdir()
            if file.name.endswith(".py")
        }
        version = metadata.version("packaging")
        data = wheel_bytes(module, name="packaging", version=version)
        self.index.add(f"packaging-{version}-py3-none-any.whl", data)
        self.index.add("old-1.0.tar.gz", _source("old", "1.0"))

    def _resolve(self, *requested: str) -> AptLock:
        return apt.resolve(requested, architecture=self.archive.architecture)

    def _wheel(self, name: str, version: str = "1.0") -> None:
        requires = ("kept",) if name == "app" else ()
        data = wheel_bytes({f"{name}.py": b"x = 1\n"}, name=name, version=version, requires=requires)
        self.index.add(f"{name}-{version}-py3-none-any.whl", data)

    def _maker(self, version: str) -> None:
        code = f"{BACKEND}MAKER = {version!r}\n".encode()
        data = wheel_bytes({"maker.py": code}, name="maker", version=version)
        self.index.add(f"maker-{version}-py3-none-any.whl", data)

    def _write(self) -> None:
        """Write what people write, and a source that the channel has beforehand in each store."""
        for name, pypi, debian, ours in (
            ("base", ("lib",), ("less",), ""),
            ("child", ("app", "old"), (), "  parent: base\n" + BUILD),
        ):
            folders = [self.root / room / name for room in ("environments", "images")]
            for folder in folders:
                folder.mkdir(parents=True)
            (folders[0] / "environment.yml").write_text(environment_yml(name, ("python=3.13",), pypi, ours=ours))
            parent = "base" if name == "child" else None
            (folders[1] / "image.toml").write_text(image_toml(name, *debian, parent=parent))
        self.source.write_text(PYTHON)
        text = RECIPES.format(sha256=of_file(self.source).removeprefix("sha256:"), size=len(PYTHON))
        (self.root / "channel" / "recipes.toml").write_text(text)
        (self.root / "channel" / "python" / "build.sh").write_text(COMPILE)
        shutil.copytree(ROOT / "channel" / "debian", self.root / "channel" / "debian")

    def machine(self, name: str) -> Machine:
        """Return a machine whose store is empty, but for the source of the channel's Python, which no archive has."""
        store = Store(self.folder / name)
        store.put_artefact(self.source)
        machine = Machine(store=store, jobs=2)
        # Connected already: a store of its own would start an engine of its own.
        machine.__dict__["engine"] = self.engine
        return machine

    def lock(self, machine: Machine, *names: str, **wish: object) -> locking.Report:
        return relocking.lock(Checkout.of(self.root), machine, names, locking.Wish(**wish))

    def up(self, machine: Machine, host: str, *names: str) -> tuple[release.Published, ...]:
        """Take the stages of `up`, but its notebooks."""
        order = release.PublishOrder(host=host, prefix="", out=self.folder / "reports")
        return release.publish(Checkout.of(self.root), machine, names, order)

    def apt_lock(self, name: str) -> AptLock:
        file = BUILDER if name == "builder" else f"images/{name}/apt-lock.json"
        return debian_lock.parse((self.root / file).read_text(), file)

    def files(self) -> Mapping[str, bytes]:
        """Return name -> content of the checkout's files."""
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes() for path in self.root.rglob("*") if path.is_file()
        }

    def keep_snapshot(self) -> str:
        """Copy the archive as it is, and return the address of the copy."""
        for name in ("debian", "debian-security"):
            if (self.archive.folder / name).exists():
                shutil.copytree(self.archive.folder / name, self.archive.folder / "then" / name, symlinks=True)
        return f"{self.archive.url}/then/debian"

    def move_debian(self) -> None:
        """Take every file out of the pools, and put the same under a higher version there."""
        locks = [self.apt_lock(name) for name in ("base", "child", "builder")]
        debs = {deb.file_name: deb for lock in locks for deb in lock.packages}
        known = {deb.version for deb in debs.values()}
        for file_name, deb in debs.items():
            (old,) = self.archive.folder.glob(f"*/{file_name}")
            plain = deb.version.partition(":")[2] or deb.version
            renewed(old, old.with_name(old.name.replace(f"_{plain}_", f"_{plain}{NEWER}_")), known)
            old.unlink()
        self.archive.publish()

    def delete(self, *files: str) -> None:
        """Take files out of the index."""
        for name in files:
            del self.index.files[name]

    def renew(self, file: str) -> None:
        """Offer version 1.1 of a file of the index."""
        name = file.partition("-")[0]
        if name == "maker":
            self._maker("1.1")
        elif file.endswith(".tar.gz"):
            self.index.add(f"{name}-1.1.tar.gz", _source(name, "1.1"))
        else:
            self._wheel(name, "1.1")

    def locked_names(self) -> set[str]:
        """Return the names of the wheels and source archives in the locks."""
        locks = [
            pypi_lock.parse(path.read_text("utf-8"), path.name) for path in self.root.glob("environments/*/*lock*.toml")
        ]
        return {file.file_name for lock in locks for file in files_of(lock)}


def _source(name: str, version: str) -> bytes:
    """Return a source archive that `BACKEND` builds."""
    project = f"""[build-system]
requires = ["maker"]
build-backend = "maker"
[project]
name = "{name}"
version = "{version}"
"""
    text = f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n"
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in (("PKG-INFO", text), ("pyproject.toml", project)):
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return out.getvalue()

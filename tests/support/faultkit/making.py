"""kill -9 at random moments of what makes packages: Debian's root file system, the local channel, source-only wheels.

    python -m faultkit.making FOLDER wheel --kills 50 --seed 1

Each is the product's own step on something small, in the real builder or by the real mmdebstrap. After each kill: no
file of the store is other than its name says, no mount and no container outlives the next run, and that run comes to
the same bytes. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import io
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from checkout_texts import LIBZLIB

from helioimages.core.entries import LAYER_MTIME
from helioimages.core.files import of_file
from helioimages.core.platform import FIRST
from helioimages.debian.lock import AptLock
from helioimages.debian.lock import parse as parse_apt
from helioimages.engines import engine
from helioimages.locks import apt
from helioimages.locks import mirror as debian_mirror
from helioimages.locks import read as locks
from helioimages.locks.file_names import builder_lock
from helioimages.machine import fetch, mounts
from helioimages.machine.checkout import load_images
from helioimages.machine.store import Store, default_root
from helioimages.make import channel, debian_layers, linking, provision
from helioimages.make import wheels as wheelbuild
from helioimages.make.builder import Builder
from helioimages.make.rootfs import RootfsWorks
from helioimages.pypi import lock as pypi_lock
from helioimages.pypi import resolve
from helioimages.pypi.index import PackageIndex
from helioimages.pypi.lock import PyPILock, Sdist
from helioimages.spec.environment import BuildSpec, EnvironmentSpec

from .checks import store_faults
from .kills import finish_fork, start_fork

ROOT = Path(__file__).parents[3]
RECIPES = """
timestamp = 1767225600000

[[source]]
name = "tiny"
file = "tiny.c"
pool = "pool/none"
sha256 = "{sha256}"
size = {size}

[[package]]
name = "tiny"
version = "1.0"
source = "tiny"
script = "tiny/build.sh"
license = "MIT"
summary = "T"
home = "https://example.org/"
"""
BUILD = """set -eu
mkdir -p "$OUT/prefix/bin" "$OUT/licenses"
gcc -O2 -g0 -Wl,--build-id=none -x c "$IN/source" -o "$OUT/prefix/bin/tiny"
for i in $(seq 200); do echo "$i" > "$OUT/prefix/bin/data$i"; done
echo MIT > "$OUT/licenses/LICENSE"
"""
TINY = b'#include <stdio.h>\nint main(void) { puts("tiny"); return 0; }\n'
SETUP = b"from setuptools import Extension, setup\nsetup(ext_modules=[Extension('tiny._c', ['tiny.c'])])\n"
MODULE = b"""#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_c", 0, -1, 0};
PyMODINIT_FUNC PyInit__c(void) { return PyModule_Create(&module); }
"""


BUILDER_LOCK = builder_lock(FIRST)


class Making(Protocol):
    """One step and what it needs; `prepare` runs once, `make` in a store of its own and returns its bytes' digest."""

    def prepare(self, folder: Path) -> None:
        """Bring what the step needs into ``folder``."""

    def fill(self, store: Store) -> None:
        """Give a fresh store what earlier steps would have left in it."""

    def make(self, store: Store) -> str:
        """Take the step and return the digest of what it gave."""
        ...


class Rootfs(Making):
    """A minimal Debian."""

    def prepare(self, folder: Path) -> None:
        self.lock: AptLock = apt.resolve(())
        wanted = [
            fetch.WantedFile(
                name=deb.file_name,
                sha256=deb.sha256,
                size=deb.size,
                where="test",
                urls=lambda deb=deb: debian_mirror.mirror_urls(deb),
            )
            for deb in self.lock.packages
        ]
        self.debs = fetch.fetch_all(wanted, Store(folder / "downloads"))

    def make(self, store: Store) -> str:
        # The tar tells when apt ran; the layer that is made of it does not.
        entries = debian_layers.entries(RootfsWorks(store=store, debs=self.debs, jobs=2), self.lock, None, None)
        return linking.write(store, "0" * 64, entries, jobs=2).digest


class InBuilder(Making):
    """What runs in the builder."""

    def prepare(self, folder: Path) -> None:
        store = Store(default_root())
        self.lock = parse_apt((ROOT / BUILDER_LOCK).read_text("utf-8"), BUILDER_LOCK)
        self.debs = provision.debs(store, self.lock, BUILDER_LOCK, jobs=4)
        self.builder(store).image()

    def builder(self, store: Store) -> Builder:
        return Builder(engine.connect(Store(default_root())).client, store, self.lock, self.debs)


class Channel(InBuilder):
    """A channel of two packages: one compiled, one taken from Debian."""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        self.root, self.source = folder / "checkout", folder / "tiny.c"
        shutil.copytree(ROOT / "channel" / "debian", self.root / "channel" / "debian")
        (self.root / "channel" / "tiny").mkdir()
        (self.root / "channel" / "tiny" / "build.sh").write_text(BUILD)
        self.source.write_bytes(TINY)
        sha256 = of_file(self.source).removeprefix("sha256:")
        (self.root / "channel" / "recipes.toml").write_text(RECIPES.format(sha256=sha256, size=len(TINY)) + LIBZLIB)

    def fill(self, store: Store) -> None:
        store.put_artefact(self.source)

    def make(self, store: Store) -> str:
        folder = channel.build_channel(store, self.root, self.builder(store), jobs=2)
        for sha256, path in channel.artefact_paths(folder).items():
            assert of_file(path) == of_file(store.artefact(sha256)) == f"sha256:{sha256}"
        return of_file(folder / "channel.json")


class SourceWheel(InBuilder):
    """A wheel with a C extension."""

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        store, images = Store(default_root()), load_images(ROOT)
        lock = locks.load(ROOT, images, "base", channel="local")
        self.python = [(package, store.artefact(package.sha256)) for package in lock.conda.packages]
        file = "environments/helio/build-lock.toml"
        tools = pypi_lock.parse((ROOT / file).read_text("utf-8"), file)
        needed = [wheel for wheel in tools.wheels if wheel.name in ("setuptools", "packaging", "wheel", "pip")]
        self.tools = dataclasses.replace(tools, wheels=tuple(needed))
        self.wheels = provision.wheels(
            store, needed, file, lambda: PackageIndex(resolve.places(), store.root / "cache" / "index"), jobs=4
        )
        self.platform = tools.platform
        self.archive = folder / "tiny-1.0.tar.gz"
        files = {
            "PKG-INFO": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "pyproject.toml": b'[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            b'[project]\nname = "tiny"\nversion = "1.0"\n[tool.setuptools]\npackages = ["tiny"]\n',
            "setup.py": SETUP,
            "tiny.c": MODULE,
            "tiny/__init__.py": b"",
        }
        with tarfile.open(self.archive, "w:gz") as tar:
            for name, data in files.items():
                member = tarfile.TarInfo(f"tiny-1.0/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        self.sdist = Sdist(
            name="tiny",
            version="1.0",
            file_name=self.archive.name,
            sha256=of_file(self.archive).removeprefix("sha256:"),
            size=self.archive.stat().st_size,
        )
        own = Store(folder / "tools")
        self.unpacked = wheelbuild.unpack_tools(
            own, self.builder(own), self.tools, self.python, self.wheels, self.platform
        )

    def fill(self, store: Store) -> None:
        store.put_artefact(self.archive)
        # The tools are unpacked once, by hard links: what is killed is the build.
        toolchain = self.unpacked.folder
        while toolchain.parent.name != "toolchain":
            toolchain = toolchain.parent
        shutil.copytree(toolchain, store.root / "toolchain" / toolchain.name, copy_function=os.link, symlinks=True)

    def make(self, store: Store) -> str:
        lock = PyPILock(python="", platform=self.platform, content_hash="", wheels=(), sdists=(self.sdist,))
        environment = EnvironmentSpec(
            name="test", path=self.archive, channels=(), conda=(), pypi=(), build={"tiny": BuildSpec()}
        )
        builder = self.builder(store)
        (wheel,) = wheelbuild.build_all(
            wheelbuild.WheelWorkshop(
                store=store,
                builder=builder,
                tools=wheelbuild.unpack_tools(store, builder, self.tools, self.python, self.wheels, self.platform),
                platform=self.platform,
                epoch=LAYER_MTIME,
            ),
            lock,
            environment,
            jobs=1,
        )
        assert of_file(store.artefact(wheel.sha256)) == f"sha256:{wheel.sha256}"
        return wheel.sha256


KINDS: dict[str, type[Making]] = {"rootfs": Rootfs, "channel": Channel, "wheel": SourceWheel}


def run(folder: Path, kind: str, kills: int, seed: int, say: Callable[[str], None]) -> dict:
    """Return the figures of ``kills`` kills, and every fault that was found."""
    chance, faults, late, begun = random.Random(f"{kind} {seed}"), [], 0, time.monotonic()
    making = KINDS[kind]()
    making.prepare(folder)
    expected, seconds = _once(making, folder / "reference")
    say(f"{kind}: {seconds:.1f} s, {expected}")
    landed = told = 0
    while landed < kills:
        place = folder / f"site{landed + late}"
        moment = chance.uniform(0.0, seconds)
        what = f"{kind}, seed {seed}, kill {landed + late} at {moment:.2f} s"
        store = Store(place)
        making.fill(store)
        pid = start_fork(place, lambda store=store: making.make(store))
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        try:
            killed = finish_fork(place, pid) is None
            landed, late = landed + killed, late + (not killed)
            faults += [f"{what}: {fault}" for fault in store_faults(place)]
            again = finish_fork(place, start_fork(place, lambda store=store: making.make(store)))
            if again != expected:
                faults.append(f"{what}: the next run came to {again}")
            faults += [
                f"{what}, next run: {fault}"
                for fault in (*store_faults(place), *(_left_behind() if kind == "rootfs" else ()))
            ]
        except RuntimeError as error:
            landed += 1
            faults.append(f"{what}: {error}")
        shutil.rmtree(place, ignore_errors=True)
        for fault in faults[told:]:
            say(fault)
        told = len(faults)
        if (landed + late) % 5 == 0:
            say(f"{landed} kills, {late} late, {len(faults)} faults, {time.monotonic() - begun:.0f} s")
    return {
        "kind": kind,
        "kills": landed,
        "late": late,
        "faults": faults,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _once(making: Making, place: Path) -> tuple[str, float]:
    store = Store(place)
    making.fill(store)
    begun = time.monotonic()
    made = finish_fork(place, start_fork(place, lambda: making.make(store)))
    seconds = time.monotonic() - begun
    if made is None or (faults := store_faults(place)):
        raise RuntimeError(f"the run that nobody disturbed: {faults if made else 'was killed'}")
    shutil.rmtree(place, ignore_errors=True)
    return made, seconds


def _left_behind() -> list[str]:
    """Return the scratch folders that a killed run left and the next did not take away, with their mounts.

    Those in which somebody works are other runs' of the machine.
    """
    return [
        f"{path} stays" + (", with mounts" if mounts.below(path) else "")
        for path in Path("/dev/shm").glob("helioimages-rootfs-*")
        if _dead(path)
    ]


def _dead(path: Path) -> bool:
    try:
        handle = os.open(path / "alive", os.O_WRONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(prog="faultkit.making")
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    reports = []
    for kind in options.kinds:
        place = options.folder / kind
        place.mkdir(parents=True)
        reports.append(
            run(place, kind, options.kills, options.seed, lambda text: print(text, file=sys.stderr, flush=True))
        )
    print(json.dumps(reports, indent=2))
    sys.exit(1 if any(report["faults"] for report in reports) else 0)


if __name__ == "__main__":
    main()

"""Two small images, `base` and its `child`, that `building.build` makes in a second and without an engine."""

from __future__ import annotations

import dataclasses
import multiprocessing
import multiprocessing.forkserver
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conda_support import conda_package

from helioimages.conda.archive import write_conda
from helioimages.conda.lock import CondaLock
from helioimages.core import entries
from helioimages.core.entries import merge
from helioimages.core.platform import Platform
from helioimages.debian.lock import AptLock, Deb
from helioimages.locks.read import Locks
from helioimages.machine.store import Store
from helioimages.make import building, linking
from helioimages.make.building import Built, Workshop
from helioimages.make.inputs import own_files
from helioimages.make.plan import ImagePlan, PlanInputs, debian_key, debian_needed, plan_images
from helioimages.pypi.lock import PyPILock
from helioimages.pypi.pyc import Interpreter
from helioimages.spec.environment import EnvironmentSpec
from helioimages.spec.image import DirSpec, ImageSpec, UserSpec

COPYRIGHT = b"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

License: GPL-2+
License: MIT
"""
EPOCH = 1_700_000_000
USER = UserSpec(name="jovyan", uid=1000, gid=1001, groups=("users",), home="/home/jovyan", shell="/bin/bash")
APT = Deb(
    name="apt", version="3.0", architecture="amd64", file_name="pool/a.deb", archive="debian", sha256="a" * 64, size=1
)
CURL = dataclasses.replace(APT, name="curl", version="8.1", sha256="c" * 64)


def start_server() -> None:
    """Start the process from which workers are forked, with what each would import by itself in a quarter of a second.

    Python 3.11 gives that process no `sys.path`, so a variable tells it where the rooms are.
    """
    multiprocessing.set_forkserver_preload([linking.__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(linking.__file__).parents[2]))
        multiprocessing.forkserver.ensure_running()


def debian_files(packages: tuple[Deb, ...]) -> dict[str, bytes]:
    """Return what a Debian layer has: a program of each package, dpkg's notes, copyright files and a cache."""
    files = {"var/cache/made": b"made", "usr/bin/link": b"of nobody"}
    for deb in packages:
        lists = f"/.\n/bin\n/bin/{deb.name}\n/usr/share/doc/{deb.name}/copyright\n".encode()
        files |= {
            f"usr/bin/{deb.name}": deb.name.encode(),
            f"var/lib/dpkg/info/{deb.name}:amd64.list": lists,
            f"var/lib/dpkg/info/{deb.name}:amd64.md5sums": b"",
            f"usr/share/doc/{deb.name}/copyright": COPYRIGHT,
        }
    return files


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Two images' specs and locks, and a workshop to build them in."""

    root: Path
    shop: Workshop
    images: dict[str, ImageSpec]
    environments: dict[str, EnvironmentSpec]
    locks: dict[str, Locks]

    @property
    def store(self) -> Store:
        return self.shop.store

    def with_image(self, image: ImageSpec) -> Site:
        return dataclasses.replace(self, images=self.images | {image.name: image})

    def plan(self, name: str) -> ImagePlan:
        files = {name: own_files(self.root / "images" / name / "files", name) for name in self.images}
        images, environments, locks = self.images, self.environments, self.locks
        inputs = PlanInputs(images=images, environments=environments, locks=locks, files=files)
        return plan_images(inputs, [name])[name]

    def build(self, name: str, done: dict[str, Built] | None = None) -> Built:
        return building.build(self.shop, self.plan(name), done)


def workshops(
    tmp_path: Path, make_wheel: Callable, *, of_python: tuple[entries.Entry, ...] = ()
) -> Callable[..., Site]:
    """Give sites of two images, `base` and its `child`; the Debian layers are in their store beforehand.

    Args:
        of_python: what the conda package of Python has beside its interpreter.
    """
    start_server()
    out = tmp_path / "python-3.13.5-0.conda"
    index = {"name": "python", "version": "3.13.5", "build": "0", "build_number": 0, "subdir": "linux-64"}
    program = entries.file("bin/python3.13", b"#!", mode=0o755)
    sha256 = write_conda(out, index=index | {"depends": []}, entries=[program, *of_python])
    python = conda_package("python", "3.13.5", "0", sha256=sha256, size=out.stat().st_size)
    files = tmp_path / "images" / "base" / "files" / "srv"
    files.mkdir(parents=True)
    for name, mode in (("z", 0o600), ("start", 0o700), ("a", 0o664), ("m", 0o755), ("b", 0o644)):
        (files / name).write_text(name)
        (files / name).chmod(mode)
    (files / "link").symlink_to("start")
    wheels = {
        "big": make_wheel({"big/a.py": b"x = 1\n", "big/data": os.urandom(4000)}, name="big"),
        "one": make_wheel({"one/a.py": b"x = 1\n"}, name="one"),
        "two": make_wheel({"two/a.py": b"x = 2\n"}, name="two"),
        "new": make_wheel({"new/a.py": b"x = 3\n"}, name="new"),
    }

    def make(store: str = "store", *, more: dict | None = None, jobs: int = 1, debs: tuple[Deb, ...] = (APT, CURL)):
        have = wheels | (more or {})
        kept = Store(tmp_path / store)
        artefacts = [out, *(path for path, _ in have.values())]
        base = ImageSpec(
            name="base",
            path=tmp_path,
            title="Base",
            licenses="BSD-3-Clause",
            description="D",
            environment="base",
            env={"A": "1", "B": "2"},
            labels={"own": "base"},
            dirs=(DirSpec(path="home/jovyan", mode=0o775, uid=1000, gid=1001),),
            user=USER,
            workdir="/home/jovyan",
            entrypoint=("/srv/start",),
            cmd=("lab",),
            ports=("8888/tcp",),
            alone_bytes=3000,
            buckets=1,
        )
        child = ImageSpec(
            name="child",
            path=tmp_path,
            title="Child",
            description="D",
            environment="child",
            parent="base",
            env={"B": "3"},
            labels={"other": "child"},
            alone_bytes=3000,
            buckets=1,
        )
        locks = {}
        for image, names, packages in ((base, ("big", "one", "two"), (APT,)), (child, (*wheels, *(more or {})), debs)):
            lock = AptLock(suite="trixie", architecture="amd64", requested=(), packages=packages)
            locks[image.name] = Locks(
                image=image,
                parts={
                    "conda": CondaLock(
                        channels=("local",),
                        platforms=("linux-64",),
                        packages=(python,),
                        content_hash="0" * 64,
                        virtual_packages={},
                        timestamp=EPOCH,
                    ),
                    "wheel": PyPILock(
                        python="3.13",
                        platform=Platform.of("linux/amd64"),
                        content_hash="0" * 64,
                        wheels=tuple(sorted((have[name][1] for name in names), key=lambda wheel: wheel.name)),
                    ),
                    "debian": lock,
                },
                digest="sha256:" + str(len(locks)) * 64,
                epoch=EPOCH + len(locks) * 86400,
                files={},
            )
            below = locks["base"].apt if image.parent else None
            if debian_needed(lock, below):
                mine = [entries.file(path, text, origin="debian") for path, text in debian_files(packages).items()]
                linking.write(kept, debian_key(lock, below, USER), merge(mine))
        environments = {
            name: EnvironmentSpec(name=name, path=tmp_path, channels=("local",), conda=(), pypi=()) for name in locks
        }
        shop = Workshop(
            store=kept,
            paths={name: kept.artefact(name) for name in map(kept.put_artefact, artefacts)},
            interpreter=Interpreter(
                argv=(sys.executable,), env={"PATH": os.defpath}, cache_tag=sys.implementation.cache_tag
            ),
            debian={},
            jobs=jobs,
        )
        images = {"base": base, "child": child}
        return Site(root=tmp_path, shop=shop, images=images, environments=environments, locks=locks)

    return make

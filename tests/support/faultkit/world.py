"""The small world: a checkout of two images, a conda channel, an index, and one run of the whole pipeline over them.

Everything is the product's own code on real files, but the Debian layer: its memo is in the store beforehand, since a
root file system takes a minute to make.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import random
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

from checkout_texts import environment_yml
from pypi_support import IndexServer, wheel_bytes
from trust_support import write_key
from workspace import Workspace

from helioimages.conda.archive import write_conda
from helioimages.core import entries
from helioimages.debian import lock as debian_lock
from helioimages.debian.lock import AptLock
from helioimages.locks.locking import Wish
from helioimages.machine.checkout import load_images
from helioimages.machine.store import Store
from helioimages.make import building, linking, relocking
from helioimages.make.plan import debian_key
from helioimages.oci.registry import Registry
from helioimages.publish import attach as trust
from helioimages.publish import documents
from helioimages.publish import push as publish
from helioimages.publish.credentials import from_docker_config
from helioimages.spec import tags

IMAGES = ("base", "child")
DAY = datetime.date(2026, 11, 21)
IMAGE = """\
name = "{name}"
title = "T"
description = "D"
environment = "{name}"
{parent}
[layers]
alone-mib = 1
buckets = 3
"""
LOCKS = tuple(
    file for name in IMAGES for file in (f"environments/{name}/conda-lock.yml", f"environments/{name}/pylock.toml")
)


class World:
    """Folders below ``folder``: ``checkout`` (without locks), ``channel``; ``index`` is filled."""

    def __init__(self, folder: Path, index: IndexServer) -> None:
        self._places(folder, index.url)
        self._channel()
        self._index(index)
        self._checkout()

    def _places(self, folder: Path, url: str) -> None:
        self.url, self.checkout, self.channel = url, folder / "checkout", folder / "channel"

    @classmethod
    def existing(cls, folder: Path, url: str) -> World:
        """Return a world that another process made and serves."""
        self = cls.__new__(cls)
        self._places(folder, url)
        return self

    def _channel(self) -> None:
        # The locked interpreter is a script that runs this one: the real one would have to be compiled.
        python = f'#!/bin/sh\nunset PYTHONHOME\nexec {sys.executable} "$@"\n'.encode()
        noise = random.Random(1).randbytes(3 << 20)
        for name, version, depends, files in (
            ("python", "3.13.5", ["libdata"], (entries.file("bin/python3.13", python, mode=0o755),)),
            ("libdata", "1.0", [], (entries.file("lib/libdata.so", noise), entries.file("lib/data.py", b"x = 1\n"))),
        ):
            (self.channel / "linux-64").mkdir(parents=True, exist_ok=True)
            index = {"name": name, "version": version, "build": "h0_0", "build_number": 0, "subdir": "linux-64"}
            index |= {"depends": depends, "timestamp": 1_700_000_000_000}
            path = self.channel / "linux-64" / f"{name}-{version}-h0_0.conda"
            write_conda(path, index=index, entries=files)
            data = path.read_bytes()
            index |= {"sha256": _sha256(data), "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
            self._record(path.name, index | {"size": len(data)})

    def _record(self, file: str, record: dict) -> None:
        for subdir in ("linux-64", "noarch"):
            path = self.channel / subdir / "repodata.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            document = json.loads(path.read_text()) if path.exists() else {"packages": {}, "packages.conda": {}}
            document |= {"info": {"subdir": subdir}, "repodata_version": 1}
            if subdir == "linux-64":
                document["packages.conda"][file] = record
            path.write_text(json.dumps(document))

    def _index(self, index: IndexServer) -> None:
        for number in range(8):
            name = f"part{number}"
            size = (2 << 20) if number == 0 else 60_000
            files = {
                f"{name}/__init__.py": f"value = {number}\n".encode(),
                f"{name}/code.py": "".join(f"def f{i}(x):\n    return x + {i}\n\n" for i in range(200)).encode(),
                f"{name}/data.bin": random.Random(number).randbytes(size),
            }
            requires = ("part1", "part2", "part3") if number == 0 else ("part5", "part6") if number == 4 else ()
            data = wheel_bytes(files, name=name, version="1.0", requires=requires)
            index.add(f"{name}-1.0-py3-none-any.whl", data)

    def _checkout(self) -> None:
        real = Path(__file__).parents[3]
        for name, pip, parent in (("base", "part0", ""), ("child", "part4", "base")):
            environment, image = self.checkout / "environments" / name, self.checkout / "images" / name
            environment.mkdir(parents=True)
            image.mkdir(parents=True)
            ours = f"  parent: {parent}\n" if parent else ""
            text = environment_yml(name, ("python=3.13", "libdata"), (pip,), ours=ours)
            (environment / "environment.yml").write_text(text)
            line = f'parent = "{parent}"\n' if parent else ""
            (image / "image.toml").write_text(IMAGE.format(name=name, parent=line))
            apt = AptLock(suite="trixie", architecture="amd64", requested=(), packages=(), timestamp=1_700_000_000)
            (image / "apt-lock.json").write_text(debian_lock.dump(apt))
        shutil.copyfile(real / "images" / "Dockerfile.j2", self.checkout / "images" / "Dockerfile.j2")

    def fresh(self, folder: Path) -> Site:
        """Return a site of its own: a copy of the checkout, and a store that has the Debian layers."""
        shutil.copytree(self.checkout, folder / "checkout")
        site = Site(folder=folder, channel=self.channel, environment=self.environment(folder))
        write_key(site.key, 7)
        seed_debian(Store(site.store), site.checkout)
        return site

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that a run gets: this index, and nothing of the user's."""
        return {
            "UV_DEFAULT_INDEX": self.url,
            "UV_CACHE_DIR": str(folder / "uv-cache"),
            "HELIOIMAGES_STORE": str(folder / "store"),
            "HOME": str(folder),
        }


class Site:
    """One place where the pipeline runs: ``checkout`` and ``store`` below ``folder``."""

    def __init__(self, *, folder: Path, channel: Path, environment: dict[str, str]) -> None:
        self.folder, self.channel, self.environment = folder, channel, environment
        self.checkout, self.store, self.key = folder / "checkout", folder / "store", folder / "cosign.key"

    def build(self) -> tuple[Workspace, dict[str, building.Built], dict]:
        """Lock, fetch and build; returns the workspace, the images, and the digests that were come to."""
        os.environ.update(self.environment)
        for name in ("UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
            os.environ.pop(name, None)
        store = Store(self.store)
        ws = Workspace.of(self.checkout, store, jobs=2)
        relocking.lock(ws.checkout, ws.machine, (), Wish(channel_dirs=(self.channel,)))
        for path in sorted(self.channel.glob("*/*.conda")):
            store.put_artefact(path)
        built = ws.build(())
        result = {
            "locks": self.locks(),
            "images": {name: image.image.digest for name, image in built.items()},
            "diff_ids": [layer.layer.diff_id for name in built for layer in built[name].layers],
        }
        return ws, built, result

    def run(self, host: str) -> dict:
        """Run the pipeline and return the digests that it came to.

        Args:
            host: the registry's, on loopback.
        """
        ws, built, result = self.build()
        with Registry(host, credentials=from_docker_config(), pause=lambda _seconds: None) as client:
            result["tags"] = {name: release(ws, client, image, self.key) for name, image in built.items()}
        return result

    def locks(self) -> dict[str, str]:
        """Return file -> sha256 of the locks that are there."""
        return {file: _sha256((self.checkout / file).read_bytes()) for file in LOCKS if (self.checkout / file).exists()}

    def remove(self) -> None:
        """Delete the folder, whatever is read-only in it."""
        for path in self.folder.rglob("*"):
            with suppress(OSError):
                path.chmod(stat.S_IRWXU)
        shutil.rmtree(self.folder)


def release(ws: Workspace, client: Registry, built: building.Built, key: Path) -> dict[str, str]:
    """Push, attach, sign and tag an image, as the publish verb does; returns tag -> digest."""
    name, digest = built.spec.name, built.image.digest
    ws.push(client, built, "")
    documents.attach(client, name, built, ws.root / "no report", ws.store)
    others = documents.unsigned(built, ws.root / "no report")
    trust.attach(
        trust.Subject(client=client, repository=name, built=built, root=ws.root, store=ws.store, others=others), key=key
    )
    existing = publish.existing_tags(client, name)
    plan = tags.plan(digest=digest, day=DAY, lock=built.locks.digest, existing=existing)
    publish.promote(client, name, digest, plan.missing)
    return dict.fromkeys(plan.wanted, digest)


def seed_debian(store: Store, checkout: Path) -> None:
    """Put the Debian layers of the images into a store, as an earlier run would have left them."""
    images = load_images(checkout)
    locks = {name: debian_lock.parse((checkout / f"images/{name}/apt-lock.json").read_text(), name) for name in images}
    for name, image in images.items():
        key = debian_key(locks[name], locks[image.parent] if image.parent else None, None)
        etc = [entries.file(f"etc/{name}", name.encode(), origin="debian")]
        linking.write(store, key, entries.merge(etc))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

"""A small checkout with a package index on loopback and a made-up conda channel, for tests of locking."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from checkout_texts import environment_yml, image_toml
from pypi_support import wheel_bytes

from helioimages.conda import lock as conda_lock
from helioimages.locks import locking
from helioimages.machine.store import Store
from helioimages.pypi import lock as pypi_lock


def write_channel(folder: Path, *records) -> None:
    """Write the ``repodata.json`` of a channel that has these packages, and no others."""
    for subdir in ("linux-64", "noarch"):
        chosen = {f"{r['name']}-{r['version']}-{r['build']}.conda": r for r in records if r["subdir"] == subdir}
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": chosen, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_text(json.dumps(document))


def record(name, version, *depends, subdir="linux-64"):
    digest = hashlib.sha256(f"{name}{version}".encode()).hexdigest()
    return {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "subdir": subdir,
        "depends": list(depends),
        "md5": digest[:32],
        "sha256": digest,
        "size": 100,
        "timestamp": 1_700_000_000_000,
    }


class World:
    """A checkout, a channel, an index and a store."""

    def __init__(self, folder: Path, index) -> None:
        self.root, self.channel, self.index = folder / "checkout", folder / "channel", index
        self.store = Store(folder / "store")
        self.root.mkdir()
        self.conda(record("python", "3.13.5", "libz"), record("libz", "1.3"))

    def conda(self, *records) -> None:
        write_channel(self.channel, *records)

    def environment(self, name, *pypi, conda=("python=3.13",), **ours) -> None:
        folder = self.root / "environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = "".join(f"  {key.replace('_', '-')}: {json.dumps(value)}\n" for key, value in ours.items())
        text = environment_yml(name, conda, pypi, ours=rows)
        (folder / "environment.yml").write_text(text)

    def image(self, name, *debian, parent=None) -> None:
        folder = self.root / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "image.toml").write_text(image_toml(name, *debian, parent=parent))

    def wheel(self, name, version, *requires, at="2026-01-01") -> None:
        data = wheel_bytes({}, name=name, version=version, requires=requires)
        self.index.add(f"{name}-{version}-py3-none-any.whl", data, f"{at}T00:00:00Z")

    def lock(self, *names, channel="local", **wish):
        asked = locking.Wish(channel_dirs=(self.channel,), **wish)
        return locking.lock(self.root, self.store, names, asked, channel=channel)

    def pylock(self, name):
        file = self.root / "environments" / name / "pylock.toml"
        return pypi_lock.parse(file.read_text(), str(file))

    def conda_lock(self, name):
        file = self.root / "environments" / name / "conda-lock.yml"
        return conda_lock.parse(file.read_text(), str(file))

    def texts(self):
        return {p: p.read_bytes() for p in self.root.rglob("*") if p.is_file()}

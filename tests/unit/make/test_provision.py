"""What the locks name is brought here: what can be done at once is."""

from __future__ import annotations

import dataclasses
import threading

from building_support import workshops

from helioimages.core.platform import Platform
from helioimages.make import provision

LONG_S = 60
FILES = {"apt": "apt-lock.json", "conda": "conda-lock.yml", "pypi": "pylock.toml"}


def test_the_local_channel_is_compiled_while_packages_are_fetched(tmp_path, make_module_wheel, monkeypatch):
    site = workshops(tmp_path, make_module_wheel)()
    locks = [dataclasses.replace(lock, files=FILES) for lock in site.locks.values()]
    both, steps = threading.Barrier(2), []

    def channel(_supplies, local):
        both.wait(LONG_S)
        return {sha256: tmp_path / "compiled" for sha256 in local}

    def fetch(wanted, _store, *, jobs, label):
        steps.append(label)
        if label == "packages":
            both.wait(LONG_S)
        return {file.sha256: tmp_path / "fetched" for file in wanted}

    monkeypatch.setattr(provision, "_local_channel", channel)
    monkeypatch.setattr(provision, "fetch_all", fetch)
    supplies = provision.Supplies(
        root=tmp_path,
        store=site.store,
        index=lambda: None,
        builder=lambda: None,
        platform=Platform.of("linux/amd64"),
        jobs=1,
    )
    paths = provision.packages(supplies, locks, debian=lambda debs: steps.append(f"{len(debs)} .debs are here"))
    debs = {deb.sha256 for lock in locks for deb in lock.apt.packages}
    # The root file systems begin before the wheels are here.
    assert steps == ["Debian packages", f"{len(debs)} .debs are here", "packages"]
    assert {sha256: path.name for sha256, path in paths.items()} == {
        package.sha256: "compiled" if package.kind == "conda" else "fetched"
        for lock in locks
        for package in lock.packages
    }

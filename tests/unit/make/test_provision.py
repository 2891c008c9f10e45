"""What the locks name is brought here: what can be done at once is."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from building_support import workshops

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.make import provision

LONG_S = 60
FILES = {"apt": "apt-lock.json", "conda": "conda-lock.yml", "pypi": "pylock.toml"}


def supplies_of(site, root) -> provision.Supplies:
    return provision.Supplies(
        root=root,
        store=site.store,
        index=lambda: None,
        builder=lambda: None,
        platform=Platform.of("linux/amd64"),
        jobs=1,
    )


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
    supplies = supplies_of(site, tmp_path)
    paths = provision.packages(supplies, locks, debian=lambda debs: steps.append(f"{len(debs)} .debs are here"))
    debs = {deb.sha256 for lock in locks for deb in lock.apt.packages}
    # The root file systems begin before the wheels are here.
    assert steps == ["Debian packages", f"{len(debs)} .debs are here", "packages"]
    assert {sha256: path.name for sha256, path in paths.items()} == {
        package.sha256: "compiled" if package.kind == "conda" else "fetched"
        for lock in locks
        for package in lock.packages
    }


def test_a_download_that_fails_is_told_while_the_channel_is_compiled(tmp_path, make_module_wheel, monkeypatch, capsys):
    site = workshops(tmp_path, make_module_wheel)()
    locks = [dataclasses.replace(lock, files=FILES) for lock in site.locks.values()]
    told, printed = threading.Event(), provision.say

    def say(text):
        printed(text)
        told.set()

    def fetch(*_, **__):
        raise HelioError(Stage.FETCH, "`demo.deb` is gone", detail="404")

    # It ends no sooner.
    monkeypatch.setattr(provision, "_local_channel", lambda *_: told.wait(LONG_S))
    monkeypatch.setattr(provision, "fetch_all", fetch)
    monkeypatch.setattr(provision, "say", say)
    with pytest.raises(HelioError, match="is gone"):
        provision.packages(supplies_of(site, tmp_path), locks)
    assert told.is_set()
    assert capsys.readouterr().err == (
        "warning: `demo.deb` is gone; the local channel is compiled to its end first, so the next run has it\n"
    )

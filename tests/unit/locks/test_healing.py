"""Healing with a mirror and an apt that answer from memory: what is written, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.debian.lock import AptLock, Deb, dump, parse
from helioimages.locks import healing
from helioimages.machine.checkout import load_images
from helioimages.machine.store import Store


def deb(name: str, version: str) -> Deb:
    digit = format(sum(map(ord, name + version)) % 16, "x")
    return Deb(
        name=name,
        version=version,
        architecture="amd64",
        file_name=f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb",
        archive="debian",
        sha256=digit * 64,
        size=1,
    )


LOCK = AptLock(
    suite="trixie",
    architecture="amd64",
    requested=("curl",),
    packages=(deb("bash", "5"), deb("curl", "1")),
    timestamp=1,
)
GONE = deb("curl", "1")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch) -> Path:
    for name, parent in (("base", ""), ("helio", 'parent = "base"\n')):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        text = f'name = "{name}"\ntitle = "t"\ndescription = "d"\nenvironment = "{name}"\n{parent}'
        (folder / "image.toml").write_text(text)
        (folder / "apt-lock.json").write_text(dump(LOCK))

    def heal(lock, gone, *, parent, obtain):
        packages = tuple(deb("curl", "2") if package.name == "curl" else package for package in lock.packages)
        return dataclasses.replace(lock, packages=packages, healed=("curl 1 -> 2",))

    monkeypatch.setattr(healing.apt, "heal", heal)
    monkeypatch.setattr(healing.mirror, "missing", lambda debs: tuple(d for d in debs if d.sha256 == GONE.sha256))
    return tmp_path


def run(checkout: Path, **options) -> tuple[str, ...]:
    images = load_images(checkout).values()
    return healing.heal(checkout, Store(checkout / "store"), images, **({"builder": False, "strict": False} | options))


def test_parent_and_child_are_healed_and_the_locks_say_so(checkout):
    assert run(checkout) == ("images/base/apt-lock.json", "images/helio/apt-lock.json")
    for name in ("base", "helio"):
        lock = parse((checkout / "images" / name / "apt-lock.json").read_text(), name)
        assert lock.healed == ("curl 1 -> 2",)
        assert [package.version for package in lock.packages] == ["5", "2"]


def test_strict_refuses_and_writes_nothing(checkout):
    before = (checkout / "images/base/apt-lock.json").read_bytes()
    with pytest.raises(HelioError) as caught:
        run(checkout, strict=True)
    assert str(caught.value) == (
        "the Debian mirror dropped 1 locked package\n"
        "  in images/base/apt-lock.json, images/helio/apt-lock.json\n"
        "  curl 1\n"
        "\nhint: run `buildimages lock`, test, commit, and publish again"
    )
    assert (checkout / "images/base/apt-lock.json").read_bytes() == before


def test_what_the_store_has_is_not_asked_for(checkout, monkeypatch):
    store = Store(checkout / "store")
    for package in LOCK.packages:
        store.artefact(package.sha256).touch()

    def asked(debs):
        raise AssertionError("the mirror was asked")

    monkeypatch.setattr(healing.mirror, "missing", asked)
    assert run(checkout) == ()

"""What an image says of itself, label by label."""

from __future__ import annotations

import dataclasses

import pytest
from building_support import EPOCH, workshops

from helioimages.conda.lock import CondaPackage
from helioimages.make.labels import labels
from helioimages.pypi.lock import Wheel


@pytest.fixture
def shop(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)()


def test_the_lowest_image(shop):
    lock = shop.locks["base"]
    said = labels(shop.images["base"], lock, shop.environments["base"])
    assert said == {
        "org.opencontainers.image.title": "Base",
        "org.opencontainers.image.description": "D",
        "org.opencontainers.image.licenses": "BSD-3-Clause",
        "org.opencontainers.image.revision": lock.digest,
        "org.opencontainers.image.version": "2023.11.14",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.base.name": "scratch",
        "io.helioimages.lock": lock.digest,
        "io.helioimages.channel": "local",
        "io.helioimages.python": "3.13.5",
        "own": "base",
    }
    assert lock.epoch == EPOCH


def test_a_child_names_its_parent_and_what_hubs_look_for(shop):
    lock = shop.locks["child"]
    versions = {"jupyterhub": "5.4.2", "jupyterlab": "4.5.0", "dask": "2026.11.0", "nvidia-cuda-runtime": "13.2.7"}
    wheels = tuple(
        Wheel(name=name, version=version, file_name=f"{name}.whl", sha256="0" * 64, size=1)
        for name, version in versions.items()
    )
    lock = dataclasses.replace(
        lock,
        parts={
            "conda": lock.conda,
            "wheel": dataclasses.replace(lock.pypi, wheels=wheels),
            "debian": dataclasses.replace(lock.apt, healed=("curl 8.0 -> 8.1", "apt 2.9 -> 3.0")),
        },
    )
    environment = dataclasses.replace(shop.environments["child"], virtual_packages={"__cuda": "13.0"})
    image = dataclasses.replace(shop.images["child"], labels={"io.helioimages.dask": "ours", "other": "child"})
    said = labels(image, lock, environment)
    assert {key: value for key, value in said.items() if not key.startswith("org.")} | {
        key: value for key, value in said.items() if ".base." in key
    } == {
        "org.opencontainers.image.base.name": "base",
        "io.helioimages.lock": lock.digest,
        "io.helioimages.channel": "local",
        "io.helioimages.python": "3.13.5",
        "io.helioimages.jupyterhub": "5.4.2",
        "io.helioimages.jupyterlab": "4.5.0",
        "io.helioimages.dask": "ours",
        "io.helioimages.cuda": "13.2",
        "io.helioimages.cuda.driver": "580",
        "io.helioimages.debian.healed": "curl 8.0 -> 8.1; apt 2.9 -> 3.0",
        "other": "child",
    }


def test_a_conda_package_counts_too(shop):
    lock = shop.locks["base"]
    dask = dataclasses.replace(lock.conda.packages[0], name="dask", version="2026.1")
    assert isinstance(dask, CondaPackage)
    conda = dataclasses.replace(lock.conda, packages=(*lock.conda.packages, dask))
    lock = dataclasses.replace(lock, parts={**lock.parts, "conda": conda})
    assert labels(shop.images["base"], lock, shop.environments["base"])["io.helioimages.dask"] == "2026.1"

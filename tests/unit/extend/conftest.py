"""A repository in a folder, and a parent image that is nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.core.package import Package
from helioimages.core.platform import Platform
from helioimages.extend import repository
from helioimages.extend.parent import Parent
from helioimages.oci.image import Settings, append
from helioimages.oci.registry import Registry

PLATFORM = Platform.of("linux/amd64")


@pytest.fixture
def given(tmp_path: Path):
    """Write files of a repository and open it."""

    def write(**files: str) -> repository.Repository:
        return opened({name.replace("__", "/").replace("_DOT_", "."): text for name, text in files.items()})

    def opened(files: dict[str, str]) -> repository.Repository:
        folder = tmp_path / "work"
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        with repository.opened(str(folder)) as opened_folder:
            return opened_folder

    write.files = opened
    return write


@pytest.fixture
def parent() -> Parent:
    """Return an image with a Python, numpy 2.4.6, xarray 2026.9.0, git and pandoc."""
    image = append(
        None,
        [],
        Settings(env={"HOME": "/home/jovyan"}, user="1000", cmd=("jupyter", "lab")),
        platform=PLATFORM,
        created_epoch=1_700_000_000,
    )
    kinds = (
        ("conda", "python", "3.13.5"),
        ("conda", "openssl", "3.5.4"),
        ("debian", "libc6", "2.41-12"),
        ("debian", "git", "1:2.47.3-0"),
        ("wheel", "numpy", "2.4.6"),
        ("wheel", "pypandoc_binary", "1.17"),
        ("wheel", "xarray", "2026.9.0"),
    )
    return Parent(
        client=Registry("localhost:1"),
        repository="heliocloud/helio",
        tag="2026.11.21",
        image=image,
        packages=tuple(Package(kind=kind, name=name, version=version) for kind, name, version in kinds),
    )

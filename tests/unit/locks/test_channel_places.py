"""Where the packages of a channel are: beside it, on another host, on mirrors, in a folder; or no longer there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import zstandard
from channel_support import versions

from helioimages.core.errors import HelioError


def move(folder: Path, channel: str, base_url: str, to: str) -> None:
    """Put a channel's packages of linux-64 elsewhere, and have its index say where. Spec: CEP 15."""
    index = folder / channel / "linux-64/repodata.json"
    document = json.loads(index.read_text())
    (folder / to).mkdir(parents=True, exist_ok=True)
    for file in document["packages.conda"]:
        (folder / channel / "linux-64" / file).rename(folder / to / file)
    document["info"]["base_url"], document["repodata_version"] = base_url, 2
    index.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("base_url", "to", "at"),
    [
        ("../pool/", "main/pool", "../pool/"),
        ("pool", "main/linux-64/pool", "pool/"),
        ("../../elsewhere/linux-64/", "elsewhere/linux-64", "../../elsewhere/linux-64/"),
        ("/elsewhere/", "elsewhere", "../../elsewhere/"),
        ("{url}/elsewhere/", "elsewhere", "../../elsewhere/"),
        ("./", "main/linux-64", ""),
    ],
)
@pytest.mark.parametrize("way", ["address", "folder"])
def test_packages_beside_their_channel_are_found_and_the_lock_has_no_host(made, base_url, to, at, way):
    world, folder, url = made
    move(folder, "main", base_url.format(url=url), to)
    world.asks("main")
    if way == "folder" and base_url.startswith(("/", "{")):
        pytest.skip("an absolute place is another one where a channel is a folder")
    given = (Path(f"main={folder / 'main'}"),) if way == "folder" else ()
    lock = world.lock_it(*given)
    text = (world.root / "environments/e/conda-lock.yml").read_text()
    assert "127.0.0.1" not in text and str(folder) not in text
    assert {package.url for package in lock.packages} == {
        f"main/linux-64/{package.file_name}" for package in lock.packages
    }
    assert {package.at for package in lock.packages} == {at and at + package.file_name for package in lock.packages}
    assert len(world.fetch(lock)) == 2
    world.lock_it(*given, check=True)


def test_packages_on_another_host_have_their_address(made):
    """Where it does not end as conda-lock wants addresses, it stands beside the record."""
    world, folder, url = made
    other = url.replace("127.0.0.1", "localhost")
    move(folder, "main", f"{other}/elsewhere/", "elsewhere")
    world.asks("main")
    lock = world.lock_it()
    assert {package.at for package in lock.packages} == {
        f"{other}/elsewhere/{package.file_name}" for package in lock.packages
    }
    assert len(world.fetch(lock)) == 2


def test_folders_stand_for_channels(made):
    world, folder, _ = made
    world.asks("offline", "main", conda=("libz",))
    lock = world.lock_it(Path(f"offline={folder / 'extra'}"))
    assert versions(lock) == {"python": ("3.13.5", "main"), "libz": ("2.0", "offline")}
    with pytest.raises(HelioError, match=r"is not the folder of a channel"):
        world.lock_it(Path(f"offline={folder}"))


def test_mirrors_are_asked_in_order(made, tmp_path):
    world, _, url = made
    world.asks("far", conda=("libz",))
    (tmp_path / "home/.condarc").write_text(f"mirrored_channels:\n  far: [{url}/none, {url}/main]\n")
    lock = world.lock_it()
    assert lock.packages[0].url == "far/linux-64/libz-1.3-h0_0.conda"
    assert versions(lock) == {"python": ("3.13.5", "far"), "libz": ("1.3", "far")}
    assert len(world.fetch(lock)) == 2


def test_a_mirror_with_another_file_is_passed_over(made, tmp_path):
    world, folder, url = made
    world.asks("main")
    lock = world.lock_it()
    for path in (folder / "main").glob("*/*.conda"):
        copy = folder / "stale" / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[:-1] + b"x")
    with (tmp_path / "home/.condarc").open("a") as file:
        file.write(f"mirrored_channels: {{main: ['{url}/stale', '{url}/main']}}\n")
    assert len(world.fetch(lock)) == len(lock.packages)


def test_compressed_records_are_enough(made):
    world, folder, _ = made
    for subdir in ("linux-64", "noarch"):
        plain = folder / "main" / subdir / "repodata.json"
        plain.with_name("repodata.json.zst").write_bytes(zstandard.compress(plain.read_bytes()))
        plain.unlink()
    world.asks("main")
    assert len(world.lock_it().packages) == 2


@pytest.mark.parametrize("deleted", [True, False])
def test_a_package_that_is_gone_or_another_is_not_taken(made, deleted):
    world, folder, _ = made
    world.asks("main", conda=("libz",))
    lock = world.lock_it()
    path = folder / "main/linux-64/libz-1.3-h0_0.conda"
    if deleted:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(HelioError) as caught:
        world.fetch(lock)
    assert ("404" if deleted else "digest mismatch") in str(caught.value)
    assert "package[0]" in str(caught.value) and "buildimages lock --update libz" in caught.value.hint


def cut(folder):
    path = folder / "main/linux-64/repodata.json"
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("channel", "spoil", "says"),
    [
        ("closed", lambda folder: None, "it wants a login"),
        ("denied", lambda folder: None, "it refuses this login"),
        ("nowhere", lambda folder: None, "it has no index there"),
        ("main", cut, "its index is damaged or cut"),
        ("main", lambda folder: shutil.rmtree(folder / "main/noarch"), "it has no index there"),
    ],
)
def test_a_channel_that_cannot_be_read_is_named_with_a_way_out(made, tmp_path, channel, spoil, says):
    world, folder, _ = made
    (tmp_path / "home/.rattler/credentials.json").write_text("{}")
    spoil(folder)
    world.asks(channel, conda=("libz",))
    with pytest.raises(HelioError) as caught:
        world.lock_it()
    error = str(caught.value)
    assert f"cannot read the conda channel `{channel}`" in error and says in error
    assert "environments/e/environment.yml at channels" in error and "--channel-dir NAME=FOLDER" in error

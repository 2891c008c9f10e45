"""Images with conda packages that bring different files of one path."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from building_support import Site, workshops
from conda_support import PREFIX, locked_package, write_package

from helioimages.conda import lock as conda_lock
from helioimages.conda.clobber import clobbers
from helioimages.core.errors import HelioError
from helioimages.make.building import Built
from helioimages.oci.layer import read_layer

PACKAGES = {"low": [], "other": [], "zed": ["low"], "zero": []}


def with_conda(site: Site, folder: Path, *, told: bool = True) -> Site:
    """Return a site whose base has low and other, and whose child has zed (which needs low) and zero too."""
    python = site.locks["base"].conda.packages[0]
    files = {python.name: (python, site.shop.paths[python.sha256])}
    for name, depends in PACKAGES.items():
        content = {"etc/x": (name.encode(), 0o644), f"share/{name}": (b"", 0o644)}
        write_package(folder, name, content, index={"depends": depends})
        path = folder / "linux-64" / f"{name}-1.0-h0_0.conda"
        files[name] = (locked_package(path, "linux-64"), path)
    paths = dict(site.shop.paths)
    for package, path in files.values():
        paths[package.sha256] = path
    locks, before, inherited = {}, {}, frozenset()
    for image, names in (("base", ["low", "other", "python"]), ("child", ["low", "other", "python", "zed", "zero"])):
        clobbers_here = clobbers(
            [files[name] for name in names], platform="linux-64", before=before, inherited=inherited
        )
        before, inherited = {clobber.path: clobber.winner for clobber in clobbers_here}, frozenset(names)
        texts = {clobber.path: f"{clobber.winner} over {', '.join(clobber.losers)}" for clobber in clobbers_here}
        lock = dataclasses.replace(
            site.locks[image].conda,
            packages=tuple(files[name][0] for name in names),
            clobbers={"linux-64": texts} if told else {},
        )
        assert conda_lock.parse(conda_lock.dump(lock), "conda-lock.yml") == lock
        locks[image] = dataclasses.replace(site.locks[image], parts={**site.locks[image].parts, "conda": lock})
    return dataclasses.replace(site, shop=dataclasses.replace(site.shop, paths=paths), locks=locks)


def seen(site: Site, built: Built) -> dict[str, bytes]:
    """Return what lies in the prefix of an image: upper layers win."""
    contents = {}
    for image in built.line:
        for layer in image.layers:
            for entry in read_layer(site.store.blob(layer.layer.digest)):
                if entry.content is not None and entry.path.startswith(PREFIX[1:]):
                    contents[entry.path.removeprefix(PREFIX[1:] + "/")] = entry.content.read()
    return contents


def test_the_winners_file_is_there_and_the_loser_forgets_it(tmp_path, make_wheel):
    site = with_conda(workshops(tmp_path, make_wheel)(), tmp_path / "channel")
    done: dict[str, Built] = {}
    child = site.build("child", done)
    assert site.locks["base"].conda.clobbers == {"linux-64": {"etc/x": "low over other"}}
    assert site.locks["child"].conda.clobbers == {"linux-64": {"etc/x": "zed over low, other, zero"}}
    base = seen(site, done["base"])
    assert base["etc/x"] == b"low"
    assert json.loads(base["conda-meta/other-1.0-h0_0.json"])["files"] == ["share/other"]
    assert json.loads(base["conda-meta/low-1.0-h0_0.json"])["files"] == ["etc/x", "share/low"]
    # The parent's layers are what they were: the child's are above them.
    files = seen(site, child)
    assert files["etc/x"] == b"zed"
    assert json.loads(files["conda-meta/zero-1.0-h0_0.json"])["files"] == ["share/zero"]


def test_what_people_say_counts(tmp_path, make_wheel):
    site = with_conda(workshops(tmp_path, make_wheel)(), tmp_path / "channel")
    named = dataclasses.replace(site.environments["base"], clobber={"etc/*": "other over low"})
    site = dataclasses.replace(site, environments=site.environments | {"base": named})
    assert seen(site, site.build("base"))["etc/x"] == b"other"


def test_without_the_lock_saying_it_the_build_refuses(tmp_path, make_wheel):
    site = with_conda(workshops(tmp_path, make_wheel)(), tmp_path / "channel", told=False)
    with pytest.raises(HelioError, match="both bring srv/conda/envs/notebook/etc/x"):
        site.build("base")


@pytest.mark.parametrize(
    "text", ["low", "low over ", "low over low", "low over none", "none over low", "low over other, other"]
)
def test_a_lock_that_names_no_packages_is_refused(tmp_path, make_wheel, text):
    site = with_conda(workshops(tmp_path, make_wheel)(), tmp_path / "channel")
    lock = dataclasses.replace(site.locks["base"].conda, clobbers={"linux-64": {"etc/x": text}})
    with pytest.raises(HelioError) as caught:
        conda_lock.parse(conda_lock.dump(lock), "conda-lock.yml")
    assert "metadata.custom_metadata.clobber:linux-64:etc/x" in str(caught.value)

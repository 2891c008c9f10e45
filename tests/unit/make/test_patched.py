"""An image with a patched package: its layer, its child, its SBOMs."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json

import pytest
from building_support import Site, workshops

from helioimages.core.errors import HelioError
from helioimages.core.package import Patch, Without
from helioimages.make import linking, provision
from helioimages.oci.layer import read_layer
from helioimages.publish import sbom

SITE = "srv/conda/envs/notebook/lib/python3.13/site-packages"
DIFF = b"--- a/one/a.py\n+++ b/one/a.py\n@@ -1 +1,2 @@\n-x = 1\n+x = 5\n+y = 6\n"
PATCH = Patch(
    path="environments/base/patches/one.patch",
    sha256=hashlib.sha256(DIFF).hexdigest(),
    reason="x is 5",
    upstream="https://example.org/one/1",
)


def patched(site: Site, *names: str, patches: tuple[Patch, ...] = (PATCH,)) -> Site:
    """Return a site some of whose images' locks patch the package `one`."""
    locks = dict(site.locks)
    for name in names:
        pypi = locks[name].pypi
        wheels = tuple(dataclasses.replace(w, patches=patches) if w.name == "one" else w for w in pypi.wheels)
        parts = {**locks[name].parts, "wheel": dataclasses.replace(pypi, wheels=wheels)}
        files = {"pypi": f"environments/{name}/pylock.toml"}
        locks[name] = dataclasses.replace(locks[name], parts=parts, files=files)
    return dataclasses.replace(site, locks=locks)


def provided(site: Site) -> Site:
    """Return a site whose workshop has the patches of its locks."""
    paths = provision.patches(site.root, site.store, site.locks.values())
    return dataclasses.replace(site, shop=dataclasses.replace(site.shop, paths={**site.shop.paths, **paths}))


@pytest.fixture
def plain(tmp_path, make_wheel):
    folder = tmp_path / "environments" / "base" / "patches"
    folder.mkdir(parents=True)
    (folder / "one.patch").write_bytes(DIFF)
    return workshops(tmp_path, make_wheel)()


@pytest.fixture
def site(plain):
    return provided(patched(plain, "base", "child"))


def test_only_the_layer_of_the_package_changes(plain, site):
    before, after = plain.build("base"), site.build("base")
    changed = [
        new.name for old, new in zip(before.layers, after.layers, strict=True) if old.layer.digest != new.layer.digest
    ]
    assert changed == ["wheels-00"]
    assert [old.key == new.key for old, new in zip(before.layers, after.layers, strict=True)] == [
        layer.name != "wheels-00" for layer in before.layers
    ]
    layer = next(layer for layer in after.layers if layer.name == "wheels-00")
    entries = {entry.path: entry for entry in read_layer(site.store.blob(layer.layer.digest))}
    assert entries[f"{SITE}/one/a.py"].content.read() == b"x = 5\ny = 6\n"
    # The bytecode is of the changed source: it is never checked against it.
    cache = next(path for path in entries if path.startswith(f"{SITE}/one/__pycache__/a."))
    assert b"y" in entries[cache].content.read()
    assert linking.files_of(site.store, layer.key)[f"{SITE}/one/a.py"] == (
        "one-1.0",
        hashlib.sha256(b"x = 5\ny = 6\n").hexdigest(),
    )


def test_the_child_has_it_from_its_parent(site):
    child = site.build("child")
    assert [layer.name for layer in child.layers] == ["debian", "wheels-00"] or "one" not in str(
        [layer.comment for layer in child.layers]
    )
    assert all("one 1.0" not in layer.comment for layer in child.layers)


def test_a_child_without_the_patch_is_refused(plain):
    with pytest.raises(HelioError) as caught:
        patched(plain, "base").plan("child")
    assert caught.value.message == "`one` has other changes than in the parent image"
    assert caught.value.detail == f"expected {PATCH.path} (sha256:{PATCH.sha256[:12]}…) not none"


def test_both_sboms_tell_it(site):
    child = site.build("child")
    components = sbom.components(site.store, child)
    cyclonedx = json.loads(sbom.cyclonedx(child, components, "9"))
    told = {row["name"]: row["pedigree"] for row in cyclonedx["components"] if "pedigree" in row}
    notes = f"Files were changed by {PATCH.path} (sha256:{PATCH.sha256}): x is 5"
    assert told == {
        "one": {
            "notes": notes,
            "patches": [
                {
                    "type": "unofficial",
                    "diff": {"url": PATCH.path},
                    "resolves": [{"type": "defect", "description": "x is 5", "references": [PATCH.upstream]}],
                }
            ],
        }
    }
    spdx = json.loads(sbom.spdx(child, components, "9"))
    assert {row["name"]: row["sourceInfo"] for row in spdx["packages"] if "sourceInfo" in row} == {"one": notes}


def test_a_patch_is_the_locked_one_or_refused(plain):
    site = patched(plain, "base", "child")
    file = site.root / PATCH.path
    file.write_bytes(DIFF + b"\n")
    with pytest.raises(HelioError) as caught:
        provided(site)
    at = [wheel.name for wheel in site.locks["base"].pypi.wheels].index("one")
    assert caught.value.message == "a patch of `one` is another one than was locked"
    assert caught.value.where == f"environments/base/pylock.toml at packages[{at}].tool.helioimages.patches[0]"
    file.unlink()
    with pytest.raises(HelioError) as caught:
        provided(site)
    assert caught.value.message == "a patch of `one` is missing"


def test_a_patch_that_does_not_fit_names_itself(plain):
    other = DIFF.replace(b"-x = 1", b"-x = 9")
    (plain.root / PATCH.path).write_bytes(other)
    patch = dataclasses.replace(PATCH, sha256=hashlib.sha256(other).hexdigest())
    site = provided(patched(plain, "base", "child", patches=(patch,)))
    with pytest.raises(HelioError) as caught:
        site.build("base")
    assert caught.value.message == "a patch does not fit `one-1.0`"
    assert caught.value.where == f"{PATCH.path} at line 3, file one/a.py"


LEFT = Without(name="gone", reason="nothing needs it")


@pytest.fixture
def asking(tmp_path, make_wheel):
    """Give a site whose package `asks` requires two others, one of which its lock leaves out."""
    wheel = make_wheel({"asks/a.py": b"x = 1\n"}, name="asks", requires=("Gone>1", "one", "gone; extra == 'x'"))
    plain = workshops(tmp_path, make_wheel)(more={"asks": wheel})
    locks = {}
    for name, lock in plain.locks.items():
        have = {locked.name: locked for locked in (*lock.pypi.wheels, dataclasses.replace(wheel[1], without=(LEFT,)))}
        parts = {**lock.parts, "wheel": dataclasses.replace(lock.pypi, wheels=tuple(have.values()))}
        locks[name] = dataclasses.replace(lock, parts=parts)
    return dataclasses.replace(plain, locks=locks)


def test_what_is_left_out_is_asked_for_no_more(asking):
    base, child = asking.build("base"), asking.build("child")
    files = {}
    for layer in base.layers:
        files |= {entry.path: entry for entry in read_layer(asking.store.blob(layer.layer.digest))}
    metadata = files[f"{SITE}/asks-1.0.dist-info/METADATA"].content.read()
    assert [row for row in metadata.splitlines() if row.startswith(b"Requires-Dist")] == [
        b"Requires-Dist: one",
        b"Requires-Dist: gone; extra == 'x'",
    ]
    digest = base64.urlsafe_b64encode(hashlib.sha256(metadata).digest()).rstrip(b"=").decode()
    record = files[f"{SITE}/asks-1.0.dist-info/RECORD"].content.read().decode()
    assert f"asks-1.0.dist-info/METADATA,sha256={digest},{len(metadata)}\n" in record.replace("\r", "")
    components = sbom.components(asking.store, child)
    told = {
        row["name"]: row
        for row in json.loads(sbom.cyclonedx(child, components, "9"))["components"]
        if "pedigree" in row
    }
    notes = "It asks for what is left out: gone: nothing needs it"
    assert {name: row["pedigree"] for name, row in told.items()} == {"asks": {"notes": notes}}
    spdx = json.loads(sbom.spdx(child, components, "9"))
    assert {row["name"]: row["sourceInfo"] for row in spdx["packages"] if "sourceInfo" in row} == {"asks": notes}


def test_a_child_that_says_another_thing_of_it_is_refused(asking):
    lock = asking.locks["child"]
    wheels = tuple(dataclasses.replace(wheel, without=()) for wheel in lock.pypi.wheels)
    lock = dataclasses.replace(lock, parts={**lock.parts, "wheel": dataclasses.replace(lock.pypi, wheels=wheels)})
    site = dataclasses.replace(asking, locks={**asking.locks, "child": lock})
    with pytest.raises(HelioError) as caught:
        site.plan("child")
    assert caught.value.detail == "expected without gone not none"

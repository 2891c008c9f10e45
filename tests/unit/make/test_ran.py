"""An image with a package whose post-link script was run: its layer, its child, its SBOMs, what is fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from building_support import Site, workshops

from helioimages.conda.captured import Captured, dump
from helioimages.core import entries
from helioimages.core.errors import HelioError
from helioimages.make import linking, travel
from helioimages.oci.layer import read_layer
from helioimages.publish import sbom

HERE = "srv/conda/envs/notebook"
LEFT = dump(Captured(written=(entries.file("lib/python3.13/made.py", b"x = 1\n"),), removed=()))
SHA256 = hashlib.sha256(LEFT).hexdigest()


EMPTY = hashlib.sha256(b"").hexdigest()


def with_conda(site: Site, *names: str, **changes: object) -> Site:
    """Return a site with other conda locks of some images."""
    locks = dict(site.locks)
    for name in names:
        conda = dataclasses.replace(locks[name].conda, **changes)
        locks[name] = dataclasses.replace(locks[name], parts={**locks[name].parts, "conda": conda})
    return dataclasses.replace(site, locks=locks)


def ran(site: Site, *names: str) -> Site:
    """Return a site in some of whose images' locks the script of `python` was run."""
    file = site.root / "left"
    file.write_bytes(LEFT)
    paths = {**site.shop.paths, site.store.put_artefact(file): site.store.artefact(SHA256)}
    site = dataclasses.replace(site, shop=dataclasses.replace(site.shop, paths=paths))
    return with_conda(site, *names, ran={"linux-64": {"python": SHA256}})


@pytest.fixture
def plain(tmp_path, make_wheel):
    script = entries.file("bin/.python-post-link.sh", b"", mode=0o755)
    site = workshops(tmp_path, make_wheel, of_python=(script,))()
    return with_conda(site, "base", "child", scripts={"linux-64": {"python": (EMPTY,)}})


def test_only_the_layer_of_the_package_changes_and_has_the_files(plain):
    site = ran(plain, "base", "child")
    before, after = plain.build("base"), site.build("base")
    changed = [new.name for old, new in zip(before.layers, after.layers, strict=True) if old.key != new.key]
    assert len(changed) == 1
    layer = next(layer for layer in after.layers if layer.name == changed[0])
    entries = {entry.path: entry for entry in read_layer(plain.store.blob(layer.layer.digest))}
    assert entries[f"{HERE}/lib/python3.13/made.py"].content.read() == b"x = 1\n"
    # What the script wrote is compiled as what the package brought.
    assert any(path.startswith(f"{HERE}/lib/python3.13/__pycache__/made.") for path in entries)
    assert linking.files_of(site.store, layer.key)[f"{HERE}/lib/python3.13/made.py"] == (
        "python-3.13.5",
        hashlib.sha256(b"x = 1\n").hexdigest(),
    )
    plan = site.plan("base")
    needed = travel.needed([(plan, layer) for layer in plan.layers], site.locks["base"])
    assert SHA256 in needed
    notes = f"Its post-link script wrote what has sha256:{SHA256}"
    told = json.loads(sbom.cyclonedx(after, sbom.components(site.store, after), "9"))["components"]
    assert {row["name"]: row["pedigree"] for row in told if "pedigree" in row} == {"python": {"notes": notes}}


def test_a_child_in_which_it_did_not_run_is_refused(plain):
    with pytest.raises(HelioError) as caught:
        ran(plain, "base").plan("child")
    assert caught.value.message == "`python` has other changes than in the parent image"
    assert caught.value.detail == f"expected post-link sha256:{SHA256[:12]}… not none"

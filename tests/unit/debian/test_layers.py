"""Which images have a Debian layer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from helioimages.core.entries import file
from helioimages.debian import tree
from helioimages.locks.debian import apt_of
from helioimages.machine.store import Store
from helioimages.make import debian_layers
from helioimages.make.plan import debian_key, debian_needed
from helioimages.make.rootfs import RootfsWorks
from helioimages.spec.image import UserSpec

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "parent", "needed"),
    [("base", None, True), ("helio", "base", True), ("idl-fortran", "helio", True), ("ml-gpu", "helio", False)],
)
def test_a_child_that_adds_no_package_has_none(name, parent, needed):
    below = apt_of(ROOT, parent) if parent else None
    assert debian_needed(apt_of(ROOT, name), below) is needed


def test_the_key_names_all_that_the_layer_depends_on():
    base, helio, idl = (apt_of(ROOT, name) for name in ("base", "helio", "idl-fortran"))
    user = UserSpec(name="jovyan", uid=1000, gid=1000, groups=("users",), home="/home/jovyan", shell="/bin/bash")
    keys = [
        debian_key(helio, base, user),
        debian_key(helio, idl, user),
        debian_key(helio, None, user),
        debian_key(idl, base, user),
        debian_key(helio, base, None),
        debian_key(helio, base, dataclasses.replace(user, uid=1001)),
    ]
    assert len(set(keys)) == len(keys)
    assert debian_key(helio, base, user) == keys[0]


def test_a_child_has_what_it_adds_and_the_account_that_its_parent_has(monkeypatch, tmp_path):
    base, helio = apt_of(ROOT, "base"), apt_of(ROOT, "helio")
    account = (file("etc/passwd", b""), file("etc/group", b"users:x:100:\n"))
    account += (file("etc/shadow", b""), file("etc/gshadow", b"users:*::\n"))
    systems = {base.key: (*account, file("usr/bin/sh", b"sh")), helio.key: (*account, file("usr/bin/gcc", b"gcc"))}
    systems[helio.key] += (file("usr/bin/sh", b"sh"),)
    monkeypatch.setattr(debian_layers, "build_rootfs", lambda _works, lock: lock.key)
    monkeypatch.setattr(tree, "read_tar", systems.__getitem__)
    monkeypatch.setattr(debian_layers, "_example", lambda deb: f"Types: deb {deb}\n".encode())
    debs = {deb.sha256: Path(deb.name) for deb in (*base.packages, *helio.packages)}
    user = UserSpec(name="jovyan", uid=1000, gid=1000, groups=("users",), home="/home/jovyan", shell="/bin/bash")
    works = RootfsWorks(store=Store(tmp_path), debs=debs)
    whole = debian_layers.entries(works, base, None, user)
    read = {entry.path: entry.content.read() for entry in whole if entry.content}
    assert read == {
        "etc/apt/sources.list.d/debian.sources": b"Types: deb apt\n",
        "etc/group": b"users:x:100:jovyan\njovyan:x:1000:\n",
        "etc/gshadow": b"users:*::jovyan\njovyan:!::\n",
        "etc/passwd": b"jovyan:x:1000:1000::/home/jovyan:/bin/bash\n",
        "etc/shadow": b"jovyan:!:20000:0:99999:7:::\n",
        "usr/bin/sh": b"sh",
    }
    added = debian_layers.entries(works, helio, base, user)
    assert [entry.path for entry in added] == ["usr", "usr/bin", "usr/bin/gcc"]

"""An image's own files on what is below: links are followed, folders keep their owner and mode, nothing is hidden."""

from __future__ import annotations

import dataclasses
import os
import tarfile
from pathlib import Path

import pytest
from building_support import APT, USER, Site, workshops

from helioimages.catalogue.lookup import _refs
from helioimages.core.entries import Entry, Kind, directory, file, merge, symlink
from helioimages.core.errors import HelioError
from helioimages.make import linking, own_files
from helioimages.make.own_files import keys
from helioimages.make.plan import PREFIX, debian_key
from helioimages.oci.layer import read_layer
from helioimages.spec.image import DirSpec

SYSTEM = (
    file("usr/bin/sh", b"sh", mode=0o755),
    file("usr/lib/os-release", b"Debian"),
    directory("usr/lib64"),
    symlink("bin", "usr/bin"),
    symlink("lib", "/usr/lib"),
    symlink("lib64", "lib64.real"),
    symlink("lib64.real", "./usr/../usr/lib64"),
    symlink("var/run", "/run"),
    symlink("above", "../../../usr"),
    symlink("root-of-all", "/"),
    symlink("round", "trip"),
    symlink("trip", "round"),
    symlink("etc/os-release", "../usr/lib/os-release"),
    symlink("etc/alternatives/editor", "/opt/editors/vim"),
    directory("run"),
    directory("srv"),
    directory("root", mode=0o700),
    directory("tmp", mode=0o1777),
    directory("var/mail", mode=0o2775, gid=8),
    directory("home/jovyan", mode=0o775, uid=1000),
)


@pytest.fixture
def world(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)


def with_system(site: Site, *more: Entry) -> Site:
    """Return a site whose first Debian layer has the links and modes of a real one."""
    kept = {entry.path: entry for entry in (*SYSTEM, file("usr/bin/apt", b"apt"), *more)}
    linking.write(site.store, debian_key(site.locks["base"].apt, None, USER), merge(kept.values()))
    return site


def write(site: Site, files: dict[str, str], image: str = "base") -> Site:
    """Write own files of an image; a text that begins with ``->`` is a link."""
    for name, text in files.items():
        path = site.root / "images" / image / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(text[2:]) if text.startswith("->") else path.write_text(text)
    return site


def dirs(site: Site, *specs: DirSpec, image: str = "base") -> Site:
    return site.with_image(dataclasses.replace(site.images[image], dirs=specs))


def last(site: Site, name: str = "base") -> dict[str, Entry]:
    built = site.build(name)
    return {entry.path: entry for entry in read_layer(site.store.blob(built.layers[-1].layer.digest))}


def refused(site: Site, name: str = "base") -> HelioError:
    with pytest.raises(HelioError) as caught:
        site.build(name)
    return caught.value


def applied(site: Site, name: str, folder: Path) -> Path:
    """Apply an image's layers one after the other, as an engine does: what is not a folder is replaced."""
    for descriptor in site.build(name).image.layers:
        with tarfile.open(site.store.blob(descriptor.digest)) as tar:
            # Not as an argument, which Pythons before 3.11.4 do not know.
            tar.extraction_filter = lambda member, _: member
            for member in tar:
                path = folder / member.name
                if path.is_symlink() or (path.exists() and not (path.is_dir() and member.isdir())):
                    assert not path.is_dir() or path.is_symlink(), f"{member.name} would take a folder away"
                    path.unlink()
                tar.extract(member, folder)
    return folder


@pytest.mark.parametrize(
    ("written", "lands"),
    [
        ("bin/tool", "usr/bin/tool"),
        ("lib/tool/data", "usr/lib/tool/data"),
        ("lib64/tool", "usr/lib64/tool"),
        ("var/run/tool/pid", "run/tool/pid"),
        ("above/share/tool", "usr/share/tool"),
        ("root-of-all/opt/tool", "opt/tool"),
        ("root-of-all/tool", "tool"),
        ("etc/alternatives/editor/tool", "opt/editors/vim/tool"),
        ("usr/bin/tool", "usr/bin/tool"),
    ],
)
def test_a_file_lands_behind_the_links_below(world, tmp_path, written, lands):
    site = write(with_system(world()), {written: "tool"})
    entries = last(site)
    assert entries[lands].content.read() == b"tool"
    for path, entry in entries.items():
        below = {entry.path: entry for entry in SYSTEM}.get(path)
        assert below is None or below.kind is entry.kind, f"{path} is no link any more"
    root = applied(site, "base", tmp_path / "root")
    assert (root / lands).read_text() == "tool"
    assert (root / "usr/bin/sh").read_text() == "sh"
    assert (root / "bin").readlink() == Path("usr/bin")


def test_links_and_folders_of_the_image_land_behind_links_too(world):
    site = write(with_system(world()), {"bin/link": "->sh", "lib/more": "->/opt/more"})
    site = dirs(
        site,
        DirSpec(path="var/run/tool", mode=0o2770, uid=5, gid=6),
        DirSpec(path="lib/more/deep", mode=0o700, uid=7, gid=8),
        DirSpec(path="bin", mode=0o751, uid=0, gid=0),
    )
    entries = last(site)
    assert (entries["usr/bin/link"].target, entries["usr/lib/more"].target) == ("sh", "/opt/more")
    assert (entries["run/tool"].mode, entries["run/tool"].uid, entries["run/tool"].gid) == (0o2770, 5, 6)
    assert (entries["opt/more/deep"].mode, entries["opt/more/deep"].uid) == (0o700, 7), "behind a link of its own"
    assert (entries["usr/bin"].kind, entries["usr/bin"].mode) == (Kind.DIR, 0o751)
    assert not {"bin", "lib", "var/run"} & entries.keys()


def test_a_link_may_replace_a_link_and_a_file_a_link_to_a_file(world):
    entries = last(write(with_system(world()), {"bin": "->/opt/bin", "etc/os-release": "ours"}))
    assert entries["bin"].target == "/opt/bin"
    assert entries["etc/os-release"].content.read() == b"ours"


@pytest.mark.parametrize(
    ("written", "where", "message"),
    [
        ("bin", "files/bin", "/bin is a folder in the layers below, and all that is in it would be gone"),
        ("usr/lib", "files/usr/lib", "/usr/lib is a folder in the layers below, and all that is in it would be gone"),
        ("tmp", "files/tmp", "/tmp is a folder in the layers below, and all that is in it would be gone"),
        ("bin/sh/x", "files/bin/sh/x", "/usr/bin/sh is a file, and `bin/sh` needs a folder there"),
        ("etc/os-release/x", "files/etc/os-release/x", "/usr/lib/os-release is a file, and `etc/os-release` needs"),
        ("round/x", "files/round/x", "the links of `round` go in a circle"),
        ("srv/.wh.start", "files/srv/.wh.start", "`srv/.wh.start` is a name that deletes files of lower layers"),
        ("srv/.wh..wh..opq", "files/srv/.wh..wh..opq", "`srv/.wh..wh..opq` is a name that deletes files of"),
    ],
)
def test_what_cannot_be_there_is_refused_by_file(world, written, where, message):
    error = refused(write(with_system(world()), {written: "x"}))
    assert error.message.startswith(message)
    assert error.where == f"images/base/{where}"
    assert error.hint


def test_a_link_never_takes_a_folder_away(world):
    assert refused(write(with_system(world()), {"usr/lib": "->/opt/lib"})).message.startswith("/usr/lib is a folder")


def test_a_folder_of_image_toml_where_a_file_is(world):
    site = dirs(with_system(world()), DirSpec(path="srv", mode=0o755, uid=0, gid=0))
    error = refused(dirs(site, site.images["base"].dirs[0], DirSpec(path="bin/sh", mode=0o755, uid=0, gid=0)))
    assert (error.where, error.message) == (
        "images/base/image.toml at dirs[1].path",
        "/usr/bin/sh is a file, and `bin/sh` needs a folder there",
    )


def test_two_files_that_would_have_one_place(world):
    site = write(with_system(world()), {"bin/tool": "1", "usr/bin/tool": "2"})
    error = refused(site)
    assert error.message == "two files of the image `base` have one place: /usr/bin/tool"
    assert (error.where, error.detail.split()[0]) == ("images/base/files/usr/bin/tool", "images/base/files/bin/tool")
    write(site, {"usr/bin/tool": "1"})
    assert last(site)["usr/bin/tool"].content.read() == b"1", "the same file twice is one"


def folders(site: Site, name: str = "base") -> dict[str, tuple[int, int, int]]:
    return {
        path: (entry.mode, entry.uid, entry.gid) for path, entry in last(site, name).items() if entry.kind is Kind.DIR
    }


def test_folders_that_exist_keep_owner_and_mode_and_new_ones_are_like_them(world):
    site = dirs(with_system(world()))
    written = ("tmp/a/b", "home/jovyan/.config/x/y", "root/.ssh/config", "var/mail/list/one", "opt/new/a", "etc/a")
    told = folders(write(site, dict.fromkeys(written, "x")))
    root, jovyan = (0o755, 0, 0), (0o775, 1000, 0)
    assert told == {
        "tmp": (0o1777, 0, 0),
        "tmp/a": root,
        "home": root,
        "home/jovyan": jovyan,
        "home/jovyan/.config": jovyan,
        "home/jovyan/.config/x": jovyan,
        "root": (0o700, 0, 0),
        "root/.ssh": (0o700, 0, 0),
        "var": root,
        "var/mail": (0o2775, 0, 8),
        "var/mail/list": (0o2775, 0, 8),
        "opt": root,
        "opt/new": root,
        "etc": root,
        "srv": root,
    }


def test_a_folder_that_image_toml_names_is_as_it_says(world):
    site = write(dirs(with_system(world()), DirSpec(path="tmp", mode=0o700, uid=9, gid=9)), {"tmp/a/b": "x"})
    told = folders(site)
    assert (told["tmp"], told["tmp/a"]) == ((0o700, 9, 9), (0o700, 9, 9))


def test_a_child_sees_links_and_folders_of_its_parents_own_files(world):
    site = dirs(with_system(world()), DirSpec(path="opt/shared", mode=0o2775, uid=0, gid=100))
    site = write(write(site, {"opt/now": "->shared/v1"}), {"opt/now/a/tool": "x", "opt/shared/b": "y"}, "child")
    entries = last(site, "child")
    assert entries["opt/shared/v1/a/tool"].content.read() == b"x"
    assert {
        (entry.mode, entry.gid)
        for path, entry in entries.items()
        if path.startswith("opt/shared") and not entry.content
    } == {(0o2775, 100)}
    assert "opt/now" not in entries


def test_links_of_packages_are_followed_and_their_folders_are_roots(tmp_path, make_wheel):
    """Conda packages bring links such as ``lib64``, and second names of files, which are none."""
    program = file("bin/tool", b"tool", mode=0o755)
    second = Entry(path="bin/second", kind=Kind.HARDLINK, mode=0o755, target="bin/tool")
    more = (program, second, symlink("lib64", "lib"), symlink("bin/link", "tool"))
    data = {"demo-1.0.data/data/share/demo/a": b"a"}
    site = workshops(tmp_path, make_wheel, of_python=more)(more={"demo": make_wheel(data)})
    home = PREFIX[1:]
    site = write(with_system(site), {f"{home}/lib64/deep/y": "3", f"{home}/share/demo/b": "b"}, "child")
    entries = last(site, "child")
    assert {path for path, entry in entries.items() if entry.content} == {f"{home}/lib/deep/y", f"{home}/share/demo/b"}
    assert {(entry.mode, entry.uid, entry.gid) for entry in entries.values() if entry.kind is Kind.DIR} == {
        (0o755, 0, 0)
    }
    for name in ("second", "link", "tool"):
        write(site, {f"{home}/bin/{name}/z": "4"}, "child")
        real = "tool" if name == "link" else name
        error = refused(site, "child")
        assert error.message == f"/{home}/bin/{real} is a file, and `{home}/bin/{name}` needs a folder there"
        (site.root / f"images/child/files/{home}/bin/{name}/z").unlink()
    write(site, {f"{home}/lib/python3.13": "x"}, "child")
    assert refused(site, "child").message.startswith(f"/{home}/lib/python3.13 is a folder in the layers below")


def test_a_wheels_data_never_hide_a_link_of_conda(tmp_path, make_wheel):
    """They are in layers of their own, where a folder would take the link away without a word."""
    site = workshops(tmp_path, make_wheel, of_python=(symlink("lib64", "lib"),))
    demo = make_wheel({"demo-1.0.data/data/lib64/a": b"a", "noise": os.urandom(4000)})
    error = refused(with_system(site(more={"demo": demo})), "child")
    assert error.message == "packages bring different files of one name"
    assert error.detail == f"`demo-1.0` and `python-3.13.5`: 1 path, e.g. {PREFIX[1:]}/lib64"


@pytest.mark.parametrize("path", ["srv", "srv/conda", PREFIX[1:], f"{PREFIX[1:]}/share"])
def test_folders_of_the_environment_stay_roots(world, path):
    """Each layer of packages, a child's too, says 0755 of them: another mode would hold by chance."""
    error = refused(dirs(with_system(world()), DirSpec(path=path, mode=0o775, uid=0, gid=100)))
    assert error.message == f"/{path} is of the environment, whose folders are root's"
    assert (error.where, error.hint) == (
        "images/base/image.toml at dirs[0].path",
        "make the folder elsewhere, and a link to it here",
    )
    assert last(dirs(with_system(world()), DirSpec(path=path, mode=0o755, uid=0, gid=0)))[path].mode == 0o755


def with_curl(site: Site, *more: Entry) -> Site:
    base, child = site.locks["base"].apt, site.locks["child"].apt
    linking.write(site.store, debian_key(child, base, USER), merge((file("usr/bin/curl", b"curl"), *more)))
    return site


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (file("srv/link/x", b"x"), "/srv/link is a dir of the child's Debian packages"),
        (file("srv/start", b"x"), "/srv/start is a file of the child's Debian packages"),
        (directory("home/jovyan", mode=0o755), "/home/jovyan is to have mode 0775 and owner 1000:1001, and"),
    ],
)
def test_debian_packages_of_a_child_take_nothing_of_its_parents_own_files_away(world, tmp_path, more, told):
    site = with_curl(with_system(world()), more)
    error = refused(site, "child")
    assert error.message == "Debian packages of `child` replace files of its parents' own"
    assert told in error.detail
    assert error.where == "images/child/image.toml at debian.packages"
    # The way out that the hint names.
    if more.kind is Kind.DIR:
        site = site.with_image(dataclasses.replace(site.images["child"], dirs=site.images["base"].dirs))
        assert last(site, "child")["home/jovyan"].gid == 1001
    elif more.path == "srv/start":
        assert last(write(site, {"srv/start": "start"}, "child"), "child")["srv/start"].content.read() == b"start"


def test_what_lies_as_it_is_has_the_plans_key_and_the_rest_one_of_its_own(world):
    site = with_system(world())
    plain = site.build("base")
    assert plain.layers[-1].key == site.plan("base").layers[-1].key == keys(site.store, site.plan("base"))[-1]
    write(site, {"bin/tool": "x"})
    first = site.build("base")
    key = first.layers[-1].key
    assert key != first.plan.layers[-1].key
    assert keys(site.store, site.plan("child"))[4] == key
    again = site.build("base")
    assert (again.fresh, again.layers[-1]) == (0, first.layers[-1])
    assert [(layer.digest, layer.exact) for layer in _refs(site.store, first.plan)] == [
        (built_layer.layer.digest, True) for built_layer in first.layers
    ]


def test_files_that_were_edited_after_the_build_are_known_before_the_next_one(world):
    """`delta` tells what hubs will pull, and leaves nothing of the files in the store."""
    site = with_system(world())
    site.build("base")
    write(site, {"bin/tool": "x"})
    foreseen = _refs(site.store, site.plan("base"))[-1]
    assert not site.store.blob(foreseen.digest).exists()
    assert foreseen.exact
    assert site.build("base").layers[-1].layer.digest == foreseen.digest


def test_other_layers_below_are_another_layer_above(world):
    """The same files land elsewhere once the layers below have other links: equal keys mean equal bytes."""
    site = write(with_system(world()), {"opt/tool/x": "x"})
    before = site.build("base").layers[-1]
    linked = dataclasses.replace(APT, version="3.1", sha256="d" * 64)
    locks = site.locks["base"]
    moved = dataclasses.replace(locks.apt, packages=(linked,))
    site = dataclasses.replace(
        site,
        locks={"base": dataclasses.replace(locks, parts={**locks.parts, "debian": moved})},
        images={"base": site.images["base"]},
        environments={"base": site.environments["base"]},
    )
    with_system(site, symlink("opt", "usr/opt"))
    entries = last(site)
    assert entries["usr/opt/tool/x"].content.read() == b"x"
    assert site.build("base").layers[-1].key != before.key


def test_an_unreadable_memo_is_made_again(world):
    site = write(with_system(world()), {"bin/tool": "x"})
    first = site.build("base")
    for kind in (own_files.SETTLED, own_files.SHAPES):
        for path in (site.store.root / "memo" / kind).iterdir():
            path.unlink()
    assert site.build("base").image == first.image

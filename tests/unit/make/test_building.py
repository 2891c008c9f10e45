"""Images from locks: which layers, in which order, with which settings, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil

import pytest
from building_support import APT, Site, workshops

from helioimages.core.entries import Kind
from helioimages.core.errors import HelioError
from helioimages.make import linking, plan
from helioimages.make.building import Built
from helioimages.make.render import recipe_of
from helioimages.oci import validate
from helioimages.oci.layer import read_layer


@pytest.fixture
def world(tmp_path, make_wheel):
    return workshops(tmp_path, make_wheel)


def named(built: Built) -> list[tuple[str, str]]:
    return [(layer.name, layer.comment) for layer in built.layers]


def refused(shop: Site, name: str = "child") -> HelioError:
    with pytest.raises(HelioError) as caught:
        shop.build(name)
    return caught.value


def test_the_layers_of_an_image_lowest_first(world):
    base = world().build("base")
    assert named(base) == [
        ("debian", "Debian trixie: apt 3.0"),
        ("conda", "conda: python 3.13.5"),
        ("big", "big: big 1.0"),
        ("wheels-00", "wheels-00: one 1.0, two 1.0"),
        ("files", "files of images/base"),
    ]
    assert [built_layer.layer.digest for built_layer in base.layers] == [layer.digest for layer in base.image.layers]
    assert [(line.created_by, line.comment) for line in base.image.config.history] == [
        (f"ADD {name}", comment) for name, comment in named(base)
    ]
    assert (
        {line.created for line in base.image.config.history} == {base.image.config.created} == {"2023-11-14T22:13:20Z"}
    )
    assert base.fresh == 4, "the Debian layer was there"


def test_a_child_is_its_parents_layers_and_its_own(world):
    shop, done = world(), {}
    child = shop.build("child", done)
    base = done["base"]
    assert named(child) == [("debian", "Debian trixie: curl 8.1"), ("wheels-00", "wheels-00: new 1.0")]
    assert child.parent is base
    assert child.image.layers == (*base.image.layers, *(built_layer.layer.descriptor for built_layer in child.layers))
    assert validate.faults(child.image, shop.store.blob) == ()
    config = child.image.config
    assert (config.env, config.user, config.working_dir) == (("A=1", "B=3"), "1000", "/home/jovyan")
    assert (config.entrypoint, config.cmd, config.exposed_ports) == (("/srv/start",), ("lab",), ("8888/tcp",))
    assert config.created == "2023-11-15T22:13:20Z"
    assert dict(config.labels) == dict(base.image.config.labels) | dict(config.labels)
    assert {key: config.labels[key] for key in ("own", "other", "org.opencontainers.image.title")} == {
        "own": "base",
        "other": "child",
        "org.opencontainers.image.title": "Child",
    }
    assert config.labels["org.opencontainers.image.base.digest"] == base.image.digest
    for image in (base, child):
        assert shop.store.read_blob(image.image.digest) == image.image.manifest_bytes
        assert shop.store.read_blob(image.image.manifest.config.digest) == image.image.config_bytes


def test_a_child_without_packages_of_debian_has_no_layer_of_them(world):
    assert [name for name, _ in named(world(debs=(APT,)).build("child"))] == ["wheels-00"]


def test_equal_bytes_with_any_number_of_workers_and_nothing_is_made_twice(world):
    shop = world()
    child = shop.build("child")
    again = shop.build("child")
    assert (child.fresh, again.fresh, again.parent.fresh) == (1, 0, 0)
    assert again.image == child.image == world("other", jobs=3).build("child").image


def test_an_images_own_files_have_settled_modes_and_its_folders_their_owner(world):
    shop = world()
    base = shop.build("base")
    facts = [
        (
            entry.path,
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.target or (entry.content and entry.content.read()),
        )
        for entry in read_layer(shop.store.blob(base.layers[-1].layer.digest))
    ]
    assert facts == [
        ("home", Kind.DIR, 0o755, 0, 0, None),
        ("home/jovyan", Kind.DIR, 0o775, 1000, 1001, None),
        ("srv", Kind.DIR, 0o755, 0, 0, None),
        ("srv/a", Kind.FILE, 0o644, 0, 0, b"a"),
        ("srv/b", Kind.FILE, 0o644, 0, 0, b"b"),
        ("srv/link", Kind.SYMLINK, 0o777, 0, 0, "start"),
        ("srv/m", Kind.FILE, 0o755, 0, 0, b"m"),
        ("srv/start", Kind.FILE, 0o755, 0, 0, b"start"),
        ("srv/z", Kind.FILE, 0o644, 0, 0, b"z"),
    ]


@pytest.mark.parametrize("change", ["content", "mode", "link", "folder"])
def test_what_changes_its_own_files_changes_their_key(world, tmp_path, change):
    shop = world()
    before = shop.plan("base").layers[-1]
    srv = tmp_path / "images" / "base" / "files" / "srv"
    if change == "content":
        (srv / "a").write_text("c")
    elif change == "mode":
        (srv / "a").chmod(0o755)
    elif change == "link":
        (srv / "link").unlink()
        (srv / "link").symlink_to("a")
    else:
        image = shop.images["base"]
        shop = shop.with_image(dataclasses.replace(image, dirs=(dataclasses.replace(image.dirs[0], gid=0),)))
    after = shop.plan("base").layers[-1]
    assert (before.name, after.name) == ("files", "files")
    assert after.key != before.key


def test_parents_layers_count(world, monkeypatch):
    monkeypatch.setattr(plan, "MAX_LAYERS", 7)
    world().build("child")
    monkeypatch.setattr(plan, "MAX_LAYERS", 6)
    error = refused(world())
    assert (error.message, error.detail) == ("image `child` has too many layers", "expected at most 6 not 7")


def test_packages_of_two_layers_that_bring_one_path(world, make_wheel):
    big = make_wheel({"shared/a": b"1", "shared/b": b"1", "same": b"1", "noise": os.urandom(4000)}, name="large")
    small = make_wheel({"shared/a": b"2", "shared/b": b"2", "same": b"1"}, name="little")
    error = refused(world(more={"large": big, "little": small}))
    site = f"{linking.PREFIX[1:]}/lib/python3.13/site-packages"
    assert error.message == "packages bring different files of one name"
    assert error.detail == f"`large-1.0` and `little-1.0`: 2 paths, e.g. {site}/shared/a"


def test_a_package_of_a_child_that_changes_a_file_of_the_parent(world, make_wheel):
    error = refused(world(more={"odd": make_wheel({"one/a.py": b"x = 9\n"}, name="odd")}))
    site = f"{linking.PREFIX[1:]}/lib/python3.13/site-packages"
    assert error.detail.splitlines()[0].startswith(f"`odd-1.0` and `one-1.0`: 2 paths, e.g. {site}/one/__pycache__/a.")


def test_a_file_in_whose_place_nothing_is(world):
    shop = world()
    path = "lib/python3.13/site-packages/one/a.py"
    base = dataclasses.replace(shop.environments["base"], clobber={path: "nothing over one"})
    less = dataclasses.replace(shop, environments=shop.environments | {"base": base})
    (before,), (after,) = (
        [layer for layer in site.plan("base").layers if layer.name == "wheels-00"] for site in (shop, less)
    )
    assert before.key != after.key
    done: dict[str, Built] = {}
    child = less.build("child", done)
    (layer,) = (layer for layer in done["base"].layers if layer.name == "wheels-00")
    shown = [entry.path for entry in read_layer(less.store.blob(layer.layer.digest)) if "/one/" in entry.path]
    assert shown == [], shown
    assert child.image.layers[: len(done["base"].image.layers)] == done["base"].image.layers


def covering(world, make_wheel, files: dict[str, bytes], *patterns: str) -> Site:
    """Return a site whose child has a wheel `odd` that lies over `one` of its parent where patterns say so."""
    shop = world(more={"odd": make_wheel(files, name="odd")})
    told = {f"lib/python3.13/site-packages/{pattern}": "odd over one" for pattern in patterns}
    child = dataclasses.replace(shop.environments["child"], clobber=told)
    return dataclasses.replace(shop, environments=shop.environments | {"child": child})


def test_a_package_of_a_child_lies_over_one_of_the_parent_where_that_is_said(world, make_wheel):
    done: dict[str, Built] = {}
    child = covering(world, make_wheel, {"one/a.py": b"x = 9\n"}, "one/*").build("child", done)
    assert done["base"].image.digest == world().build("base").image.digest
    assert child.image.layers[: len(done["base"].image.layers)] == done["base"].image.layers
    # What is said of another path is said of no other.
    error = refused(covering(world, make_wheel, {"one/a.py": b"x = 9\n"}, "one/a.py"))
    assert error.detail.startswith("`odd-1.0` and `one-1.0`: 1 path, e.g. ")


def test_what_would_be_seen_of_a_covered_package_is_refused(world, make_wheel):
    error = refused(covering(world, make_wheel, {"one/b.py": b"x = 9\n"}, "one/*"))
    site = f"{linking.PREFIX[1:]}/lib/python3.13/site-packages"
    assert error.message == "`odd-1.0` does not cover `one-1.0` of the parent image"
    assert error.detail.startswith(f"2 paths would be seen beside its own, e.g. {site}/one/__pycache__/a.")
    error = refused(covering(world, make_wheel, {"one/a.py": b"x = 9\n"}, "one/*", "three/*"))
    assert error.message == "`one-1.0` has no lib/python3.13/site-packages/three/*"


@pytest.mark.parametrize(("first_path", "second_path"), [("odd/x", "odd/x/y"), ("odd/x/y", "odd/x"), ("one", "odd/x")])
def test_a_file_of_one_package_where_another_has_a_folder(world, make_wheel, first_path, second_path):
    """In two layers, where an engine would take the lower one's away without a word."""
    first = make_wheel({first_path: b"1", "noise": os.urandom(4000)}, name="first")
    error = refused(world(more={"first": first, "second": make_wheel({second_path: b"2"}, name="second")}))
    site = f"{linking.PREFIX[1:]}/lib/python3.13/site-packages"
    sides = "`first-1.0` and `one-1.0`" if first_path == "one" else "`first-1.0` and `second-1.0`"
    assert error.message == "packages bring different files of one name"
    assert (
        error.detail
        == f"{sides}: 1 path, e.g. {site}/{min(first_path, second_path) if first_path != 'one' else first_path}"
    )


def test_an_image_over_its_budget_is_refused(world):
    shop = world()
    light = dataclasses.replace(shop.images["base"], budget_bytes=1 << 10)
    assert refused(shop.with_image(light), "base").message == "image `base` is over its budget"


def test_long_comments_stay_out_of_the_config(world, make_wheel):
    more = {f"n{at}{'x' * 40}": () for at in range(5)}
    more = {name: make_wheel({f"{name}/a.txt": b"1"}, name=name) for name in more}
    child = world(more=more).build("child")
    assert len(child.layers[-1].comment) > 200
    assert [line.comment for line in child.image.config.history[-2:]] == ["Debian trixie: curl 8.1", ""]


def test_the_recipe_says_the_same(world):
    child = world().build("child")
    recipe = recipe_of(child.plan, [built_layer.layer.diff_id for built_layer in child.layers])
    assert (recipe.name, recipe.parent) == ("child", f"helioimages/base:{child.parent.tag}")
    assert child.parent.tag == "lock-" + "0" * 12
    assert [(layer.diff_id, layer.comment) for layer in recipe.layers] == [
        (built_layer.layer.diff_id, built_layer.comment) for built_layer in child.layers
    ]
    assert "org.opencontainers.image.base.digest" not in recipe.labels
    assert "org.opencontainers.image.base.name" in recipe.labels
    assert (recipe.env, recipe.user, recipe.cmd) == ({"B": "3"}, "", ())


def test_an_image_without_files_has_no_layer_of_them(world, tmp_path):
    shop = world()
    shutil.rmtree(tmp_path / "images")
    bare = dataclasses.replace(shop.images["base"], dirs=())
    assert [name for name, _ in named(shop.with_image(bare).build("base"))] == ["debian", "conda", "big", "wheels-00"]

"""The lock verb with rattler and uv themselves, on a channel and an index made here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pypi_support import sdist_bytes, wheel_bytes

from helioimages.conda import lock as conda_lock
from helioimages.core.errors import HelioError, Stage
from helioimages.debian.lock import AptLock, Deb
from helioimages.locks import debian as lock_debian
from helioimages.locks import locking
from helioimages.machine.store import Store
from helioimages.pypi import lock as pypi_lock
from helioimages.pypi.lock import Wheel

ENVIRONMENT = """\
name: {name}
channels: [local]
dependencies:
{conda}{pypi}x-helioimages:
  virtual-packages: {{__glibc: "2.41"}}
{ours}"""
IMAGE = """\
name = "{name}"
title = "T"
description = "D"
environment = "{name}"
{parent}
[debian]
packages = [{debian}]
"""


def record(name, version, *depends, subdir="linux-64"):
    digest = hashlib.sha256(f"{name}{version}".encode()).hexdigest()
    return {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "subdir": subdir,
        "depends": list(depends),
        "md5": digest[:32],
        "sha256": digest,
        "size": 100,
        "timestamp": 1_700_000_000_000,
    }


class World:
    """A checkout, a channel, an index and a store."""

    def __init__(self, folder: Path, index) -> None:
        self.root, self.channel, self.index = folder / "checkout", folder / "channel", index
        self.store = Store(folder / "store")
        self.root.mkdir()
        self.conda(record("python", "3.13.5", "libz"), record("libz", "1.3"))

    def conda(self, *records) -> None:
        for subdir in ("linux-64", "noarch"):
            chosen = {f"{r['name']}-{r['version']}-{r['build']}.conda": r for r in records if r["subdir"] == subdir}
            (self.channel / subdir).mkdir(parents=True, exist_ok=True)
            document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": chosen, "repodata_version": 1}
            (self.channel / subdir / "repodata.json").write_text(json.dumps(document))

    def environment(self, name, *pypi, conda=("python=3.13",), **ours) -> None:
        folder = self.root / "environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        text = ENVIRONMENT.format(
            name=name,
            conda="".join(f"  - {row}\n" for row in conda),
            pypi="  - pip:\n" + "".join(f"      - {row}\n" for row in pypi) if pypi else "",
            ours="".join(f"  {key.replace('_', '-')}: {json.dumps(value)}\n" for key, value in ours.items()),
        )
        (folder / "environment.yml").write_text(text)

    def image(self, name, *debian, parent=None) -> None:
        folder = self.root / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        line = f'parent = "{parent}"\n' if parent else ""
        (folder / "image.toml").write_text(
            IMAGE.format(name=name, parent=line, debian=", ".join(f'"{d}"' for d in debian))
        )

    def wheel(self, name, version, *requires, at="2026-01-01") -> None:
        data = wheel_bytes({}, name=name, version=version, requires=requires)
        self.index.add(f"{name}-{version}-py3-none-any.whl", data, f"{at}T00:00:00Z")

    def lock(self, *names, **options):
        return locking.lock(self.root, self.store, names, channel_dirs=(self.channel,), **options)

    def pylock(self, name):
        file = self.root / "environments" / name / "pylock.toml"
        return pypi_lock.parse(file.read_text(), str(file))

    def conda_lock(self, name):
        file = self.root / "environments" / name / "conda-lock.yml"
        return conda_lock.parse(file.read_text(), str(file))

    def texts(self):
        return {p: p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


@pytest.fixture
def world(tmp_path, package_index, monkeypatch):
    # Pages are kept for an hour in real life; here a package appears in a moment.
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    return World(tmp_path, package_index)


def test_a_first_lock_writes_every_file_and_a_second_none(world):
    world.wheel("lib", "1.0", at="2026-03-01")
    world.environment("base", "lib")
    report = world.lock()
    assert report.written == (
        "environments/base/conda-lock.yml",
        "environments/base/pylock.toml",
        "environments/base/packages.txt",
    )
    assert report.lines() == (
        "base: 3 added",
        "  added      lib 1.0",
        "  added      libz 1.3",
        "  added      python 3.13.5",
    )
    assert (world.root / "environments/base/packages.txt").read_text() == (
        "lib     1.0     wheel\nlibz    1.3     conda\npython  3.13.5  conda\n"
    )
    assert world.conda_lock("base").timestamp == 1_700_000_000
    assert world.pylock("base").timestamp == int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
    assert world.conda_lock("base").virtual_packages == {
        "linux-64": {"__archspec": "x86_64", "__glibc": "2.41", "__linux": "0", "__unix": "0"}
    }
    before = world.texts()
    again = world.lock()
    assert again.written == () and again.lines() == ("base: unchanged",)
    assert world.texts() == before
    assert world.lock(check=True).written == ()


def test_locks_name_no_host_and_no_folder(world, tmp_path):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    for path, data in world.texts().items():
        text = data.decode()
        assert "127.0.0.1" not in text and str(tmp_path) not in text and "://" not in text, path


def test_upgrades_are_asked_for_and_held_ones_said(world):
    world.wheel("lib", "1.0")
    world.wheel("app", "1.0", "lib")
    world.environment("base", "app", constraints=["app<2"])
    world.lock()
    world.wheel("lib", "2.0")
    world.wheel("app", "2.0")
    assert world.lock().lines() == (
        "base: unchanged",
        "  held back  app 1.0 (newest 2.0) by environments/base (app<2)",
        "  held back  lib 1.0 (newest 2.0) by the current lock or the solution as a whole",
    )
    assert world.lock(update=["Lib"]).lines()[:2] == ("base: 1 upgraded", "  upgraded   lib 1.0 -> 2.0")


def test_who_holds_back_is_read_from_fetched_wheels(world):
    world.wheel("lib", "1.0")
    world.wheel("app", "1.0", "lib<2", 'other; extra == "x"')
    world.environment("base", "app")
    world.lock()
    (wheel,) = (one for one in world.pylock("base").wheels if one.name == "app")
    world.store.artefact(wheel.sha256).write_bytes(world.index.files[wheel.file_name])
    world.wheel("lib", "2.0")
    assert world.lock().lines()[1] == "  held back  lib 1.0 (newest 2.0) by app 1.0 (lib<2)"


def test_a_downgrade_is_refused_unless_it_is_meant(world):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib<2")
    world.environment("base", "lib")
    world.lock()
    before = world.texts()
    world.environment("base", "lib", "app")
    with pytest.raises(HelioError) as caught:
        world.lock()
    assert caught.value.stage is Stage.LOCK
    assert str(caught.value) == (
        "`lib` would be downgraded\n"
        "  in environments/base/environment.yml\n"
        "  lib 2.0 -> 1.0\n"
        "\n"
        "hint: name it in x-helioimages.allow-downgrade or with `--update` if that is meant"
    )
    assert {p: d for p, d in world.texts().items() if p.name != "environment.yml"} == {
        p: d for p, d in before.items() if p.name != "environment.yml"
    }
    world.environment("base", "lib", "app", allow_downgrade=["lib"])
    assert world.lock().lines()[:2] == ("base: 1 downgraded, 1 added", "  downgraded lib 2.0 -> 1.0")


def test_the_past_can_be_locked_again(world):
    world.wheel("lib", "1.0", at="2020-01-01")
    world.wheel("lib", "2.0", at="2026-01-01")
    world.environment("base", "lib")
    world.lock()
    # The channel's own packages are younger than that, and stay.
    report = world.lock(exclude_newer=datetime(2021, 1, 1, tzinfo=UTC))
    assert report.lines() == ("base: 1 downgraded", "  downgraded lib 2.0 -> 1.0")
    assert world.lock(exclude_newer=datetime(2021, 1, 1, tzinfo=UTC)).lines() == ("base: unchanged",)


def test_a_child_contains_its_parent(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", "app", parent="base")
    world.wheel("app", "1.0", "lib")
    world.lock()
    world.wheel("lib", "2.0")
    world.lock("child", update=["all"])
    assert {wheel.name: wheel.version for wheel in world.pylock("child").wheels} == {"app": "1.0", "lib": "1.0"}
    assert set(world.pylock("base").wheels) <= set(world.pylock("child").wheels)
    assert set(world.conda_lock("base").packages) <= set(world.conda_lock("child").packages)


def test_a_parent_leaves_room_for_its_children(world):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib<2")
    world.environment("base", "lib")
    world.environment("middle", "lib", parent="base")
    world.environment("leaf", "app", parent="middle")
    world.lock()
    for name in ("base", "middle", "leaf"):
        assert {wheel.name: wheel.version for wheel in world.pylock(name).wheels}["lib"] == "1.0"
    # Once the child's wheel is here, its parents' report says who it is that holds them back.
    (wheel,) = (one for one in world.pylock("leaf").wheels if one.name == "app")
    world.store.artefact(wheel.sha256).write_bytes(world.index.files[wheel.file_name])
    assert world.lock().lines()[:2] == ("base: unchanged", "  held back  lib 1.0 (newest 2.0) by app 1.0 (lib<2)")


def test_children_that_contradict_each_other_have_a_say_each(world, capsys):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.environment("base")
    world.environment("old", "lib<2", parent="base")
    world.environment("new", "lib>=2", parent="base")
    world.lock()
    assert {name: world.pylock(name).wheels[0].version for name in ("old", "new")} == {"old": "1.0", "new": "2.0"}
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: new, old: no versions fit all of them and their parent together; each is solved for itself" in said


def test_a_child_that_contradicts_its_parent(world):
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib>=2")
    world.environment("base", "lib", constraints=["lib<2"])
    world.environment("child", "app", parent="base")
    with pytest.raises(HelioError) as caught:
        world.lock()
    # The parent's constraint reaches the child, so uv's words name both: the limit and who is over it.
    assert caught.value.where == "environments/child/environment.yml"
    assert "lib>=2" in caught.value.detail and "lib<2" in caught.value.detail
    assert not (world.root / "environments/base/pylock.toml").exists()


def test_a_parent_must_be_locked(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", "lib", parent="base")
    with pytest.raises(HelioError) as caught:
        world.lock("child")
    assert str(caught.value) == (
        "the parent environment `base` is not locked\n"
        "  in environments/child/environment.yml\n"
        "\n"
        "hint: run `buildimages lock base child`"
    )


def test_a_wheel_that_would_replace_a_conda_package(world):
    world.conda(record("python", "3.13.5"), record("lib", "1.0", "python", subdir="noarch"))
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib")
    conda = ("python=3.13", "lib")
    world.environment("base", "lib", "app", conda=conda)
    with pytest.raises(HelioError) as caught:
        world.lock()
    assert str(caught.value) == (
        "a wheel would replace the conda package `lib`\n"
        "  in environments/base/environment.yml\n"
        "  conda brings lib-1.0-h0_0.conda, and the `pip` list asks for lib\n"
        "\n"
        "hint: say `lib: conda` or `lib: pypi` under x-helioimages.prefer"
    )
    world.environment("base", "lib", "app", conda=conda, prefer={"lib": "conda"})
    world.lock()
    assert [wheel.name for wheel in world.pylock("base").wheels] == ["app"]
    world.environment("base", "lib", "app", conda=conda, prefer={"lib": "pypi"})
    world.lock()
    assert [(w.name, w.version) for w in world.pylock("base").wheels] == [("app", "1.0"), ("lib", "2.0")]


def test_source_only_packages_are_built_once(world):
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    world.environment("base", "old")
    report = world.lock()
    assert report.unbuilt == {"base": ("old 1.0",)}
    with pytest.raises(HelioError) as caught:
        world.lock(check=True)
    assert caught.value.detail == "environments/base/pylock.toml has no wheel of `old`, which has to be built"
    asked = []

    def build(environment, sdists, tools):
        asked.append((environment.name, [sdist.name for sdist in sdists]))
        return tuple(
            Wheel(
                name=one.name,
                version=one.version,
                file_name=f"{one.name}-{one.version}-py3-none-any.whl",
                sha256="ab" * 32,
                size=5,
                built=True,
            )
            for one in sdists
        )

    for _ in range(2):
        world.lock(build_wheels=build)
    assert asked == [("base", ["old"])]
    assert world.pylock("base").unbuilt == ()
    world.lock(check=True)


def test_stale_locks_are_found_without_network(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", parent="base")
    world.lock()
    world.index.asked.clear()
    world.lock(check=True)
    world.environment("base", "lib", constraints=["lib<9"])
    with pytest.raises(HelioError) as caught:
        world.lock(check=True)
    assert caught.value.stage is Stage.CHECK
    assert str(caught.value) == (
        "2 locks are stale\n"
        "  environments/base/pylock.toml is not of the present environment.yml, conda part and parent's lock\n"
        "  environments/child/pylock.toml is not of the present environment.yml, conda part and parent's lock\n"
        "\n"
        "hint: run `buildimages lock`"
    )
    (world.root / "environments/child/conda-lock.yml").unlink()
    with pytest.raises(HelioError) as caught:
        world.lock("child", check=True)
    assert caught.value.message == "a lock is stale"
    assert caught.value.detail == "environments/child/conda-lock.yml is missing"
    assert world.index.asked == []


def test_comments_make_nothing_stale(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    file = world.root / "environments/base/environment.yml"
    file.write_text("# a comment\n" + file.read_text())
    assert world.lock(check=True).written == ()


def test_a_lock_that_cannot_be_read_is_made_anew(world, capsys):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    before = world.texts()
    (world.root / "environments/base/pylock.toml").write_text("<<<<<<< HEAD\n")
    world.lock()
    assert world.texts() == before
    assert "warning: cannot read `environments/base/pylock.toml`; it is locked anew" in capsys.readouterr().err


def test_unknown_names_and_channels(world):
    world.environment("base")
    with pytest.raises(HelioError) as caught:
        world.lock("bse")
    assert (
        str(caught.value)
        == "there is no environment or image `bse`\n  expected one of base\n\nhint: did you mean `base`?"
    )
    with pytest.raises(HelioError) as caught:
        world.lock(channel="main")
    assert str(caught.value) == "there is no channel `main`\n  expected one of local, conda-forge"


def test_the_other_channel_has_a_lock_of_its_own(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    pylock = world.pylock("base")
    assert world.lock(channel="conda-forge").written == ("environments/base/conda-lock.conda-forge.yml",)
    assert world.pylock("base") == pylock
    world.conda(record("python", "3.13.5", "libz"), record("libz", "1.3"), record("lib", "1.0", "python"))
    world.environment("base", "lib", conda=("python=3.13", "lib"), prefer={"lib": "pypi"})
    with pytest.raises(HelioError) as caught:
        world.lock(channel="conda-forge")
    assert caught.value.detail == "conda-forge brings lib-1.0-h0_0.conda, pylock.toml has lib-1.0-py3-none-any.whl"


def test_no_python_and_no_c_library(world):
    world.environment("base", conda=("libz",))
    with pytest.raises(HelioError) as caught:
        world.lock()
    assert caught.value.message == "the conda part brings no Python"
    world.environment("base")
    file = world.root / "environments/base/environment.yml"
    file.write_text(file.read_text().replace('"2.41"', "glibc-two"))
    with pytest.raises(HelioError) as caught:
        world.lock()
    assert str(caught.value) == (
        "the C library of the image is not known\n"
        "  in environments/base/environment.yml at x-helioimages.virtual-packages.__glibc\n"
        "  expected a version such as 2.41 not glibc-two"
    )


def versions_of(lock):
    return {item.name: item.version for item in (*lock.wheels, *lock.sdists)}


def test_the_same_packages_leave_the_files_as_they_are_whatever_times_are_told(world):
    world.wheel("lib", "1.0", at="2026-03-01")
    world.environment("base", "lib")
    world.lock()
    before = world.texts()
    # Another index, and a channel that was indexed again.
    world.wheel("lib", "1.0", at="2026-09-09")
    late = {"timestamp": 1_800_000_000_000}
    world.conda(record("python", "3.13.5", "libz") | late, record("libz", "1.3") | late)
    report = world.lock(update=["all"])
    assert report.written == () and world.texts() == before


def test_what_the_index_deleted_is_renewed_by_one_command(world, capsys):
    world.index.json = True
    for name in ("one", "two", "three", "kept"):
        world.wheel(name, "1.0")
    world.environment("base", "one", "kept")
    world.environment("child", "two", "three", parent="base")
    world.lock()
    for name in ("one", "two"):
        del world.index.files[f"{name}-1.0-py3-none-any.whl"]
        world.wheel(name, "1.1")
    # The newest version is what was deleted, so that an older one is all there is.
    del world.index.files["three-1.0-py3-none-any.whl"]
    world.wheel("three", "0.9")
    world.wheel("kept", "2.0")
    report = world.lock()
    assert versions_of(world.pylock("base")) == {"one": "1.1", "kept": "1.0"}
    assert versions_of(world.pylock("child")) == {"one": "1.1", "kept": "1.0", "two": "1.1", "three": "0.9"}
    assert [str(one) for one in report.changes["child"]] == [
        "downgraded three 1.0 -> 0.9",
        "upgraded   one 1.0 -> 1.1",
        "upgraded   two 1.0 -> 1.1",
    ]
    said = capsys.readouterr().err
    for name in ("one", "two", "three"):
        assert said.count(f"warning: the package index no longer has {name}-1.0-py3-none-any.whl") == 1
    world.lock(check=True)
    assert world.lock().written == ()


def test_a_file_with_other_bytes_under_the_same_name_is_another_file(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    world.index.add("lib-1.0-py3-none-any.whl", wheel_bytes({"lib.py": b"new"}, name="lib", version="1.0"))
    world.lock()
    (wheel,) = world.pylock("base").wheels
    assert wheel.sha256 == hashlib.sha256(world.index.files[wheel.file_name]).hexdigest()


def test_a_child_has_its_parents_wheel_from_the_store_though_the_index_deleted_it(world):
    world.wheel("lib", "1.0")
    world.wheel("app", "1.0", "lib")
    world.environment("base", "lib")
    world.environment("child", "app", parent="base")
    world.lock("base")
    (wheel,) = world.pylock("base").wheels
    data = world.index.files.pop(wheel.file_name)
    world.wheel("lib", "2.0")
    with pytest.raises(HelioError) as caught:
        world.lock("child")
    assert str(caught.value) == (
        "the package index no longer has 1 files of the parent environment\n"
        "  in environments/child/environment.yml\n"
        "  lib-1.0-py3-none-any.whl\n"
        "\n"
        "hint: run `buildimages lock`, which moves the parent and all its children together"
    )
    world.store.artefact(wheel.sha256).write_bytes(data)
    world.lock("child")
    assert versions_of(world.pylock("child")) == {"lib": "1.0", "app": "1.0"}
    assert wheel in world.pylock("child").wheels
    # And the command of the hint, on a machine that has nothing.
    world.store.artefact(wheel.sha256).unlink()
    world.lock()
    assert versions_of(world.pylock("child")) == {"lib": "2.0", "app": "1.0"}
    world.lock(check=True)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_yanked_version_stays_and_is_said_until_it_is_to_go(world, as_json):
    world.index.json = as_json
    world.wheel("lib", "1.0")
    world.wheel("lib", "1.1")
    world.environment("base", "lib")
    world.environment("child", parent="base")
    world.lock()
    world.index.yanked.add("lib-1.1-py3-none-any.whl")
    report = world.lock()
    assert report.written == ()
    assert report.yanked == {"base": ("lib 1.1",), "child": ()}
    assert report.lines() == (
        "base: unchanged",
        "  yanked     lib 1.1 by its authors",
        "child: unchanged",
        "`buildimages lock --update yanked` takes other versions of what was yanked",
    )
    assert world.lock("child").written == ()
    report = world.lock(update=["yanked"])
    assert versions_of(world.pylock("base")) == versions_of(world.pylock("child")) == {"lib": "1.0"}
    assert not any(report.yanked.values())
    world.lock(check=True)


def built_of(sdists, tools):
    """Stand for the builder: the wheel's digest is of its source and of the tools."""
    salt = ",".join(f"{wheel.name} {wheel.version}" for wheel in tools.wheels) if tools else "old"
    return tuple(
        Wheel(
            name=one.name,
            version=one.version,
            file_name=f"{one.name}-{one.version}-py3-none-any.whl",
            sha256=hashlib.sha256(f"{one.sha256} {salt}".encode()).hexdigest(),
            size=5,
            built=True,
        )
        for one in sdists
    )


def test_a_build_tool_that_the_index_deleted_is_renewed_and_what_it_built_is_built_again(world):
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    for name in ("maker", "helper"):
        world.wheel(name, "1.0")
    world.environment("base", "old")
    world.lock(build_wheels=lambda environment, sdists, tools: built_of(sdists, tools))
    file = world.root / "environments/base/build-lock.toml"
    tools = dataclasses.replace(
        world.pylock("base"),
        sdists=(),
        content_hash="0" * 64,
        wheels=tuple(wheel_in(world, name) for name in ("helper", "maker")),
    )
    file.write_text(pypi_lock.dump(tools))
    (before,) = world.pylock("base").wheels
    build = {"build_wheels": lambda environment, sdists, tools: built_of(sdists, tools)}
    assert world.lock(**build).written == ()
    del world.index.files["maker-1.0-py3-none-any.whl"]
    world.wheel("maker", "1.1")
    world.wheel("helper", "1.1")
    world.index.add("old-2.0.tar.gz", sdist_bytes("old", "2.0"))
    report = world.lock(**build)
    assert versions_of(pypi_lock.parse(file.read_text(), "x")) == {"helper": "1.0", "maker": "1.1"}
    assert [str(one) for one in report.changes["environments/base/build-lock.toml"]] == ["upgraded   maker 1.0 -> 1.1"]
    # The same source, another wheel.
    assert versions_of(world.pylock("base")) == {"old": "1.0"}
    (after,) = world.pylock("base").wheels
    assert after == built_of(world.pylock("base").sdists, pypi_lock.parse(file.read_text(), "x"))[0] != before
    world.lock(check=True)
    assert world.lock(**build).written == ()


def wheel_in(world, name):
    file = f"{name}-1.0-py3-none-any.whl"
    data = world.index.files[file]
    return Wheel(
        name=name, version="1.0", file_name=file, sha256=hashlib.sha256(data).hexdigest(), size=len(data), uploaded=9
    )


def test_a_builder_that_was_healed_builds_the_same_sources_again(world):
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    world.environment("base", "old")
    world.environment("child", parent="base")
    asked = []

    def build(environment, sdists, tools):
        asked.append((environment.name, [f"{one.name} {one.version}" for one in sdists]))
        return built_of(sdists, tools)

    world.lock(build_wheels=build)
    world.index.add("old-2.0.tar.gz", sdist_bytes("old", "2.0"))
    world.lock(build_wheels=build, rebuild=True)
    assert asked == [("base", ["old 1.0"])] * 2
    assert world.pylock("child").unbuilt == ()


def apt_lock(*names, requested=(), suffix="1"):
    debs = tuple(
        Deb(
            name=name,
            version=suffix,
            architecture="amd64",
            file_name=f"pool/main/{name}_{suffix}_amd64.deb",
            archive="debian",
            sha256=hashlib.sha256(f"{name}{suffix}".encode()).hexdigest(),
            size=1,
        )
        for name in sorted(names)
    )
    return AptLock(suite="trixie", architecture="amd64", requested=tuple(sorted(requested)), packages=debs, timestamp=9)


@pytest.fixture
def apt(monkeypatch):
    """apt's place is taken: asks are kept, what the mirror lacks is set."""

    class Apt:
        def __init__(self) -> None:
            self.asked: list[tuple] = []
            self.gone: tuple[str, ...] = ()
            self.suffix = "1"

        def resolve(self, requested, *, architecture, parent, prefer=(), obtain=None):
            self.asked.append((tuple(requested), tuple(deb.name for deb in prefer)))
            below = [deb.name for deb in parent.packages] if parent else ["bash"]
            made = apt_lock(*below, *requested, requested=requested, suffix=self.suffix)
            have = {deb.name: deb for deb in (*prefer, *(parent.packages if parent else ()))}
            return dataclasses.replace(made, packages=tuple(have.get(d.name, d) for d in made.packages))

        def missing(self, debs):
            return tuple(deb for deb in debs if deb.name in self.gone)

    found = Apt()
    monkeypatch.setattr(lock_debian.apt, "resolve", found.resolve)
    monkeypatch.setattr(lock_debian, "missing", found.missing)
    return found


def test_images_have_their_debian_part(world, apt):
    world.environment("base")
    world.environment("child", parent="base")
    world.image("base", "git", "curl")
    world.image("child", "gdl", parent="base")
    report = world.lock()
    assert apt.asked == [(("git", "curl"), ()), (("gdl",), ())]
    assert [change.name for change in report.changes["images/base"]] == ["bash", "curl", "git"]
    assert [change.name for change in report.changes["images/child"]] == ["bash", "curl", "gdl", "git"]
    apt.asked.clear()
    assert world.lock().written == () and apt.asked == []
    world.lock(check=True)
    # A package that the mirror dropped: the others stay.
    apt.gone, apt.suffix = ("git",), "2"
    world.lock("base")
    assert apt.asked == [(("git", "curl"), ("bash", "curl"))]
    apt.asked.clear()
    apt.gone = ()
    world.image("base", "git", "curl", "vim")
    with pytest.raises(HelioError) as caught:
        world.lock(check=True)
    assert caught.value.detail.splitlines() == [
        "images/base/apt-lock.json is stale: debian.packages of image.toml changed",
        "images/child/apt-lock.json is stale: the Debian packages of `base` changed",
    ]
    world.lock("base")
    with pytest.raises(HelioError) as caught:
        world.lock(check=True)
    assert caught.value.detail == "images/child/apt-lock.json is stale: the Debian packages of `base` changed"
    world.lock(update=["debian"])
    assert apt.asked[-2:] == [(("git", "curl", "vim"), ()), (("gdl",), ())]

"""What the world takes back is renewed by one command, and nothing else moves."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from locking_support import record
from pypi_support import built_of, sdist_bytes, wheel_bytes

from helioimages.core.errors import HelioError
from helioimages.pypi import lock as pypi_lock
from helioimages.pypi.lock import Wheel


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
    assert [str(change) for change in report.changes["child"]] == [
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
        "the package index no longer has 1 file of the parent environment\n"
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
    assert [str(change) for change in report.changes["environments/base/build-lock.toml"]] == [
        "upgraded   maker 1.0 -> 1.1"
    ]
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


@pytest.mark.parametrize("there", [True, False], ids=["added", "first"])
def test_a_build_tool_that_environment_yml_names_is_locked(world, there):
    """It is there before what asks for it is built, and all others keep their versions."""
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    for name in ("maker", "helper"):
        world.wheel(name, "1.0")
    seen = []

    def build(environment, sdists, tools):
        seen.append(versions_of(tools) if tools else None)
        return built_of(sdists, tools)

    world.environment("base", "old")
    file = world.root / "environments/base/build-lock.toml"
    if there:
        world.lock(build_wheels=build)
        file.write_text(
            pypi_lock.dump(
                dataclasses.replace(
                    world.pylock("base"), sdists=(), content_hash="0" * 64, wheels=(wheel_in(world, "maker"),)
                )
            )
        )
        assert seen.pop() is None
        world.wheel("maker", "1.1")
    world.environment("base", "old", build={"old": {"requires": ["maker", "Helper>=1"]}})
    report = world.lock(build_wheels=build)
    assert seen == [{"helper": "1.0", "maker": "1.0"}]
    assert "environments/base/build-lock.toml" in report.written
    assert versions_of(pypi_lock.parse(file.read_text(), "x")) == seen[0]
    assert world.lock(build_wheels=build).written == ()
    world.lock(check=True)


def test_what_has_variants_of_its_wheel_only_is_built_from_source_and_that_is_said(world, capsys):
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    for label in ("cu130", "null"):
        world.index.add(f"old-1.0-py3-none-any-{label}.whl", b"x")
    world.index.add("old-0.9-py3-none-any-cu12.whl", b"x")
    world.index.add("other-1.0.tar.gz", sdist_bytes("other", "1.0"))
    world.environment("base", "old", "other")
    world.lock(build_wheels=lambda environment, sdists, tools: built_of(sdists, tools))
    said = [line for line in capsys.readouterr().err.splitlines() if "PEP 825" in line]
    assert said == [
        "warning: old 1.0 is built from source: the index has variants of its wheel only "
        "(cu130, null; PEP 825), which are for one machine"
    ]


def test_without_tools_and_without_a_word_of_them_there_are_none(world):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.lock()
    assert not (world.root / "environments/base/build-lock.toml").exists()


def test_a_builder_that_was_healed_builds_the_same_sources_again(world):
    world.index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0"))
    world.environment("base", "old")
    world.environment("child", parent="base")
    asked = []

    def build(environment, sdists, tools):
        asked.append((environment.name, [f"{sdist.name} {sdist.version}" for sdist in sdists]))
        return built_of(sdists, tools)

    world.lock(build_wheels=build)
    world.index.add("old-2.0.tar.gz", sdist_bytes("old", "2.0"))
    world.lock(build_wheels=build, rebuild=True)
    assert asked == [("base", ["old 1.0"])] * 2
    assert world.pylock("child").unbuilt == ()

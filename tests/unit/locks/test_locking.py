"""The lock verb with rattler and uv themselves, on a channel and an index made here."""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import UTC, datetime

import pytest
from conda_support import write_package, write_repodata
from locking_support import record
from pypi_support import sdist_bytes, wheel_bytes

from helioimages.core.errors import HelioError, Stage
from helioimages.debian.lock import AptLock, Deb
from helioimages.locks import debian as lock_debian
from helioimages.locks import state
from helioimages.machine.store import Store
from helioimages.pypi.lock import Wheel


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
    (wheel,) = (wheel for wheel in world.pylock("base").wheels if wheel.name == "app")
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


def test_a_replay_gives_the_same_bytes_whenever_it_is_made(world, tmp_path):
    world.wheel("lib", "1.0", at="2020-01-01")
    world.wheel("app", "1.0", "lib", at="2020-02-01")
    world.environment("base", "app")
    world.environment("child", "lib", parent="base")
    asked = world.texts()
    then = datetime(2021, 1, 1, tzinfo=UTC)
    world.lock(exclude_newer=then)
    replayed = world.texts()
    assert {wheel.version for wheel in world.pylock("base").wheels} == {"1.0"}
    # Later the index has more: new versions, an old one, and a second file of the very version that was taken.
    for version in ("0.9", "1.0.1", "2.0"):
        world.wheel("lib", version, at="2026-01-01")
        world.wheel("app", version, "lib", at="2026-01-01")
    data = wheel_bytes({}, name="lib", version="1.0")
    world.index.add("lib-1.0-1-py3-none-any.whl", data, "2026-01-01T00:00:00Z")
    # On top of the lock, and from nothing on another machine.
    world.lock(exclude_newer=then)
    assert world.texts() == replayed
    for path in replayed.keys() - asked.keys():
        path.unlink()
    world.store = Store(tmp_path / "another machine")
    world.lock(exclude_newer=then)
    assert world.texts() == replayed


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


def test_conda_packages_that_take_a_path_from_each_other_are_told_and_locked(world, capsys):
    for name, depends in {"python": [], "low": [], "top": ["low"]}.items():
        version, path = ("3.13.5", "bin/python") if name == "python" else ("1.0", "etc/x")
        write_package(world.channel, name, {path: (name.encode(), 0o644)}, version=version, index={"depends": depends})
    write_repodata(world.channel, ["linux-64", "noarch"])
    conda = ("python=3.13", "top")
    world.environment("base", conda=conda)
    world.lock()
    assert world.conda_lock("base").clobbers == {"linux-64": {"etc/x": "top over low"}}
    assert "warning: top wins a path over low, as rattler installs: etc/x" in capsys.readouterr().err
    world.lock(check=True)
    # A channel without its files says nothing of them: what was seen once is still so.
    for path in (world.channel / "linux-64").glob("*.conda"):
        path.unlink()
    assert world.lock().written == ()


def test_a_channel_says_what_its_packages_are_on_pypi(world):
    purls = {"purls": ["pkg:pypi/lib"]}
    world.conda(record("python", "3.13.5"), record("helio-lib", "1.0", "python", subdir="noarch") | purls)
    world.wheel("lib", "1.0")
    world.wheel("lib", "2.0")
    world.wheel("app", "1.0", "lib")
    world.environment("base", "app", conda=("python=3.13", "helio-lib"))
    world.lock()
    assert [wheel.name for wheel in world.pylock("base").wheels] == ["app"]
    world.lock(check=True)
    world.environment("base", "app", conda=("python=3.13", "helio-lib"), names={"helio-lib": "none"})
    with pytest.raises(HelioError, match="a lock is stale"):
        world.lock(check=True)
    world.lock()
    assert [(w.name, w.version) for w in world.pylock("base").wheels] == [("app", "1.0"), ("lib", "2.0")]
    world.environment("base", "app", conda=("python=3.13", "helio-lib"), names={"heliolib": "none"})
    with pytest.raises(HelioError) as caught:
        world.lock()
    assert caught.value.message == "`heliolib` is not a locked conda package"


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
                name=sdist.name,
                version=sdist.version,
                file_name=f"{sdist.name}-{sdist.version}-py3-none-any.whl",
                sha256="ab" * 32,
                size=5,
                built=True,
            )
            for sdist in sdists
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
            self.moment = 9

        def resolve(self, requested, *, architecture, parent, prefer=(), obtain=None):
            self.asked.append((tuple(requested), tuple(deb.name for deb in prefer)))
            below = [deb.name for deb in parent.packages] if parent else ["bash"]
            made = apt_lock(*below, *requested, requested=requested, suffix=self.suffix)
            have = {deb.name: deb for deb in (*prefer, *(parent.packages if parent else ()))}
            packages = tuple(have.get(deb.name, deb) for deb in made.packages)
            return dataclasses.replace(made, packages=packages, timestamp=self.moment)

        def missing(self, debs):
            return tuple(deb for deb in debs if deb.name in self.gone)

    client = Apt()
    monkeypatch.setattr(lock_debian.apt, "resolve", client.resolve)
    monkeypatch.setattr(lock_debian, "missing", client.missing)
    return client


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


@pytest.mark.parametrize("renewed", ["all", "debian"])
def test_equal_packages_of_a_later_archive_are_the_same_lock(world, apt, renewed):
    """The archive's time is in the lock digest: a weekly relock would publish every image again."""
    world.environment("base")
    world.environment("child", parent="base")
    world.image("base", "git")
    world.image("child", "gdl", parent="base")
    world.lock()
    before = world.texts()
    apt.asked.clear()
    apt.moment += 6 * 3600
    assert world.lock(update=[renewed]).written == ()
    assert apt.asked == [(("git",), ()), (("gdl",), ())]
    assert world.texts() == before
    apt.suffix = "2"
    assert world.lock(update=[renewed]).written == ("images/base/apt-lock.json", "images/child/apt-lock.json")


def test_each_lock_is_read_once_a_run(world, monkeypatch):
    world.wheel("lib", "1.0")
    world.environment("base", "lib")
    world.environment("child", "lib", parent="base")
    world.lock()
    read: list[str] = []
    for parts in (state.CONDA, state.PYPI):

        def parse(text, file, parts=parts, real=parts.parse):
            read.append(file)
            return real(text, file)

        monkeypatch.setattr(type(parts), "parse", staticmethod(parse))
    assert world.lock().written == ()
    assert sorted(read) == [
        f"environments/{name}/{file}" for name in ("base", "child") for file in ("conda-lock.yml", "pylock.toml")
    ]

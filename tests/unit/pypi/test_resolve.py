"""uv itself, on an index on loopback."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from datetime import UTC, datetime

import pytest
from pypi_support import IndexServer, sdist_bytes, serving, wheel_bytes

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.pypi import resolve as resolving
from helioimages.pypi.index import PackageIndex
from helioimages.pypi.lock import PyPILock, Sdist, Wheel, dump
from helioimages.pypi.places import IndexPlaces
from helioimages.pypi.resolve import Request, places, python_platform, resolve


def add(index: IndexServer, name: str, version: str, *requires: str, tag="py3-none-any", at="2026-01-01") -> None:
    data = wheel_bytes({}, name=name, version=version, requires=requires)
    index.add(f"{name}-{version}-{tag}.whl", data, f"{at}T00:00:00Z")


@pytest.fixture
def ask(package_index, tmp_path):
    index = PackageIndex(package_index.url, tmp_path / "index")

    def resolved(*requirements: str, **options):
        options = {
            "python": "3.13.5",
            "platform": Platform.of("linux/amd64"),
            "glibc": (2, 41),
            "content_hash": "0" * 64,
        } | options
        return resolve(
            Request(where="environments/x/environment.yml", requirements=requirements, **options), index.sizes
        )

    return resolved


def versions(lock):
    return {item.name: item.version for item in (*lock.wheels, *lock.sdists)}


def test_the_newest_that_fit_with_the_file_of_the_platform(package_index, ask):
    add(package_index, "app", "1.0", "lib<2", 'win; sys_platform == "win32"', at="2026-02-01")
    add(package_index, "lib", "2.0")
    add(package_index, "lib", "1.5", tag="cp313-cp313-manylinux_2_28_x86_64")
    add(package_index, "lib", "1.5", tag="cp313-cp313-manylinux_2_17_x86_64")
    add(package_index, "lib", "1.5", tag="cp313-cp313-manylinux_2_28_aarch64")
    lock = ask("app")
    assert versions(lock) == {"app": "1.0", "lib": "1.5"}
    assert lock.wheels[1].file_name == "lib-1.5-cp313-cp313-manylinux_2_28_x86_64.whl"
    assert lock.wheels[1].size == len(package_index.files[lock.wheels[1].file_name])
    assert lock.timestamp == int(datetime(2026, 2, 1, tzinfo=UTC).timestamp())
    assert (
        ask("app", platform=Platform.of("linux/arm64")).wheels[1].file_name
        == "lib-1.5-cp313-cp313-manylinux_2_28_aarch64.whl"
    )


def test_what_is_there_is_kept_unless_it_is_asked_to_go(package_index, ask):
    add(package_index, "app", "1.0", "lib")
    add(package_index, "lib", "1.0")
    first = ask("app")
    add(package_index, "lib", "2.0")
    add(package_index, "lib", "1.0", tag="cp313-cp313-manylinux_2_28_x86_64")
    assert ask("app", current=first) == first
    assert versions(ask("app", current=first, upgrade=("lib",))) == {"app": "1.0", "lib": "2.0"}
    assert versions(ask("app", current=first, upgrade=("all",))) == {"app": "1.0", "lib": "2.0"}
    assert versions(ask("app", current=first, constraints=("lib>1",))) == {"app": "1.0", "lib": "2.0"}


def test_what_others_have_as_much_reason_for_is_not_asked_for_exactly(package_index, partial, ask, monkeypatch):
    add(package_index, "app", "1.0", "lib", "other")
    for name, version in (("lib", "1.0"), ("lib", "2.0"), ("other", "1.0")):
        add(package_index, name, version)
    first, asked, run = ask("app"), [], resolving._run
    monkeypatch.setattr(resolving, "_run", lambda *words, **how: asked.append(words) or run(*words, **how))
    assert versions(ask("app", "lib<2", current=first, contested=frozenset({"lib"}))) == versions(first) | {
        "lib": "1.0"
    }
    assert len(asked) == 1


@pytest.fixture
def partial(package_index, monkeypatch):
    """Run an index that pip is told of beside the other, which uv asks first."""
    with serving() as index:
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index.url)
        yield index


def test_what_is_there_is_kept_though_the_first_index_has_no_file_of_it_that_fits(package_index, partial, ask):
    add(package_index, "app", "1.0", "lib", "other", "third")
    for name in ("lib", "other", "third"):
        add(package_index, name, "1.0")
    first = ask("app")
    for name in ("lib", "other", "third"):
        add(partial, name, "1.0", tag="cp27-cp27m-manylinux1_x86_64")
        add(package_index, name, "0.9")
        add(package_index, name, "2.0")
    assert ask("app", current=first) == first
    assert versions(ask("app", current=first, upgrade=("lib",))) == versions(first) | {"lib": "2.0"}
    # Where something has to move, nothing else does.
    add(package_index, "app", "1.1", "lib>1", "other", "third")
    assert versions(ask("app", "lib>1", current=first)) == versions(first) | {"lib": "2.0"}
    assert versions(ask("app>1", current=first)) == versions(first) | {"app": "1.1", "lib": "2.0"}
    assert versions(ask("app>1", "third==1.0", current=first)) == versions(first) | {"app": "1.1", "lib": "2.0"}
    # A child has its parent's.
    add(package_index, "more", "1.0", "lib")
    assert versions(ask("more", inherited=first)) == {"more": "1.0", "lib": "1.0"}
    with pytest.raises(HelioError, match="no set of PyPI packages"):
        ask("app", "lib>3", current=first)


def test_the_past_can_be_asked(package_index, ask):
    add(package_index, "lib", "1.0", at="2025-01-01")
    add(package_index, "lib", "2.0", at="2026-01-01")
    assert versions(ask("lib", exclude_newer=datetime(2025, 6, 1, tzinfo=UTC))) == {"lib": "1.0"}


def test_source_only_packages(package_index, ask):
    package_index.add("old-1.0.tar.gz", sdist_bytes("old", "1.0", ("lib",)))
    add(package_index, "lib", "1.0")
    lock = ask("old")
    assert [wheel.name for wheel in lock.wheels] == ["lib"]
    assert [(sdist.name, sdist.file_name) for sdist in lock.unbuilt] == [("old", "old-1.0.tar.gz")]
    built = dataclasses.replace(
        lock.wheels[0], name="old", file_name="old-1.0-py3-none-any.whl", sha256="12" * 32, built=True
    )
    with_wheel = dataclasses.replace(lock, wheels=(lock.wheels[0], built))
    assert ask("old", current=with_wheel) == with_wheel
    assert ask("old", current=with_wheel, upgrade=("old",)) == lock


def test_a_built_wheel_is_asked_in_place_of_its_source(package_index, ask, tmp_path):
    # Nobody can build this source, or ask it what it needs: its metadata are dynamic and its build fails.
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        text = b"raise SystemExit('never run')\n"
        member = tarfile.TarInfo("old-1.0/setup.py")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    package_index.add("old-1.0.tar.gz", stream.getvalue())
    add(package_index, "lib", "1.0")
    data = wheel_bytes({}, name="old", version="1.0", requires=("lib",))
    path = tmp_path / "artefact"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    source = Sdist(name="old", version="1.0", file_name="old-1.0.tar.gz", sha256="cd" * 32, size=9)
    wheel = Wheel(name="old", version="1.0", file_name="old-1.0-py3-none-any.whl", sha256=sha256, size=9, built=True)
    current = PyPILock(
        python="3.13", platform=Platform.of("linux/amd64"), content_hash="0" * 64, wheels=(wheel,), sdists=(source,)
    )
    lock = ask("old", current=current, built={wheel.file_name: path})
    assert versions(lock) == {"lib": "1.0", "old": "1.0"}
    assert wheel in lock.wheels and lock.sdists == (source,)
    with pytest.raises(HelioError) as caught:
        ask("old", current=current)
    assert caught.value.message == "no set of PyPI packages answers the `pip` list"


def test_what_conda_brings_is_not_chosen(package_index, ask):
    add(package_index, "app", "1.0", "lib")
    add(package_index, "lib", "1.0")
    add(package_index, "lib", "2.0")
    assert versions(ask("app", provided={"lib": "1.0"})) == {"app": "1.0"}
    with pytest.raises(HelioError) as caught:
        ask("app", "lib>1", provided={"lib": "1.0"})
    assert caught.value.message == "no set of PyPI packages answers the `pip` list"
    assert "lib==1.0" in caught.value.detail and "lib>1" in caught.value.detail


def test_a_child_has_its_parents_versions_and_files(package_index, ask):
    add(package_index, "lib", "1.0")
    parent = ask("lib")
    add(package_index, "lib", "2.0")
    add(package_index, "app", "1.0", "lib")
    child = ask("lib", "app", inherited=parent)
    assert versions(child) == {"app": "1.0", "lib": "1.0"}
    assert parent.wheels[0] in child.wheels


def test_a_conflict_names_both_sides(package_index, ask):
    add(package_index, "lib", "1.0")
    parent = ask("lib")
    add(package_index, "lib", "2.0")
    add(package_index, "app", "1.0", "lib>=2")
    with pytest.raises(HelioError) as caught:
        ask("lib", "app", inherited=parent)
    assert caught.value.stage is Stage.LOCK
    assert caught.value.message == "the environment contradicts its parent"
    assert caught.value.where == "environments/x/environment.yml"
    assert caught.value.detail.splitlines()[0] == (
        "`lib`: the parent has 1.0, without it this environment would have 2.0"
    )
    assert caught.value.hint == (
        "a child has its parent's versions: add a constraint to the parent, or leave the package out of the child"
    )
    with pytest.raises(HelioError) as caught:
        ask("lib", "app", "absent", inherited=parent)
    assert caught.value.message == (
        "no set of PyPI packages answers the `pip` list, whatever the parent environment has"
    )


def test_a_package_for_other_platforms_only(package_index, ask):
    add(package_index, "lib", "1.0", tag="cp313-cp313-win_amd64")
    with pytest.raises(HelioError) as caught:
        ask("lib")
    assert caught.value.message == "no set of PyPI packages answers the `pip` list"
    assert "lib" in caught.value.detail


def test_the_index_is_the_one_that_uv_uses(package_index, monkeypatch):
    assert places() == IndexPlaces(indexes=(package_index.url,))
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/pip/simple")
    assert places() == IndexPlaces(indexes=("http://127.0.0.1:9/pip/simple",))


def test_uv_tells_its_index_without_any_other_python(package_index, tmp_path, monkeypatch):
    """On PATH may be none, or pyenv's scripts, which take ten times as long as the answer."""
    asked = tmp_path / "asked"
    for name in ("python", "python3", "python3.13"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {name} >> {asked}\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert places() == IndexPlaces(indexes=(package_index.url,))
    assert not asked.exists()


def test_what_is_locked_from_other_places_is_found_there_again(package_index, ask, tmp_path, monkeypatch):
    with serving() as other:
        add(package_index, "app", "1.0", "lib", "linked")
        add(other, "lib", "2.0")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", other.url)
        links = tmp_path / "links"
        links.mkdir()
        (links / "linked-1.0-py3-none-any.whl").write_bytes(wheel_bytes({}, name="linked"))
        monkeypatch.setenv("PIP_FIND_LINKS", str(links))
        lock = ask("app")
        assert versions(lock) == {"app": "1.0", "lib": "2.0", "linked": "1.0"}
        index = PackageIndex(places(), tmp_path / "other")
        urls = {wheel.name: index.urls(wheel.name, wheel.file_name) for wheel in lock.wheels}
        assert urls == {
            "app": (f"{package_index.url.replace('simple', 'files')}/app-1.0-py3-none-any.whl",),
            "lib": (f"{other.url.replace('simple', 'files')}/lib-2.0-py3-none-any.whl",),
            "linked": ((links / "linked-1.0-py3-none-any.whl").as_uri(),),
        }
        assert not any("127.0.0.1" in text or str(tmp_path) in text for text in (dump(lock), repr(places())))


def test_uvs_platform_is_the_newest_that_the_c_library_allows():
    assert python_platform(Platform.of("linux/amd64"), (2, 34)) == "x86_64-manylinux_2_34"
    assert python_platform(Platform.of("linux/arm64"), (2, 30)) == "aarch64-manylinux_2_28"
    with pytest.raises(HelioError) as caught:
        python_platform(Platform.of("linux/amd64"), (2, 5))
    assert caught.value.message == "uv knows no manylinux platform for linux/amd64 with glibc 2.5"


@pytest.mark.parametrize("as_json", [False, True])
def test_variants_of_a_wheel_are_passed_over_or_refused_by_name(package_index, ask, as_json):
    """An image is for every machine: the plain wheel is taken, or it is said that there is none."""
    package_index.json = as_json
    add(package_index, "lib", "1.0")
    add(package_index, "lib", "1.0", tag="py3-none-any-cu130")
    add(package_index, "lib", "1.0", tag="1-py3-none-any-x86_64_v3")
    package_index.add("lib-1.0-variants.json", b"{}")
    assert [wheel.file_name for wheel in ask("lib").wheels] == ["lib-1.0-py3-none-any.whl"]
    add(package_index, "lib", "2.0", tag="py3-none-any-cu130")
    assert versions(ask("lib")) == {"lib": "1.0"}
    with pytest.raises(HelioError) as caught:
        ask("lib>=2")
    assert "lib==2.0 has only unsupported wheel variants" in caught.value.detail.replace("\n", " ")
    assert caught.value.hint == (
        "wheel variants (PEP 825) are for one machine's GPU or processor, and images are for many: constrain the "
        "package to a version that has plain wheels, or take it from conda"
    )
    add(package_index, "lib", "2.0", tag="py3-none-any")
    assert [wheel.file_name for wheel in ask("lib>=2").wheels] == ["lib-2.0-py3-none-any.whl"]

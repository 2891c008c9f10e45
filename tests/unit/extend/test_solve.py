"""What is added goes with the image's versions; a contradiction names the line, both versions, and what would do."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.pylock import Pylock
from pypi_support import sdist_bytes, wheel_bytes

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.extend import binder, lock_file, solve
from helioimages.extend.asked import FileLine, PlacedRequirement, SourceProject
from helioimages.extend.lock_file import WheelOrigin
from helioimages.machine.store import Store
from helioimages.pypi import resolve
from helioimages.pypi.index import PackageIndex
from helioimages.pypi.lock import Wheel


@pytest.fixture
def ask(given, parent, package_index, tmp_path: Path):
    """Resolve a requirements.txt on the image; ``before`` is a lock that the repository has."""
    for name, version, requires in (
        ("numpy", "2.4.6", ()),
        ("numpy", "1.26.4", ()),
        ("xarray", "2026.9.0", ("numpy>=2",)),
        ("orbits", "1.0", ("numpy>=1.20,<2",)),
        ("orbits", "2.0", ("numpy>=2", "kepler")),
        ("kepler", "0.1", ()),
        ("kepler", "0.2", ()),
    ):
        data = wheel_bytes({f"{name}/__init__.py": version.encode()}, name=name, version=version, requires=requires)
        package_index.add(f"{name}-{version}-py3-none-any.whl", data)
    package_index.add("source-1.0.tar.gz", sdist_bytes("source", "1.0"))
    store = Store(tmp_path / "store")

    def run(text: str, before=None, locals=()):
        wanted = solve.requirements(binder.read(given.files({"requirements.txt": text})), parent)
        question = solve.AdditionQuestion(parent=parent, wanted=wanted, limits=(), locals=locals, before=before)
        return solve.answer(question, PackageIndex(resolve.places(), store.root / "index"), store)

    return run


def test_markers_are_compared_with_the_image_not_with_this_machine(given, parent):
    rows = ("old @ git+https://h/old ; python_version < '3.13'", "new @ git+https://h/new ; python_version >= '3.13'")
    asked = binder.read(given.files({"requirements.txt": "\n".join(rows)}))
    assert [project.url for project in solve.of_parent(asked, parent).projects] == ["https://h/new"]
    packages = (replace(row, version="3.11.2") if row.name == "python" else row for row in parent.packages)
    older = replace(parent, packages=tuple(packages))
    assert [project.url for project in solve.of_parent(asked, older).projects] == ["https://h/old"]


def versions(lock) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in lock.files}


def test_only_what_the_image_lacks_is_added(ask):
    assert versions(ask("xarray\norbits\n")) == {"orbits": "2.0", "kepler": "0.2"}


def test_nothing_is_added_where_the_image_has_it(ask):
    assert versions(ask("numpy>=2\nxarray")) == {}


def test_what_the_image_has_in_another_build_is_not_added_and_neither_is_what_only_that_draws_in(
    given, package_index, parent, tmp_path
):
    for name, version, requires in (
        ("numpy", "2.4.6", ()),
        ("xarray", "2026.9.0", ()),
        ("xgboost", "3.4.1", ("nccl", "numpy")),
        ("xgboost", "4.0", ()),
        ("xgboost-cpu", "3.4.1", ()),
        ("nccl", "2.30", ("cuda",)),
        ("cuda", "13", ()),
        ("trees", "1.0", ("xgboost>=3", "leaves")),
        ("leaves", "1.0", ()),
        ("gpu", "1.0", ("nccl",)),
    ):
        data = wheel_bytes({f"{name}/__init__.py": b""}, name=name, version=version, requires=requires)
        package_index.add(f"{name.replace('-', '_')}-{version}-py3-none-any.whl", data)
    store = Store(tmp_path / "store")
    have = replace(parent, packages=(*parent.packages, Package(kind="wheel", name="xgboost-cpu", version="3.4.1")))

    def added(text: str) -> dict[str, str]:
        wanted = solve.requirements(binder.read(given.files({"requirements.txt": text})), have)
        question = solve.AdditionQuestion(parent=have, wanted=wanted, limits=(), locals=(), before=None)
        return versions(solve.answer(question, PackageIndex(resolve.places(), store.root / "index"), store))

    assert added("xgboost") == {}
    assert added("trees") == {"trees": "1.0", "leaves": "1.0"}
    assert added("trees\ngpu") == {"trees": "1.0", "leaves": "1.0", "gpu": "1.0", "nccl": "2.30", "cuda": "13"}
    assert added("xgboost\ncuda") == {"cuda": "13"}
    with pytest.raises(HelioError, match="`xgboost>=4` contradicts the image"):
        added("xgboost>=4")


def test_a_source_of_the_index_is_locked_to_be_built(ask):
    lock = ask("source")
    assert [sdist.name for sdist in lock.unbuilt] == ["source"]


def test_a_lock_of_the_same_question_is_the_answer_and_asks_nobody(ask, package_index):
    first = ask("orbits\nkepler==0.1")
    package_index.asked.clear()
    assert ask("kepler==0.1\norbits\n", before=first) is first
    assert package_index.asked == []


def test_a_lock_of_another_question_is_kept_where_it_fits(ask):
    first = ask("orbits\nkepler==0.1")
    assert versions(ask("orbits", before=first)) == {"orbits": "2.0", "kepler": "0.1"}


def test_a_contradiction_names_both_sides(ask):
    with pytest.raises(HelioError) as caught:
        ask("kepler\nnumpy<2\n")
    assert str(caught.value).splitlines() == [
        "`numpy<2` contradicts the image",
        "  in requirements.txt line 2",
        "  requirements.txt line 2 asks for `numpy<2`; `heliocloud/helio:2026.11.21` has numpy 2.4.6",
        "",
        "hint: ask for numpy>=2.4.6, or extend a tag of `heliocloud/helio` that has what you ask for: "
        "the versions of the image stay",
    ]


def test_a_contradiction_below_names_the_version_that_would_do(ask):
    with pytest.raises(HelioError) as caught:
        ask("kepler\norbits==1.0\n")
    error = caught.value
    assert error.message == "what the repository asks for does not go with `heliocloud/helio:2026.11.21`"
    assert error.where == "requirements.txt line 2"
    assert error.detail.splitlines()[0] == "requirements.txt line 2 asks for `orbits==1.0`; orbits 2.0 would do"
    assert "numpy" in error.detail


def test_a_name_that_the_index_does_not_have(ask):
    with pytest.raises(HelioError, match="the package index has no `no-such-thing`") as caught:
        ask("orbits\nno-such-thing\n")
    assert caught.value.where == "requirements.txt line 2"


def test_a_built_wheel_brings_what_it_needs_and_is_itself_no_part_of_the_lock(ask, tmp_path):
    data = wheel_bytes({"ours/__init__.py": b""}, name="ours", version="0.3", requires=("orbits",))
    path = tmp_path / "ours-0.3-py3-none-any.whl"
    path.write_bytes(data)
    wheel = Wheel(
        name="ours",
        version="0.3",
        file_name=path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        built=True,
    )
    source = WheelOrigin(name="ours", version="0.3", project=SourceProject(place=FileLine(file="pyproject.toml")))
    local = solve.Local(wheel=wheel, path=path, source=source, sha256="0" * 64)
    assert versions(ask("", locals=(local,))) == {"orbits": "2.0", "kepler": "0.2"}


def conda(given, parent, text):
    asked = binder.read(given.files({"environment.yml": f"dependencies:\n  - {text}\n"}))
    return [requirement.text for requirement in solve.requirements(asked, parent)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("numpy>=2", ["numpy>=2"]),
        ("python=3.13", []),
        ("python>=3.10", []),
        ("openssl", []),
        ("git", []),
        ("matplotlib-base=3.9", ["matplotlib==3.9.*"]),
        ("pytorch", ["torch"]),
        # A Python package brings the program.
        ("pandoc=3.1", []),
    ],
)
def test_what_is_asked_of_conda_is_looked_for_in_the_image_and_then_on_the_index(given, parent, text, wanted):
    assert conda(given, parent, text) == wanted


@pytest.mark.parametrize(
    ("text", "message", "words"),
    [
        ("python=3.10", "`python=3.10` asks for another Python", "3.13.5"),
        ("python==3.13.4", "`python==3.13.4` asks for another Python", "3.13.5"),
        ("r-base", "`r-base` is not a Python package", "R is not in the images"),
        ("ffmpeg", "`ffmpeg` is not a Python package", "extend an image that has Debian's ffmpeg"),
        ("nodejs", "`nodejs` is not a Python package", "extend an image that has Debian's nodejs"),
        ("openssl=1.1", "`openssl=1.1` contradicts the image", "has openssl 3.5.4"),
    ],
)
def test_what_conda_has_and_the_image_cannot_is_refused_at_its_line(given, parent, text, message, words):
    with pytest.raises(HelioError) as caught:
        conda(given, parent, text)
    assert message in caught.value.message
    assert caught.value.where == "environment.yml line 2"
    assert words in str(caught.value)


def test_the_question_is_of_all_that_is_asked(parent):
    def key(**other):
        wanted = (PlacedRequirement(text="orbits", place=FileLine(file="requirements.txt", line=1)),)
        said = {"parent": parent, "wanted": wanted, "limits": (), "locals": (), "before": None}
        return solve.AdditionQuestion(**(said | other)).key

    moved = (PlacedRequirement(text="orbits", place=FileLine(file="requirements.txt", line=9)),)
    assert key(wanted=moved) == key()
    assert key(wanted=()) != key()
    assert key(limits=moved) != key()


def test_a_lock_is_read_as_it_was_written(ask):
    lock = ask("orbits")
    project = SourceProject(
        place=FileLine(file="requirements.txt", line=1), url="https://example.org/b", ref="main", folder="py"
    )
    sources = (
        WheelOrigin(name="b", version="1", project=project, commit="0" * 40),
        WheelOrigin(name="a", version="2", project=SourceProject(place=FileLine(file="pyproject.toml"))),
    )
    text = lock_file.dump(lock, sources, "binder/pylock.helio.toml")
    kept = lock_file.parse(text, "binder/pylock.helio.toml")
    assert kept.lock == lock
    assert kept.commits == {("https://example.org/b", "main", "py"): "0" * 40}
    assert 'directory = { path = ".." }' in text


def test_a_lock_of_sources_alone_is_one_too(ask):
    sources = (WheelOrigin(name="a", version="2", project=SourceProject(place=FileLine(file="pyproject.toml"))),)
    text = lock_file.dump(ask(""), sources, "pylock.helio.toml")
    assert lock_file.parse(text, "pylock.helio.toml").lock == ask("")
    (package,) = Pylock.from_dict(tomllib.loads(text)).packages
    assert package.directory.path == "."


@pytest.mark.parametrize("text", ["", "x = ", "\n# Built from source:\n[[packages]]\nvcs = 3\n"])
def test_what_is_no_lock_says_what_to_do(text):
    with pytest.raises(HelioError) as caught:
        lock_file.parse(text, "pylock.helio.toml")
    assert caught.value.hint == "delete pylock.helio.toml, and write it again with --write-lock"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('url = "https://example.org/b"', "url = 3", "url"),
        ('url = "https://example.org/b", ', "", "url"),
        (f'commit-id = "{"0" * 40}"', "commit-id = 3", "commit-id"),
        ('requested-revision = "main"', "requested-revision = []", "requested-revision"),
        ('subdirectory = "py"', "subdirectory = {}", "subdirectory"),
    ],
)
def test_a_commit_that_cannot_be_read_is_told_with_its_key(ask, old, new, key):
    project = SourceProject(
        place=FileLine(file="requirements.txt", line=1), url="https://example.org/b", ref="main", folder="py"
    )
    sources = (WheelOrigin(name="b", version="1", project=project, commit="0" * 40),)
    text = lock_file.dump(ask("orbits"), sources, "pylock.helio.toml")
    at = len(Pylock.from_dict(tomllib.loads(text)).packages) - 1
    assert old in text
    with pytest.raises(HelioError) as caught:
        lock_file.parse(text.replace(old, new), "pylock.helio.toml")
    assert caught.value.where == f"pylock.helio.toml at packages[{at}].vcs.{key}"
    assert caught.value.detail.startswith("expected ")

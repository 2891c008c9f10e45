"""What a build needs, asked as PEP 517 says: of pyproject.toml, of the backend, or of people instead."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.make import wheels
from helioimages.make.sources import WheelBuilder
from helioimages.pypi.lock import PyPILock, Sdist
from helioimages.spec.environment import EnvironmentSpec, parse_environment

BACKEND = """
import os, zipfile
from pathlib import Path

def build_wheel(folder, settings=None, metadata_directory=None):
    name = "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(folder) / name, "w") as wheel:
        wheel.writestr("tiny.txt", " ".join(sorted(path.name for path in Path.cwd().iterdir())))
    return name
"""
HOOK = """
def get_requires_for_build_wheel(settings=None):
    Path("left-behind").write_text("x")
    print("noise on stdout")
    return {0!r}
"""


@pytest.fixture
def guest(tmp_path, monkeypatch) -> Iterator[ModuleType]:
    """Give the program that runs in the builder, working in this test's folder."""
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("tarfile has filters from Python 3.11.4 on; in the builder the program has 3.13")
    spec = importlib.util.spec_from_file_location("guest", wheels.GUEST)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build = tmp_path / "build"
    build.mkdir()
    for name in ("SOURCE", "MADE", "TREE", "ASKED", "ANSWER", "UNPACKED"):
        monkeypatch.setattr(module, name, build / getattr(module, name).name)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield module
    sys.modules.pop("backend", None)


def run(guest: ModuleType, folder: Path, monkeypatch, *, static=(), hook: str = "", **order) -> str:
    """Build a source whose backend is its own, and return what its wheel says was in the source's folder."""
    pyproject = (
        f'[build-system]\nrequires = {json.dumps(list(static))}\nbuild-backend = "backend"\nbackend-path = ["in"]\n'
    )
    files = {"pyproject.toml": pyproject, "in/backend.py": BACKEND + hook}
    (folder / "sdist").mkdir()
    (folder / "out").mkdir()
    with tarfile.open(folder / "sdist" / "tiny-1.0.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"tiny-1.0/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    given = {"file_name": "tiny-1.0.tar.gz", "requires": [], "without": [], "after": ""} | order
    (folder / "order.json").write_text(json.dumps(given))
    monkeypatch.setenv("IN", str(folder))
    monkeypatch.setenv("OUT", str(folder / "out"))
    guest.main()
    with zipfile.ZipFile(folder / "out" / "tiny-1.0-py3-none-any.whl") as wheel:
        return wheel.read("tiny.txt").decode()


def left(guest: ModuleType, folder: Path, monkeypatch, **given) -> str:
    with pytest.raises(SystemExit) as caught:
        run(guest, folder, monkeypatch, **given)
    assert not list((folder / "out").iterdir())
    return str(caught.value)


def test_what_the_backend_asks_for_must_be_locked(guest, tmp_path, monkeypatch):
    told = left(guest, tmp_path, monkeypatch, hook=HOOK.format(["no-such-tool>=1.11", "packaging"]))
    assert told == "its build backend asks for no-such-tool>=1.11, and the locked tools have no no-such-tool"


def test_another_version_than_the_backend_asks_for(guest, tmp_path, monkeypatch):
    told = left(guest, tmp_path, monkeypatch, hook=HOOK.format(["packaging<1"]))
    have = metadata.version("packaging")
    assert told == f"its build backend asks for packaging<1, and the locked tools have packaging {have}"


def test_asking_leaves_nothing_that_the_wheel_could_see(guest, tmp_path, monkeypatch):
    assert run(guest, tmp_path, monkeypatch, hook=HOOK.format(["packaging"])) == "in pyproject.toml"
    assert not guest.ASKED.exists()


@pytest.mark.parametrize("answer", [[], ["no-such-tool; python_version<'3'"], ["Packaging"]])
def test_a_backend_that_is_content(guest, tmp_path, monkeypatch, answer):
    assert run(guest, tmp_path, monkeypatch, hook=HOOK.format(answer)) == "in pyproject.toml"


def test_the_hook_is_optional(guest, tmp_path, monkeypatch):
    assert run(guest, tmp_path, monkeypatch, static=["packaging"]) == "in pyproject.toml"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "its build backend asks for None: expected a list of requirements"),
        ("packaging", "its build backend asks for 'packaging': expected a list of requirements"),
        ([1], "its build backend asks for [1]: expected a list of requirements"),
        (["a b"], "its build backend asks for 'a b', which is no requirement: "),
    ],
)
def test_an_answer_that_is_none(guest, tmp_path, monkeypatch, answer, told):
    assert left(guest, tmp_path, monkeypatch, hook=HOOK.format(answer)).startswith(told)


def test_a_hook_that_fails(guest, tmp_path, monkeypatch):
    told = left(guest, tmp_path, monkeypatch, hook="def get_requires_for_build_wheel(settings=None): 1 / 0\n")
    assert told == "its build backend cannot say what it needs: get_requires_for_build_wheel ended 1"


def test_a_requirement_of_pyproject_that_is_none(guest, tmp_path, monkeypatch):
    assert left(guest, tmp_path, monkeypatch, static=["a b"]).startswith("the build needs 'a b', which is no")


def test_extras_ask_for_more(guest, monkeypatch):
    have = {"scm": ["toml>=1; extra == 'toml'", "other; extra == 'else'"], "toml": []}
    monkeypatch.setattr(guest.metadata, "version", lambda name: (have[name] and "1") or "0.5")
    monkeypatch.setattr(guest.metadata, "requires", lambda name: have[name])
    assert guest.unmet("scm", "x") == []
    assert guest.unmet("scm[toml]", "x") == ["x toml>=1; extra == 'toml', and the locked tools have toml 0.5"]
    have["scm"] = ["scm[toml]; extra == 'toml'"]
    assert guest.unmet("scm[toml]", "x") == [], "one that asks for itself"


def test_what_people_reviewed_goes_before_both(guest, tmp_path, monkeypatch):
    given = {"static": ["no-such-a"], "hook": HOOK.format(["no-such-b"])}
    assert run(guest, tmp_path, monkeypatch, **given, without=["no-such-a", "no-such-b"]) == "in pyproject.toml"


@pytest.mark.parametrize(
    ("requires", "told"),
    [
        (["packaging"], ""),
        (["no-such-c"], "environment.yml asks for no-such-c, and the locked tools have no no-such-c"),
    ],
)
def test_requires_of_environment_yml_are_instead_of_both(guest, tmp_path, monkeypatch, requires, told):
    given = {"static": ["no-such-a"], "hook": HOOK.format(["no-such-b"]), "requires": requires}
    if told:
        assert left(guest, tmp_path, monkeypatch, **given) == told
    else:
        assert run(guest, tmp_path, monkeypatch, **given) == "in pyproject.toml"


def test_build_without_is_read_and_reaches_the_build(tmp_path, monkeypatch):
    text = (
        "name: x\nchannels: [local]\ndependencies: [python]\nx-helioimages:\n  build-without: {My.Tiny: [Twine, A_b]}\n"
    )
    spec = parse_environment(text, tmp_path, "environments/x/environment.yml")
    assert spec.build_without == {"my-tiny": ("twine", "a-b")}
    assert spec.build == {}, "it says nothing of what is built from source"
    orders = []

    def build_wheel(workshop, sdist, order):
        orders.append(order)
        return wheels.BuiltWheel(file_name="x", sha256="0" * 64, size=1, path=tmp_path)

    monkeypatch.setattr(wheels, "build_wheel", build_wheel)
    sdist = Sdist(name="my-tiny", version="1.0", file_name="t.tar.gz", sha256="0" * 64, size=1)
    lock = PyPILock(python="3.13", platform=Platform.of("linux/amd64"), content_hash="", wheels=(), sdists=(sdist,))
    workshop = wheels.WheelWorkshop(
        store=None,
        builder=SimpleNamespace(image=str, abandon=str),
        tools=None,
        platform=Platform.of("linux/amd64"),
        epoch=0,
    )
    wheels.build_all(workshop, lock, spec, jobs=1)
    assert [(order.without, order.spec.requires) for order in orders] == [(("a-b", "twine"), ())]


def test_an_environment_without_build_tools(tmp_path):
    sdist = Sdist(name="tiny", version="1.0", file_name="t.tar.gz", sha256="0" * 64, size=1)
    lock = PyPILock(python="3.13", platform=Platform.of("linux/amd64"), content_hash="", wheels=(), sdists=(sdist,))
    nothing = WheelBuilder(
        root=tmp_path,
        store=None,
        builder=None,
        index=None,
        channel_dir=None,
        platform=Platform.of("linux/amd64"),
        jobs=1,
    )
    environment = EnvironmentSpec(name="x", path=tmp_path, channels=(), conda=(), pypi=())
    with pytest.raises(HelioError) as caught:
        nothing._build(environment, lock, ())
    error = caught.value
    assert (error.stage, error.where) == (Stage.LOCK, "environments/x/build-lock.toml")
    assert error.message == "there are no tools to build `tiny` with"
    assert error.hint == (
        "write what its build needs, e.g. [setuptools, wheel], in environments/x/environment.yml "
        "under x-helioimages.build.tiny.requires and run `buildimages lock x`"
    )

"""Containers whose run was killed are removed by the next one; everybody else's stay."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import docker.errors
import pytest

from helioimages.core.errors import HelioError
from helioimages.debian.lock import AptLock
from helioimages.engines import leftovers as owned
from helioimages.machine import processes as background
from helioimages.machine.store import Store
from helioimages.make.builder import Builder

TOOLS = Path(owned.__file__).parents[1]


class Container:
    def __init__(self, label: str, *, stubborn: bool = False, status: str = "exited") -> None:
        self.status = status
        self.labels, self.removed, self._stubborn = {"io.helioimages.owner": label}, False, stubborn

    def remove(self, *, force: bool) -> None:
        if self._stubborn:
            raise docker.errors.APIError("removal is in progress")
        self.removed = force


def client(*containers: Container) -> SimpleNamespace:
    def listed(*, all, filters, ignore_removed):
        assert (all, filters, ignore_removed) == (True, {"label": "io.helioimages.owner"}, True)
        return containers

    return SimpleNamespace(containers=SimpleNamespace(list=listed))


@pytest.fixture
def gone() -> str:
    """Return the label of a process that ended."""
    child = subprocess.Popen(["sleep", "3600"])
    started = background.find("x", child.pid).started
    child.kill()
    child.wait()
    return f"{owned._world()} {child.pid} {started}"


def test_those_of_killed_runs_go(gone):
    (mine,) = owned.label().values()
    world, pid, started = mine.rsplit(" ", 2)
    left, stubborn, last = Container(gone), Container(gone, stubborn=True), Container(gone)
    # Our number, given to us after its owner had ended.
    recycled = Container(f"{world} {pid} {int(started) - 1}")
    stay = [Container(mine), Container(gone.replace(world, "elsewhere pid:[1]")), Container("nonsense"), Container("")]
    owned.sweep(client(left, stubborn, *stay, recycled, last))
    assert [container.removed for container in (left, last, recycled)] == [True] * 3
    assert [container.removed for container in stay] == [False] * 4


def test_an_interrupted_process_leaves_none_of_its_own(gone):
    mine, other = Container("mine"), Container("mine", stubborn=True)

    def listed(*, all, filters, ignore_removed):
        (label,) = filters["label"]
        assert (all, ignore_removed, label) == (
            True,
            True,
            f"io.helioimages.owner={owned.label()['io.helioimages.owner']}",
        )
        return [other, mine]

    owned.abandon(SimpleNamespace(containers=SimpleNamespace(list=listed)))
    assert mine.removed


@pytest.mark.parametrize("ended", [True, False])
def test_what_people_started_is_ended_or_tidied(ended):
    mine, stubborn, works = Container("x"), Container("x", stubborn=True), Container("x", status="running")

    def listed(*, all, filters, ignore_removed):
        # Not by their state: podman refuses one that only docker knows.
        assert (all, filters, ignore_removed) == (True, {"label": ["io.helioimages.run=1"]}, True)
        return [stubborn, mine, works]

    assert owned.served(SimpleNamespace(containers=SimpleNamespace(list=listed)), ended=ended) == (1 if ended else 2)
    assert mine.removed
    assert works.removed != ended


def test_the_one_at_a_port_is_ended_and_no_other():
    mine, other, bare = (Container("x", status="running") for _ in range(3))
    for container, bound in ((mine, [{"HostIp": "127.0.0.1", "HostPort": "8889"}]), (other, [{"HostPort": "18889"}])):
        container.attrs = {"HostConfig": {"PortBindings": {"8888/tcp": bound}}}
    # As the engine tells of one without ports.
    bare.attrs = {"HostConfig": {"PortBindings": None}}
    listed = SimpleNamespace(list=lambda **_: [bare, other, mine])
    assert owned.served(SimpleNamespace(containers=listed), ended=False, port=8889) == 1
    assert (mine.removed, other.removed, bare.removed) == (True, False, False)


def test_an_engine_that_does_not_answer_is_no_matter():
    def refuse(**_):
        raise docker.errors.APIError("not today")

    owned.sweep(SimpleNamespace(containers=SimpleNamespace(list=refuse)))
    owned.abandon(SimpleNamespace(containers=SimpleNamespace(list=refuse)))


def test_every_container_is_made_with_a_label():
    """Without one, nobody finds it when its run was killed."""
    calls = [
        (path.relative_to(TOOLS).as_posix(), {keyword.arg for keyword in node.keywords})
        for path in TOOLS.rglob("*.py")
        if b"containers.create" in path.read_bytes()
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("containers.create")
    ]
    assert {path for path, _ in calls} >= {"engines/engine.py", "make/builder.py"}
    assert [path for path, keywords in calls if "labels" not in keywords] == []


@pytest.mark.parametrize("fault", [None, "start", "wait"])
def test_what_gives_a_folder_back_is_ours_and_goes(tmp_path, monkeypatch, fault):
    """The builder's root wrote into a folder of an ordinary user."""
    made, done = [], []

    def act(name):
        def run(**_):
            done.append(name)
            if name == fault:
                raise docker.errors.APIError("not today")

        return run

    def create(*_, **options):
        made.append(options["labels"])
        return SimpleNamespace(start=act("start"), wait=act("wait"), remove=act("remove"))

    engine = SimpleNamespace(
        images=SimpleNamespace(get=lambda _: None), containers=SimpleNamespace(create=create, list=lambda **_: ())
    )
    lock = AptLock(suite="trixie", architecture="amd64", timestamp=0, requested=(), packages=())
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    builder = Builder(engine, Store(tmp_path / "store"), lock, {})
    if fault is None:
        builder._give_back(tmp_path / "out")
    else:
        with pytest.raises(HelioError, match="cannot take over what the builder wrote"):
            builder._give_back(tmp_path / "out")
    assert made == [owned.label()]
    assert done[-1] == "remove"

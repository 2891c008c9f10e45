"""Containers whose run was killed are removed by the next one; everybody else's stay."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import docker.errors
import pytest

from helioimages.engines import leftovers as owned
from helioimages.machine import processes as background


class Container:
    def __init__(self, label: str, *, stubborn: bool = False) -> None:
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
    child = subprocess.Popen(["sleep", "60"])
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
    assert [one.removed for one in (left, last, recycled)] == [True] * 3
    assert [one.removed for one in stay] == [False] * 4


def test_an_engine_that_does_not_answer_is_no_matter():
    def refuse(**_):
        raise docker.errors.APIError("not today")

    owned.sweep(SimpleNamespace(containers=SimpleNamespace(list=refuse)))

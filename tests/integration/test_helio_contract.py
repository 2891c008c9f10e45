"""What helio promises beyond base, asked of the real image in a real engine."""

from __future__ import annotations

import json

import pytest

from helioimages.engines.engine import RunOptions
from helioimages.locks import read as locks

pytestmark = [pytest.mark.engine, pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def helio(workspace):
    return workspace.build(("helio",))["helio"]


@pytest.fixture(scope="module")
def reference(workspace, helio) -> str:
    with workspace.registry(None) as client:
        pushed = workspace.push(client, helio, "").reference
    workspace.engine.pull(pushed)
    return pushed


def shell(workspace, reference, script, **options) -> str:
    result = workspace.engine.run(reference, ["bash", "-c", script], RunOptions(**options))
    assert result.exit_code == 0, result.log
    return result.log


def test_pip_and_compilers(workspace, reference):
    log = shell(workspace, reference, "pip check; gfortran --version | head -1; gcc --version | head -1")
    assert log.startswith("No broken requirements found.\nGNU Fortran")


def test_children_are_supersets_at_the_same_versions(workspace):
    base, helio = (locks.load(workspace.root, workspace.checkout.images, name) for name in ("base", "helio"))
    for part in ("pypi.wheels", "conda.packages", "apt.packages"):
        outer, inner = part.split(".")
        ours = {package.name: package.version for package in getattr(getattr(helio, outer), inner)}
        parents = {package.name: package.version for package in getattr(getattr(base, outer), inner)}
        assert {name: ours.get(name) for name in parents} == parents


def test_a_stranger_with_an_empty_home_and_no_network(workspace, reference):
    """Packages that keep data in HOME at import, under an arbitrary user, a read-only root and no standard input."""
    script = """python -W ignore -c "
import json, pysat, pyspedas, spacepy, sunpy.map
from astropy.utils import iers
print(json.dumps([iers.conf.auto_download, iers.conf.auto_max_age]))" </dev/null 2>/dev/null | tail -1"""
    log = shell(
        workspace,
        reference,
        script,
        user="123456:0",
        read_only=True,
        tmpfs={"/home/jovyan": "rw,mode=0777", "/tmp": "rw"},
    )
    assert json.loads(log.splitlines()[-1])[0] is False

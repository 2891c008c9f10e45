"""Wheels beside a Python without its lock."""

from __future__ import annotations

from typing import Any

import pytest
from conda_support import VIRTUAL, conda_package

from helioimages.conda.lock import CondaLock
from helioimages.core.errors import HelioError, Stage
from helioimages.locks.pypi import _refuse_free_threaded


def _lock(build: str) -> CondaLock:
    package = conda_package("python", "3.13.5", build, channel="conda-forge")
    values: dict[str, Any] = {"content_hash": "0" * 64, "virtual_packages": {"linux-64": VIRTUAL}, "timestamp": 0}
    return CondaLock(channels=("conda-forge",), platforms=("linux-64",), packages=(package,), **values)


def test_wheels_for_a_free_threaded_python_are_refused_by_name() -> None:
    with pytest.raises(HelioError) as caught:
        _refuse_free_threaded(_lock("h4724d56_2_cp313t"), ["numpy"], "environments/x/environment.yml")
    assert caught.value.stage is Stage.LOCK
    assert caught.value.detail == "conda brings python-3.13.5-h4724d56_2_cp313t.conda, and there is a `pip` list"
    assert "`python=3.13.*=*_cp313`" in caught.value.hint


@pytest.mark.parametrize(
    ("build", "pip"), [("h4724d56_2_cp313t", []), ("h4724d56_102_cp313", ["numpy"]), ("h1", ["x"])]
)
def test_others_are_not(build: str, pip: list[str]) -> None:
    _refuse_free_threaded(_lock(build), pip, "environments/x/environment.yml")

"""One thing does not come from conda and from PyPI under two names."""

from __future__ import annotations

from typing import Any

import pytest
from conda_support import VIRTUAL, conda_package

from helioimages.conda import lock as conda_lock
from helioimages.conda.lock import CondaLock, CondaPackage
from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform
from helioimages.locks.pypi import ask_about_names, provided_by_conda, refuse_both
from helioimages.pypi.lock import PyPILock, Wheel

WHERE = "environments/x/environment.yml"


def package(name: str, *, depends: tuple[str, ...] = ("python >=3.13",), purls: tuple[str, ...] = ()) -> CondaPackage:
    return conda_package(
        name,
        channel="conda-forge",
        depends=depends,
        purls=purls,
    )


def lock(*packages: CondaPackage) -> CondaLock:
    values: dict[str, Any] = {"content_hash": "0" * 64, "virtual_packages": {"linux-64": VIRTUAL}, "timestamp": 0}
    return CondaLock(channels=("conda-forge",), platforms=("linux-64",), packages=packages, **values)


def wheels(*names: str) -> PyPILock:
    locked = tuple(
        Wheel(name=name, version="2.0", file_name=f"{name}-2.0-py3-none-any.whl", sha256="1" * 64, size=1)
        for name in names
    )
    return PyPILock(python="3.13", platform=Platform.of("linux/amd64"), content_hash="0" * 64, wheels=locked)


@pytest.mark.parametrize(
    ("conda", "pypi"),
    [
        ("python-graphviz", "graphviz"),
        ("pytorch", "torch"),
        ("py-opencv", "opencv-python"),
        ("python-duckdb", "duckdb"),
        ("tensorflow-base", "tensorflow"),
    ],
)
def test_pairs_are_seen_whichever_side_asks(conda: str, pypi: str) -> None:
    locked = lock(package(conda))
    with pytest.raises(HelioError) as caught:
        provided_by_conda(locked, [f"{pypi}>=1"], {}, WHERE)
    assert str(caught.value) == (
        f"a wheel would replace the conda package `{conda}`\n"
        f"  in {WHERE}\n"
        f"  conda brings {conda}-1.0-h0_0.conda, and the `pip` list asks for {pypi}\n\n"
        f"hint: say `{pypi}: conda` or `{pypi}: pypi` under x-helioimages.prefer; "
        f"if they are two things, say `{conda}: none` under x-helioimages.names"
    )
    # What other wheels need is conda's.
    assert provided_by_conda(locked, ["other"], {}, WHERE)[pypi] == "1.0"
    assert pypi not in provided_by_conda(locked, [pypi], {}, WHERE, {conda: "none"})
    with pytest.raises(HelioError) as caught:
        refuse_both(locked, wheels(pypi), WHERE)
    assert caught.value.message == f"a wheel would replace the conda package `{conda}`"
    refuse_both(locked, wheels(pypi), WHERE, {conda: "none"})


def test_a_program_is_no_distribution() -> None:
    locked = lock(package("graphviz", depends=("libexpat",)), package("python_abi"))
    assert provided_by_conda(locked, ["graphviz"], {}, WHERE) == {}


def test_the_channel_says_it() -> None:
    locked = lock(package("helio-c", depends=(), purls=("pkg:pypi/heliothing",)))
    assert provided_by_conda(locked, [], {}, WHERE) == {"heliothing": "1.0"}
    text = conda_lock.dump(locked)
    assert conda_lock.parse(text, "conda-lock.yml") == locked
    with pytest.raises(HelioError) as caught:
        conda_lock.parse(text.replace("pkg:pypi/heliothing", "heliothing"), "conda-lock.yml")
    assert "expected package URLs, not 'heliothing'" in str(caught.value)


def test_what_nobody_knows_is_asked() -> None:
    locked = lock(package("python-heliothing"), package("other-base"))
    with pytest.raises(HelioError) as caught:
        ask_about_names(locked, wheels("heliothing", "other", "numpy"), WHERE)
    assert caught.value.stage is Stage.LOCK
    assert str(caught.value) == (
        "conda and PyPI may bring one thing under two names\n"
        f"  in {WHERE} at x-helioimages.names\n"
        "  python-heliothing-1.0-h0_0.conda of conda, heliothing-2.0-py3-none-any.whl of PyPI\n"
        "  other-base-1.0-h0_0.conda of conda, other-2.0-py3-none-any.whl of PyPI\n\n"
        "hint: say `python-heliothing: heliothing` if they are the same, else `python-heliothing: none`"
    )
    ask_about_names(locked, wheels("heliothing"), WHERE, {"python-heliothing": "none"})
    ask_about_names(locked, wheels("numpy"), WHERE)

"""Match specs as environment.yml files have them: what is accepted means what conda means, what is not says what to
write, and what it says is accepted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from helioimages.conda.solve import CondaQuestion, solve
from helioimages.conda.spec import Refused, advice, understand
from helioimages.core.errors import HelioError
from helioimages.spec.environment import parse_environment

RECORDS = [
    ("python", "3.13.5", "h1_102_cp313", 102),
    ("python", "3.13.5", "h2_2_cp313t", 2),
    ("python", "3.9.20", "h1_0_cpython", 0),
    ("python", "3.12.1", "h1_0_cp312", 0),
    ("numpy", "1.26.0", "py313h_0", 0),
    ("numpy", "1.26.0", "py312h_0", 0),
    ("numpy", "1.26.4", "py313h_0", 0),
    ("numpy", "2.1.0", "py313h_0", 0),
    ("x", "2.3", "cuda129h_1", 1),
    ("x", "2.4", "cpu_h_0", 0),
    ("_libgcc_mutex", "0.1", "conda_forge", 0),
]


def _channel(folder: Path) -> Path:
    packages = {}
    for at, (name, version, build, number) in enumerate(RECORDS):
        packages[f"{name}-{version}-{build}.conda"] = {
            "name": name,
            "version": version,
            "build": build,
            "build_number": number,
            "subdir": "linux-64",
            "depends": [],
            "md5": f"{at:032x}",
            "sha256": f"{at:064x}",
            "size": 1,
        }
    for subdir, chosen in (("linux-64", packages), ("noarch", {})):
        (folder / subdir).mkdir(parents=True)
        document: dict[str, Any] = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": chosen}
        (folder / subdir / "repodata.json").write_text(json.dumps(document | {"repodata_version": 1}))
    return folder


def _solve(channel: Path, *specs: str) -> list[str]:
    question = CondaQuestion(
        specs=specs, platform="linux-64", virtual_packages={}, where="environments/x/environment.yml"
    )
    packages = solve(question, channel="conda-forge", repodata_dirs=[channel])
    return [f"{package.name} {package.version} {package.build}" for package in packages]


@pytest.mark.parametrize(
    ("spec", "chosen"),
    [
        ("python=3.13.*=*_cp313", "python 3.13.5 h1_102_cp313"),
        ("python=3.13.*=*_cp313t", "python 3.13.5 h2_2_cp313t"),
        ("python=3.9*", "python 3.9.20 h1_0_cpython"),
        ("python=3.12", "python 3.12.1 h1_0_cp312"),
        ("python 3.12.1", "python 3.12.1 h1_0_cp312"),
        ("python==3.12.1", "python 3.12.1 h1_0_cp312"),
        ("python~=3.12.0", "python 3.12.1 h1_0_cp312"),
        ("python >=3.9,<3.10.0a0", "python 3.9.20 h1_0_cpython"),
        ("python=3.9|3.12.*", "python 3.12.1 h1_0_cp312"),
        ("Python = 3.12", "python 3.12.1 h1_0_cp312"),
        ("numpy=1.26.0=py313h_0", "numpy 1.26.0 py313h_0"),
        ("numpy=1.26.0=py312*", "numpy 1.26.0 py312h_0"),
        ("numpy=1.26.*,<2", "numpy 1.26.4 py313h_0"),
        ("numpy 1.26.* py313*", "numpy 1.26.4 py313h_0"),
        ("numpy!=2.1.0", "numpy 1.26.4 py313h_0"),
        ("numpy<2=py313*", "numpy 1.26.4 py313h_0"),
        ("numpy[version='1.26.0',build='py312h_0']", "numpy 1.26.0 py312h_0"),
        ("numpy[version='>=1.26,<2']", "numpy 1.26.4 py313h_0"),
        ("x>=2=*cuda*", "x 2.3 cuda129h_1"),
        ("x[build=*cuda*]", "x 2.3 cuda129h_1"),
        ("x[build_number='>=1']", "x 2.3 cuda129h_1"),
        ("x=*=*cuda*", "x 2.3 cuda129h_1"),
        ("x=*", "x 2.4 cpu_h_0"),
        ("x  # why it is here", "x 2.4 cpu_h_0"),
        ("_libgcc_mutex=0.1=conda_forge", "_libgcc_mutex 0.1 conda_forge"),
        ("conda-forge::x=2.3", "x 2.3 cuda129h_1"),
        ("conda-forge/linux-64::x=2.3", "x 2.3 cuda129h_1"),
        ("conda-forge/linux-64::x[build=cuda*]", "x 2.3 cuda129h_1"),
        ("x[channel=conda-forge,build=cuda*]", "x 2.3 cuda129h_1"),
        ("x[channel='conda-forge']", "x 2.4 cpu_h_0"),
    ],
)
def test_accepted(tmp_path: Path, spec: str, chosen: str) -> None:
    assert _solve(_channel(tmp_path), spec) == [chosen]


REFUSED = {
    "pytorch::x": "asks for the channel `pytorch`, and this lock is of the channel `conda-forge`",
    "x[channel=pytorch]": "asks for the channel `pytorch`, and this lock is of the channel `conda-forge`",
    "https://conda.example.org/linux-64/x-2.3-cuda129h_1.conda": "names a file",
    "/srv/x-2.3-cuda129h_1.tar.bz2": "names a file",
    "x[url='https://conda.example.org/x.conda']": "names a file",
    "x=2.*.1": "regex constraints are not supported",
    "x=>2": "unable to parse version spec",
    "x= <3": "unable to parse version spec",
    "x===2.3": "unable to parse version spec",
    "x~2.3": "unable to parse version spec",
    "x^2.3": "is not a valid package name",
    "x=": "unable to parse version spec",
    "x[extra]": "invalid bracket",
    "x; python_version < '3.9'": "is not a valid package name",
    "py*": "looks like a glob",
    "*": "looks like a glob",
    "x >>3": "unable to parse version spec",
}


@pytest.mark.parametrize("spec", REFUSED)
def test_refused_and_what_to_write_is_accepted(tmp_path: Path, spec: str) -> None:
    channel = _channel(tmp_path)
    with pytest.raises(HelioError) as caught:
        _solve(channel, "python", spec)
    assert caught.value.message == "the conda section cannot be understood"
    assert caught.value.where == "environments/x/environment.yml"
    assert caught.value.detail.startswith(f"`{spec}`: ") and REFUSED[spec] in caught.value.detail
    offered = re.findall(r"`([^`]+)`", caught.value.hint.replace("under `pip:`", "").replace("a `*` can", ""))
    assert offered
    for text in offered:
        if "pip" in caught.value.hint:
            assert Requirement(text).name == "x"
        else:
            assert _solve(channel, text), text


def test_all_that_is_refused_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(HelioError) as caught:
        _solve(_channel(tmp_path), "x=>2", "x^2.3", "python")
    assert [line.partition(":")[0] for line in caught.value.detail.splitlines()][::1][0] == "`x=>2`"
    assert "`x^2.3`" in caught.value.detail
    assert caught.value.hint == "write `x>=2`; write `x>=2.3,<3`"


def test_a_channel_by_address_is_the_channel_of_its_name() -> None:
    assert understand("https://conda.example.org/conda-forge::x=1", "conda-forge") == "x=1"
    with pytest.raises(Refused):
        understand("https://conda.example.org/other::x=1", "conda-forge")


def test_advice_of_last_resort() -> None:
    assert advice("!") == "write match specs such as `python 3.13.*` in environment.yml"


EXPORTED = """\
name: pangeo
channels:
  - conda-forge
dependencies:
  - _libgcc_mutex=0.1=conda_forge
  - _openmp_mutex=4.5=2_gnu
  - blas=2.120=openblas
  - ca-certificates=2026.1.4=hbd8a1cb_0
  - cartopy=0.24.0=py313ha87cce1_0
  - dask=2026.1.0=pyhcf101f3_0
  - libblas=3.9.0=20_linux64_openblas
  - libgcc-ng=13.2.0=h807b86f_5
  - ncurses=6.4.20240210=h59595ed_0
  - openssl=3.2.1=hd590300_1
  - pyyaml=6.0.1=py313h2372a71_1
  - python=3.13.1=ha99a958_102_cp313
  - python_abi=3.13=5_cp313
  - tzdata=2024a=h0c530f3_0
  - xarray=2026.1.0=pyhd8ed1ab_0
  - pip:
      - argon2-cffi==23.1.0
      - zarr==3.0.0
prefix: /srv/conda/envs/notebook
"""


def test_an_exported_environment_locks_as_it_stands(tmp_path: Path) -> None:
    spec = parse_environment(EXPORTED, tmp_path, "environments/pangeo/environment.yml")
    records: dict[str, dict[str, Any]] = {"linux-64": {}, "noarch": {}}
    for at, item in enumerate(spec.conda):
        name, version, build = item.split("=")
        subdir = "noarch" if build.startswith("py") and "_" in build and not build.startswith("py3") else "linux-64"
        for other in (build, "other_9"):
            records[subdir][f"{name}-{version}-{other}.conda"] = {
                **{"name": name, "version": version, "build": other, "build_number": 0, "depends": []},
                **{"subdir": subdir, "md5": f"{at:032x}", "sha256": hashlib.sha256(other.encode()).hexdigest()},
            }
    for subdir, chosen in records.items():
        (tmp_path / subdir).mkdir()
        document = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": chosen, "repodata_version": 1}
        (tmp_path / subdir / "repodata.json").write_text(json.dumps(document))
    packages = _solve(tmp_path, *spec.conda)
    assert sorted(packages) == sorted(item.replace("=", " ") for item in spec.conda)
    assert spec.pypi == ("argon2-cffi==23.1.0", "zarr==3.0.0")

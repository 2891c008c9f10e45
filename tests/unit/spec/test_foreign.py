"""Files of other tools as one list of packages."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from helioimages.core.errors import HelioError, Stage
from helioimages.spec.foreign import Foreign, read_foreign

FILES = Path(__file__).parents[2] / "support" / "foreign"


def foreign(text: str, file: str = "environment.yml", subdir: str = "linux-64", **beside: str) -> Foreign:
    return read_foreign(text, file, subdir, lambda name: beside.get(name.removesuffix(".txt")))


def public(name: str) -> tuple[Foreign, dict[str, str]]:
    read = read_foreign((FILES / name).read_text(), name, "linux-64")
    return read, {item.name: item.bounds for item in read.items}


@pytest.mark.parametrize(
    ("spec", "name", "bounds", "build"),
    [
        ("xarray", "xarray", "", ""),
        ("python=3.11.*", "python", "==3.11.*", ""),
        ("python=3.9*", "python", "==3.9.*", ""),
        ("numpy=1.26", "numpy", "==1.26.*", ""),
        ("numpy=1.26.0=py313h_0", "numpy", "==1.26.0", "py313h_0"),
        ("numpy 1.26.0 py313h_0", "numpy", "==1.26.0", "py313h_0"),
        ("numpy==1.26.0", "numpy", "==1.26.0", ""),
        ("numpy>=1.26,<2", "numpy", "<2,>=1.26", ""),
        ("numpy=1.26.*,<2", "numpy", "<2,==1.26.*", ""),
        ("numpy >=1.26.*", "numpy", ">=1.26", ""),
        ("x~=2.1", "x", "~=2.1", ""),
        ("x!=2.1.*", "x", "!=2.1.*", ""),
        ("x>=2=*cuda*", "x", ">=2", "*cuda*"),
        ("x[build=*cuda*]", "x", "", "*cuda*"),
        ("x[version='>=2,<3']", "x", "<3,>=2", ""),
        ("conda-forge::x=2", "x", "==2.*", ""),
        ("x *", "x", "", ""),
        ("pangeo-notebook=2026.01.21", "pangeo-notebook", "==2026.01.21.*", ""),
    ],
)
def test_match_specs(spec: str, name: str, bounds: str, build: str) -> None:
    (item,) = foreign(f'dependencies: ["{spec}"]\n').items
    assert (item.side, item.name, item.build, item.lost) == ("conda", name, build, "")
    assert SpecifierSet(item.bounds) == SpecifierSet(bounds)


@pytest.mark.parametrize(
    ("spec", "lost"),
    [
        ("x=1.2|1.3", "`=1.2|1.3` gives alternatives, which PEP 508 cannot say"),
        ("x=2024h_1", "`=2024h_1` is not a version that PEP 440 knows"),
    ],
)
def test_what_pep_508_cannot_say(spec: str, lost: str) -> None:
    (item,) = foreign(f'dependencies: ["{spec}"]\n').items
    assert (item.bounds, item.lost) == ("", lost)


def test_an_environment_with_pip_lines_selectors_and_variables() -> None:
    read = foreign(
        "name: Mine\nchannels: [conda-forge]\nvariables: {A: b}\ndependencies:\n"
        "- numpy  # [linux64]\n- pywin32  # [win]\n- pip\n"
        "- pip:\n  - lib[x]>=2; python_version < '4'\n  - -e .\n  - git+https://host.example/x\n  - y @ https://z.example/y.whl\n"
    )
    assert (read.name, read.channels) == ("Mine", ("conda-forge",))
    assert [item.name for item in read.items] == ["numpy", "pip", "lib"]
    lib = read.items[-1]
    assert (lib.extras, lib.bounds, lib.marker) == (("x",), ">=2", 'python_version < "4"')
    assert [(row.what, row.why) for row in read.rows] == [
        ("-e .", "an option of pip"),
        ("git+https://host.example/x", "only released versions are locked"),
        ("y @ https://z.example/y.whl", "it is from an address: only released versions are locked"),
        ("A=b", "write it under `config.env` in image.toml"),
    ]


def test_requirements_with_files_hashes_and_constraints() -> None:
    text = "a==1 --hash=sha256:00 \\\n  --hash=sha256:11\n-r more.txt\n-c limits.txt\n-r gone.txt\n--index-url https://x.example\n"
    read = foreign(text, "requirements.txt", more="b>=2  # why\n", limits="numpy<2\n")
    assert [(item.name, item.bounds, item.limit, item.where) for item in read.items] == [
        ("a", "==1", False, "requirements.txt line 1"),
        ("b", ">=2", False, "more.txt line 1"),
        ("numpy", "<2", True, "limits.txt line 1"),
    ]
    assert [row.what for row in read.rows] == ["-r gone.txt", "--index-url https://x.example"]


def test_heliocloud_environment() -> None:
    read, bounds = public("heliocloud-environment.yml")
    assert (read.form, read.name) == ("conda environment", "heliocloud-notebook-base")
    assert bounds["sunpy"] == "==5.1.2.*" and bounds["s3fs"] == ">0.5" and bounds["voila"] == ""
    assert read.rows == ()


def test_heliocloud_explicit_lock() -> None:
    read, bounds = public("heliocloud-conda-linux-64.lock")
    assert (read.form, read.channels) == ("explicit conda lock", ("https://conda.example/conda-forge",))
    assert bounds["sunpy"] == "==5.1.2" and bounds["typing_extensions"] == "==4.13.2"
    assert bounds["tzdata"] == "==2025b0"
    assert {item.name: item.build for item in read.items}["numpy"] == "py311h64a7726_0"
    with pytest.raises(HelioError, match="cannot read"):
        read_foreign((FILES / "heliocloud-conda-linux-64.lock").read_text(), "x.lock", "linux-aarch64")


def test_heliocloud_requirements() -> None:
    read, bounds = public("heliocloud-requirements.txt")
    assert bounds["speasy"] == "==1.4.0" and bounds["smart_open"] == ""
    assert [item.extras for item in read.items if item.name == "smart_open"] == [("s3",)]


def test_pangeo_conda_lock_is_of_one_platform() -> None:
    read, bounds = public("pangeo-conda-lock.yml")
    assert read.form == "conda-lock" and read.channels == ("conda-forge",)
    assert len(bounds) == len(read.items)
    assert bounds["pangeo-notebook"] == "==2026.1.21"
    with pytest.raises(HelioError) as caught:
        read_foreign((FILES / "pangeo-conda-lock.yml").read_text(), "conda-lock.yml", "linux-aarch64")
    assert "it has no platform linux-aarch64, only linux-64, osx-arm64" in str(caught.value)


def test_pixi_lock() -> None:
    read, bounds = public("parselmouth-pixi.lock")
    assert read.form == "pixi.lock"
    assert bounds["oras"] == "==0.1.14" and bounds["rpds-py"] == "==2026.6.3" and bounds["python"] == "==3.12.0"
    assert [row.what for row in read.rows] == ["environment test", "parselmouth", "conda-oci-mirror"]


def test_pixi_lock_of_version_5() -> None:
    text = (
        "version: 5\nenvironments:\n  default:\n    channels:\n    - url: https://c.example/conda-forge/\n"
        "    packages:\n"
        "      linux-64:\n      - conda: https://c.example/conda-forge/noarch/tz-2-0.conda\n"
        "      - pypi: https://f.example/a-1-py3-none-any.whl\n"
        "packages:\n- kind: conda\n  name: tz\n  version: '2'\n  url: https://c.example/conda-forge/noarch/tz-2-0.conda\n"
        "- kind: pypi\n  name: a\n  version: '1'\n  url: https://f.example/a-1-py3-none-any.whl\n"
    )
    assert [(item.side, item.name, item.bounds) for item in foreign(text, "pixi.lock").items] == [
        ("conda", "tz", "==2"),
        ("pypi", "a", "==1"),
    ]


def test_pylock() -> None:
    read, bounds = public("enccs-pylock.toml")
    assert read.form == "pylock.toml" and bounds["attrs"] == "==25.4.0"
    assert {item.name: item.marker for item in read.items}["appnope"] == 'sys_platform == "darwin"'


def test_uv_lock_and_its_forks() -> None:
    read, bounds = public("plasmapy-uv.lock")
    assert bounds["astropy"] == "==7.2.2"
    assert [(row.what, row.why) for row in read.rows] == [
        ("plasmapy", "the project itself, which is not from an index")
    ]
    text = "version = 1\n" + "".join(
        f'[[package]]\nname = "numpy"\nversion = "{version}"\nsource = {{ registry = "https://i.example" }}\n'
        for version in "12"
    )
    (item,) = foreign(text, "uv.lock").items
    assert (item.bounds, item.lost) == ("", "the lock has several versions of it, each for other machines or Pythons")


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("dependencies: [", "environment.yml"),
        ("dependencies: 3\n", "environment.yml"),
        ("dependencies: [3]\n", "environment.yml"),
        ("- a\n", "environment.yml"),
        ("name: x\n", "environment.yml"),
        ("package: [{}]\nmetadata: {platforms: [linux-64]}\n", "conda-lock.yml"),
        ("environments: {default: {}}\n", "pixi.lock"),
        ("environments: {}\n", "pixi.lock"),
        ("lock-version = 1\n", "pylock.toml"),
        ("a = \n", "pylock.toml"),
        ("a = 1\n", "uv.lock"),
        ("", "requirements.txt"),
    ],
)
def test_what_is_none_of_them(text: str, file: str) -> None:
    with pytest.raises(HelioError) as caught:
        foreign(text, file)
    assert caught.value.stage is Stage.SPEC
    assert caught.value.message == f"cannot read `{file}`"
    assert "expected environment.yml, conda-lock.yml" in caught.value.hint


def test_addresses_among_the_dependencies_are_builds_of_a_channel() -> None:
    url = "https://conda.example/main/linux-64/x-1.0-h0_0.conda"
    read = foreign(f"dependencies: ['{url}#{'0' * 32}', 'https://conda.example/x']\n")
    assert [(item.name, item.bounds, item.build, item.text) for item in read.items] == [
        ("x", "==1.0", "h0_0", "x==1.0=h0_0")
    ]
    assert [(row.where, row.became, row.why) for row in read.rows] == [
        ("dependencies[0]", "x==1.0=h0_0", "packages are taken from a channel, by name"),
        ("dependencies[1]", "", "it is not an address of a conda package"),
    ]


def test_what_is_no_dependency_is_told() -> None:
    read = foreign("dependencies: [python, {npm: [left-pad]}, {python: 3.13}, {pip: }]\nmine: 1\n")
    assert [item.name for item in read.items] == ["python"]
    why = "it is neither a match spec nor a `pip` list"
    assert [(row.where, row.why) for row in read.rows] == [
        *((f"dependencies[{at}]", why) for at in (1, 2)),
        ("mine", "this key of environment.yml is not understood"),
    ]


def test_files_that_a_pip_list_names_are_read() -> None:
    text = "dependencies: [{pip: ['-r more.txt', '-c limits.txt', '-r gone.txt', six]}]\n"
    read = foreign(text, more="numpy>=2\nscipy\n", limits="scipy<2\n")
    assert [(item.name, item.where, item.limit) for item in read.items] == [
        ("numpy", "more.txt line 1", False),
        ("scipy", "more.txt line 2", False),
        ("scipy", "limits.txt line 1", True),
        ("six", "dependencies[0].pip[3]", False),
    ]
    assert [(row.what, row.why) for row in read.rows] == [("-r gone.txt", "an option of pip")]


@pytest.mark.parametrize(
    ("text", "key", "detail"),
    [
        ("dependencies: [{pip: numpy}]", "dependencies[0].pip", "expected a list, not a string: 'numpy'"),
        ("dependencies: [{pip: [3]}]", "dependencies[0].pip[0]", "expected a string, not a whole number: 3"),
        ("dependencies: ['']", "dependencies[0]", "expected a match spec or a `pip` list, not ''"),
        ("dependencies: [null]", "dependencies[0]", "expected a match spec or a `pip` list, not None"),
        ("dependencies: numpy", "dependencies", "expected a list, not a string: 'numpy'"),
        ("dependencies: []\nchannels: conda-forge", "channels", "expected a list, not a string: 'conda-forge'"),
        ("dependencies: []\nchannels: [{url: x}]", "channels[0]", "expected a string, not a mapping: {'url': 'x'}"),
        ("dependencies: []\nvariables: [x]", "variables", "expected a mapping, not a list: ['x']"),
    ],
)
def test_another_shape_is_refused(text: str, key: str, detail: str) -> None:
    with pytest.raises(HelioError) as caught:
        foreign(text + "\n")
    assert (caught.value.where, caught.value.detail) == (f"environment.yml at {key}", detail)


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("x.lock", "@EXPLICIT\nhttps://[c.example/a-1-0.conda\n"),
        ("environment.yml", "dependencies: ['https://[c.example/a-1-0.conda']\n"),
        ("pixi.lock", "environments: {default: {packages: {linux-64: [{pypi: 'https://[f.example/a-1.whl'}]}}}\n"),
    ],
)
def test_what_is_no_address_is_told_as_such(file: str, text: str) -> None:
    (row,) = foreign(text, file).rows
    assert row.why.startswith(("it is not an address", "it is not from an index"))

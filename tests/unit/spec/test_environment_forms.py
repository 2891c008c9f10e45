"""environment.yml as `conda env export`, conda-lock and people write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.core.platform import SUBDIRS
from helioimages.spec.environment import EnvironmentSpec, parse_environment
from helioimages.spec.selectors import select

FILE = "environments/x/environment.yml"


def _parse(text: str, files: dict[str, str] | None = None) -> EnvironmentSpec:
    return parse_environment("name: x\n" + text, Path("x"), FILE, (files or {}).get)


def _error(text: str, files: dict[str, str] | None = None) -> HelioError:
    with pytest.raises(HelioError) as caught:
        _parse(text, files)
    return caught.value


def _pip(*lines: str) -> str:
    return "dependencies:\n  - python\n  - pip:\n" + "".join(f"    - {line}\n" for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "dependencies:\t# what we need\n  - python\t# 3.13\n  - six \t # why\n",
        "dependencies:\n\t# what we need\n  - python\n\t\n  - six\n\t",
        "dependencies:\n  -\tpython\n  - \tsix\t\n",
        "dependencies:\t[python,\t'six'\t]\t\n",
        "dependencies:\r\n  - python\t# x\r\n\t\r\n  - six\t\r\n",
    ],
)
def test_tabs_separate(text: str) -> None:
    """Spec: YAML 1.2, section 6.2; PyYAML alone refuses them."""
    assert _parse(text).conda == ("python", "six")


@pytest.mark.parametrize("text", ["dependencies:\n\t- python\n", "dependencies:\n  - python\n\t- six\n"])
def test_tabs_do_not_indent(text: str) -> None:
    assert "'\\t'" in _error(text).detail


def test_what_conda_exports() -> None:
    spec = _parse(
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "dependencies:\n  - _libgcc_mutex=0.1=conda_forge\n  - numpy=1.26.0=py313h_0\n  - pip:\n      - six==1.16.0\n"
        "prefix: /srv/conda/envs/x\n"
    )
    assert spec.channels == ("conda-forge", "nodefaults")
    assert spec.conda == ("_libgcc_mutex=0.1=conda_forge", "numpy=1.26.0=py313h_0")
    assert spec.pypi == ("six==1.16.0",)


def test_keys_without_a_value_are_absent() -> None:
    text = "name:\nchannels:\ndependencies:\n  - python\n  - pip:\nprefix:\nvariables:\nplatforms:\n"
    spec = parse_environment(text, Path("environments/x/environment.yml"), FILE)
    assert (spec.name, spec.channels, spec.conda, spec.pypi) == ("x", (), ("python",), ())
    # Without a folder to be named after.
    with pytest.raises(HelioError, match="expected this key, found nothing"):
        parse_environment(text, Path("environment.yml"), FILE)
    assert parse_environment("dependencies:\n", Path("environments/x/environment.yml"), FILE).conda == ()


@pytest.mark.parametrize("item", ["''", "{python: 3.13}", "{npm: [left-pad]}", "3.13", "null", "{pip: [], npm: []}"])
def test_what_is_no_dependency_is_refused(item: str) -> None:
    error = _error(f"dependencies: [python, {item}]\n")
    assert error.where == f"{FILE} at dependencies[1]"
    assert error.detail.startswith("expected a conda match spec or one `pip` list, not ")


def test_keys_of_conda_lock() -> None:
    assert _parse("dependencies: [python]\nplatforms: [osx-64, linux-64]\ncategory: main\n").conda == ("python",)
    error = _error("dependencies: [python]\nplatforms: [osx-64]\n")
    assert (error.where, error.detail) == (
        f"{FILE} at platforms",
        "expected one of linux-64, linux-aarch64, not osx-64",
    )
    assert _error("dependencies: [python]\ncategory: dev\n").hint == "make an environment of its own of it"


def test_variables_are_refused_with_the_place_for_them() -> None:
    error = _error("dependencies: [python]\nvariables:\n  A: b\n")
    assert (error.where, error.hint) == (f"{FILE} at variables", "write them under `config.env` in image.toml")
    assert _error("dependencies: [python]\nvariables: {A: 1}\n").hint == error.hint


def test_lines_for_a_platform() -> None:
    spec = _parse(
        "dependencies:\n"
        "  - python\n"
        "  - make  # [unix]\n"
        "  - mkl  # [linux64]\n"
        "  - openblas  # Arm has no MKL [aarch64]\n"
        "  - m2w64-toolchain  # [win]\n"
        "  - appnope # [osx]\n"
        "  - pip:\n"
        "      - intel-openmp  # [linux64]\n"
        "      - moto[s3]  # for tests (moto[server] is large)\n"
    )
    amd, arm = spec.for_platform("linux-64"), spec.for_platform("linux-aarch64")
    assert amd.conda == ("python", "make", "mkl")
    assert arm.conda == ("python", "make", "openblas")
    assert (amd.pypi, arm.pypi) == (("intel-openmp", "moto[s3]"), ("moto[s3]",))
    assert set(spec.selected) == set(SUBDIRS)


def test_without_lines_for_a_platform_there_is_one_answer() -> None:
    spec = _parse("dependencies: [python]\n")
    assert spec.selected == {} and spec.for_platform("linux-aarch64") is spec


def test_a_selector_that_is_none() -> None:
    error = _error("dependencies:\n  - python\n  - x  # [py38]\n")
    assert (error.message, error.where) == ("`[py38]` is not a selector of platforms", f"{FILE}, line 4")


@pytest.mark.parametrize(
    "line", ["# - x  # [win]", "  - x", "  - x  # see [1] and [2]", "  - 'x # y'", "name: x # [win]"]
)
def test_other_comments_are_comments(line: str) -> None:
    assert select(line, "linux-64", FILE) == line


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=1.26,<2",
        "dask[complete]~=2026.1",
        "'tomli>=2; python_version < \"3.11\"'",
        "six (==1.16)",
        "Foo.Bar_baz!=1.0,==1.*",
    ],
)
def test_requirements_of_pep_508(line: str) -> None:
    assert _parse(_pip(line)).pypi == (line.strip("'"),)


def test_files_of_pip() -> None:
    files = {
        "requirements.txt": "# ours\nsix>=1.16  # old\n\nnumpy \\\n  >=1.26\n-r more.txt\n-c limits.txt\n",
        "more.txt": "--requirement=last.txt\n",
        "last.txt": "idna\n",
        "limits.txt": "urllib3<3\n",
    }
    spec = _parse(_pip("-r requirements.txt", "certifi"), files)
    assert spec.pypi == ("six>=1.16", "numpy >=1.26", "idna", "certifi")
    assert spec.constraints == ("urllib3<3",)


@pytest.mark.parametrize(
    ("line", "detail", "hint"),
    [
        ("-r absent.txt", "there is no file 'absent.txt' beside", "put the file beside it"),
        ("-r ../other/x.txt", "names no file beside", "put the file beside it"),
        ("-r https://example.org/x.txt", "names no file beside", "put the file beside it"),
        ("-r loop.txt", "is named by itself", ""),
        ("-e .", "is an option of pip", "only packages of the configured index can be locked"),
        ("--extra-index-url https://example.org", "is an option of pip", "set the index in uv's or pip's own"),
        ("--pre", "is an option of pip", "ask for the pre-release by its version"),
        ("--no-binary=six", "is an option of pip", "name the package under x-helioimages.build"),
        ("six==1.16.0 --hash=sha256:00", "has the option --hash", "write `six==1.16.0`"),
        ("git+https://example.org/six.git", "is a direct reference", "only packages of the configured index"),
        ("six @ https://example.org/six.whl", "is a direct reference", "only packages of the configured index"),
        ("https://example.org/six-1.16.0-py3-none-any.whl", "is a direct reference", "write `six==1.16.0`"),
        ("https://example.org/six-1.16.0-py3-none-any-cu130.whl", "is a direct reference", "write `six==1.16.0`"),
        ("./six", "is a direct reference", "only packages of the configured index"),
        ("six=1.16", "is not a PEP 508 requirement", ""),
    ],
)
def test_lines_of_pip_that_cannot_be_locked(line: str, detail: str, hint: str) -> None:
    error = _error(_pip(line), {"loop.txt": "-r loop.txt\n"})
    assert error.where.startswith(f"{FILE} at dependencies[1].pip[0]")
    assert detail in error.detail and hint in error.hint

"""An environment of ours from another tool's file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pypi_support import IndexServer, wheel_bytes

from buildimages import VERBS
from helioimages.core.platform import Platform
from helioimages.locks import locking
from helioimages.locks.importing import Imported, Target, name_of, translate
from helioimages.machine.store import Store
from helioimages.pypi.index import IndexFile
from helioimages.spec.environment import parse_environment
from helioimages.spec.foreign import Foreign, read_foreign
from helioimages.verbs.command import program

FILES = Path(__file__).parents[2] / "support" / "foreign"
WHY_NOT_PYTHON = (
    "it is not a Python package: wheels bring the C libraries that they need, programs can come from Debian "
    "(`debian.packages` in image.toml)"
)


def target(**options: str) -> Target:
    values = {
        "name": "mine",
        "channel": "local",
        "python": "3.13",
        "platform": Platform.of("linux/amd64"),
        "glibc": "2.41",
    }
    return Target(**(values | options))


def foreign(*lines: str, file: str = "environment.yml") -> Foreign:
    head = "" if file.endswith(".txt") else "dependencies:\n"
    mark = "" if file.endswith(".txt") else "- "
    return read_foreign(head + "".join(f"{mark}{line}\n" for line in lines), file, "linux-64")


def index(**projects: Sequence[str]):
    """Return an index of file names; ``-`` is written ``_`` in names of projects."""

    def ask(names: Sequence[str]) -> Mapping[str, Sequence[IndexFile]]:
        files_by_name = {name.replace("_", "-"): files for name, files in projects.items()}
        return {
            name: [
                IndexFile(name=file.removeprefix("yanked "), url="", yanked=file.startswith("yanked "))
                for file in files_by_name.get(name, ())
            ]
            for name in names
        }

    return ask


def test_conda_names_become_pypi_names() -> None:
    imported = translate(
        foreign(
            "python=3.13", "pytorch>=2", "python-graphviz", "graphviz", "matplotlib-base=3.10", "dask", "dask-core"
        ),
        target(),
        None,
    )
    assert imported.conda == ("python=3.13",)
    assert imported.pypi == ("torch>=2", "graphviz", "matplotlib==3.10.*", "dask")
    assert imported.kept == 6
    assert [(row.what, row.became, row.why) for row in imported.rows] == [("graphviz", "", WHY_NOT_PYTHON)]


@pytest.mark.parametrize(
    ("spec", "same"),
    [
        ("python", True),
        ("python=3.13", True),
        ("python=3.13.*", True),
        ("python=3.13.2", False),
        ("python>=3.11", True),
        ("python=3", True),
        ("python=3.11", False),
        ("python<3.13", False),
    ],
)
def test_the_local_channel_has_one_python(spec: str, same: bool) -> None:
    imported = translate(foreign(spec), target(), None)
    assert imported.conda == ("python=3.13",)
    assert [row.why for row in imported.rows] == (
        [] if same else ["the channel local has Python 3.13; --channel names another one"]
    )


def test_another_channel_keeps_conda_packages() -> None:
    imported = translate(
        foreign("python=3.11", "conda-forge::gdal=3.9", "pip: [lib]"), target(channel="conda-forge"), None
    )
    assert imported.conda == ("python=3.11", "gdal=3.9")
    assert imported.pypi == ("lib",)
    assert imported.rows == ()


def with_channels(*channels: str, specs: Sequence[str] = ("python=3.13", "gdal")) -> Foreign:
    text = json.dumps({"channels": list(channels), "dependencies": list(specs)})
    return read_foreign(text, "environment.yml", "linux-64")


OTHER_MACHINE = "which channels it means is a setting of each machine: add the URLs of those that are meant"


@pytest.mark.parametrize(
    ("channels", "kept", "rows"),
    [
        (("pyviz", "conda-forge"), ("pyviz", "conda-forge"), []),
        (("conda-forge", "nodefaults"), ("conda-forge", "nodefaults"), []),
        (("nodefaults",), ("conda-forge", "nodefaults"), []),
        ((), ("conda-forge",), []),
        (("conda-forge", "defaults"), ("conda-forge",), [("defaults", "", OTHER_MACHINE)]),
        (("defaults",), ("conda-forge",), [("defaults", "", OTHER_MACHINE)]),
        (("https://conda.example.org/lab/", "a", "a"), ("https://conda.example.org/lab", "a"), []),
        (
            ("https://me:secret@conda.example.org/t/tk-1/lab",),
            ("https://conda.example.org/lab",),
            [
                (
                    "https://conda.example.org/lab",
                    "https://conda.example.org/lab",
                    "a login is not part of an environment: put it into ~/.rattler/credentials.json",
                )
            ],
        ),
        (
            ("./mine", "local", "conda-forge/label/rc"),
            ("conda-forge/label/rc",),
            [
                (
                    "./mine",
                    "",
                    "it is a folder of one machine: give it a name and `lock` its folder, --channel-dir NAME=FOLDER",
                ),
                (
                    "local",
                    "",
                    "it is a folder of the machine where packages were built, and here the name of another channel",
                ),
            ],
        ),
    ],
)
def test_channels_are_the_file_s(channels: tuple[str, ...], kept: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    imported = translate(with_channels(*channels), target(channel="conda-forge"), None)
    assert imported.channels == kept
    assert [(row.what, row.became, row.why) for row in imported.rows] == rows
    made = parse_environment(imported.environment("environment.yml"), Path(), "environment.yml")
    assert made.channels == kept
    assert imported.as_data()["channels"] == list(kept)
    assert "secret" not in str(imported) and "tk-1" not in str(imported)


def test_with_the_local_channel_the_file_s_are_told() -> None:
    imported = translate(with_channels("pyviz", "conda-forge", "nodefaults", specs=("python=3.13",)), target(), None)
    assert imported.channels == ("local",)
    assert [(row.what, row.where, row.became) for row in imported.rows] == [
        ("pyviz", "channels[0]", "local"),
        ("conda-forge", "channels[1]", "local"),
    ]


def test_specs_keep_the_channel_that_they_name() -> None:
    specs = ("conda-forge::python=3.13", "pyviz::panel>=1", "lab/linux-64::tool", "gdal[channel=x]")
    imported = translate(with_channels("pyviz", "conda-forge", specs=specs), target(channel="conda-forge"), None)
    assert imported.channels == ("pyviz", "conda-forge", "lab")
    assert imported.conda == specs
    assert [(row.what, row.became, row.why) for row in imported.rows] == [
        ("lab/linux-64::tool", "lab/linux-64::tool", "`lab` is added to channels, as the last")
    ]


def test_several_specs_of_one_package_are_all_kept() -> None:
    specs = ("python>=3.13", "numpy>=1.26,<2", "numpy[version='!=1.26.1']", "numpy>=1.26,<2", "python<3.14")
    imported = translate(with_channels("conda-forge", specs=specs), target(channel="conda-forge"), None)
    assert imported.conda == ("python>=3.13", "python<3.14", "numpy>=1.26,<2", "numpy[version='!=1.26.1']")


def test_channels_of_an_explicit_lock_have_their_host_unless_conda_s() -> None:
    lines = (
        "@EXPLICIT",
        "https://conda.anaconda.org/conda-forge/linux-64/python-3.13.5-h1_0.conda#" + "0" * 32,
        "https://conda.example.org/lab/noarch/tool-1.0-h1_0.conda",
    )
    asked = read_foreign("\n".join(lines), "conda-linux-64.lock", "linux-64")
    assert asked.channels == ("conda-forge", "https://conda.example.org/lab")


def test_what_the_index_has_not() -> None:
    ask = index(
        same=["same-1.0-py3-none-any.whl", "same-2.0-py3-none-any.whl"],
        older=["older-1.0-py3-none-any.whl"],
        newer=["newer-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "newer-1.2-cp313-cp313-manylinux_2_17_x86_64.whl"],
        source=["source-1.0.tar.gz"],
        away=["yanked away-1.0-py3-none-any.whl", "away-2.0-py3-none-any.whl"],
        windows=["windows-1.0-cp313-cp313-win_amd64.whl"],
    )
    lines = ("same==1.0", "older==3.0", "newer==1.0", "source==1.0", "gone", "away==1.0", "windows", "none>=1")
    imported = translate(foreign(*lines, file="requirements.txt"), target(), ask)
    assert imported.pypi == ("same==1.0", "older", "newer>=1.0", "away>=1.0")
    assert [(row.what, row.became, row.why) for row in imported.rows] == [
        ("older==3.0", "older", "the package index has no such version"),
        ("newer==1.0", "newer>=1.0", "of this version there is no wheel for Python 3.13"),
        (
            "source==1.0",
            "",
            "it is there as source only: name it in x-helioimages.build, see docs/reference.md",
        ),
        ("gone", "", "the package index has no project of this name"),
        ("away==1.0", "away>=1.0", "the package index has no such version"),
        ("windows", "", "it has no files for Python 3.13"),
        ("none>=1", "", "the package index has no project of this name"),
    ]
    assert imported.kept == 1


def test_what_pypi_cannot_say_is_a_row() -> None:
    imported = translate(foreign("x=1|2", "y>=2=*cuda*", "z=1.0=h0_0"), target(), None)
    assert imported.pypi == ("x", "y>=2", "z==1.0")
    assert [(row.what, row.became) for row in imported.rows] == [("x=1|2", "x"), ("y>=2=*cuda*", "y>=2")]


def test_extras_markers_and_limits() -> None:
    asked = read_foreign(
        "a[x]>=1\na[y]<3\nb; python_version < '3.12'\n-c limits\n", "r.txt", "linux-64", lambda _: "c<2\n"
    )
    result = translate(asked, target(), None)
    assert result.pypi == ("a[x,y]<3,>=1", 'b; python_version < "3.12"')
    assert result.constraints == ("c<2",)


def test_the_text_is_an_environment_of_ours(tmp_path: Path) -> None:
    imported = translate(foreign("python=3.13", "numpy", "c", "r-base"), target(), None)
    text = imported.environment("environment.yml")
    assert text.startswith("# Made of environment.yml (conda environment) by `buildimages import`.")
    spec = parse_environment(text, tmp_path, "environments/mine/environment.yml")
    assert (spec.name, spec.channels, spec.conda, spec.pypi) == ("mine", ("local",), ("python=3.13",), ("numpy", "c"))
    assert spec.virtual_packages == {"__glibc": "2.41"}
    child = translate(foreign("numpy"), target(parent="base"), None).environment("x")
    assert parse_environment(child, tmp_path, "e").parent == "base"
    assert imported.lines() == (
        "mine: conda environment, 3 packages; 3 as they were, 1 not",
        f"  left out: {WHY_NOT_PYTHON}:\n    r-base",
    )
    assert imported.as_data()["rows"][0]["what"] == "r-base"


@pytest.mark.parametrize(
    ("own", "path", "name"),
    [
        ("HelioCloud_base 2", "/x/y.yml", "heliocloud-base-2"),
        ("", "/home/Pangeo_Notebook/conda-lock.yml", "pangeo-notebook"),
        ("", "conda-lock.yml", "imported"),
        ("__", "a/b", "imported"),
        ("x" * 90, "a/b", "x" * 63),
    ],
)
def test_names(own: str, path: str, name: str) -> None:
    assert name_of(Foreign(form="f", name=own), path) == name


@pytest.mark.parametrize("file", sorted(path.name for path in FILES.iterdir() if path.suffix != ".md"))
def test_every_public_file_becomes_an_environment(file: str, tmp_path: Path) -> None:
    imported: Imported = translate(read_foreign((FILES / file).read_text(), file, "linux-64"), target(), None)
    spec = parse_environment(imported.environment(file), tmp_path, "environments/mine/environment.yml")
    assert spec.conda == ("python=3.13",)
    assert len(spec.pypi) >= 3
    # Nothing is lost without a word.
    dropped = {row.what for row in imported.rows if not row.became}
    asked = read_foreign((FILES / file).read_text(), file, "linux-64")
    assert len(asked.items) + len(asked.rows) <= imported.kept + len(imported.rows) + 2, dropped


def test_the_verb_writes_an_environment_that_locks(
    tmp_path: Path, package_index: IndexServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIOIMAGES_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("helioimages.pypi.index._FRESH", -1)
    root = tmp_path / "checkout"
    (root / "channel").mkdir(parents=True)
    recipes = Path(__file__).parents[3] / "channel" / "recipes.toml"
    (root / "channel" / "recipes.toml").write_text(recipes.read_text())
    for version in ("1.0", "2.0"):
        data = wheel_bytes({}, name="graphviz", version=version)
        package_index.add(f"graphviz-{version}-py3-none-any.whl", data)
    source = tmp_path / "Their_Env" / "environment.yml"
    source.parent.mkdir()
    source.write_text("channels: [conda-forge]\ndependencies: [python=3.13, python-graphviz=1.0, graphviz, other=1]\n")

    def call(*options: str) -> Result:
        return CliRunner().invoke(program(VERBS), ["import", str(source), "--root", str(root), *options])

    done = call()
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (
        "their-env: conda environment, 2 packages; 2 as they were, 2 not\n"
        "  conda-forge -> local: conda brings the interpreter alone, from there; "
        "--channel conda-forge keeps channels and packages (channels[0])\n"
        f"  left out: {WHY_NOT_PYTHON}:\n    graphviz\n"
        "  left out: the package index has no project of this name:\n    other=1\n"
        "next: buildimages lock their-env\n"
    )
    again = call()
    assert again.exit_code == 2 and "give the new one another name with --name" in again.stderr
    data = json.loads(call("--force", "--json").stdout)
    assert (data["environment"], data["kept"]) == ("environments/their-env/environment.yml", 2)
    assert "there is no environment `base`" in call("--name", "x", "--parent", "base").stderr
    assert "an environment cannot be called `A B`" in call("--name", "A B").stderr
    assert "cannot read `none.txt`" in CliRunner().invoke(program(VERBS), ["import", "none.txt"]).stderr
    channel = tmp_path / "channel" / "linux-64"
    channel.mkdir(parents=True)
    python = {"name": "python", "version": "3.13.5", "build": "h0_0", "build_number": 0, "subdir": "linux-64"}
    python |= {"depends": [], "md5": "0" * 32, "sha256": "0" * 64, "size": 1, "timestamp": 1_700_000_000_000}
    document = {"info": {"subdir": "linux-64"}, "packages": {}, "packages.conda": {"python-3.13.5-h0_0.conda": python}}
    (channel / "repodata.json").write_text(json.dumps(document))
    wish = locking.Wish(channel_dirs=(tmp_path / "channel",))
    locking.lock(root, Store(tmp_path / "store"), ["their-env"], wish)
    lock = (root / "environments" / "their-env" / "pylock.toml").read_text()
    assert 'name = "graphviz"\nversion = "1.0"' in lock

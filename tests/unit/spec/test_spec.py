from __future__ import annotations

from pathlib import Path

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.machine.checkout import load_environments, load_images
from helioimages.spec.environment import BuildSpec, EnvironmentSpec, parse_environment
from helioimages.spec.image import parse_image
from helioimages.spec.lineage import lineage

GOOD = """\
name: helio
channels: [local]
dependencies:
  - python=3.13.*
  - pip:
      - sunpy>=7
x-helioimages:
  parent: base
  constraints: ["kaipy!=1.1.5"]
  prefer: {numpy: conda}
  build:
    igrf: {requires: ["setuptools==80.9"], env: {FC: gfortran}, reason: Fortran}
"""


def read(text: str) -> EnvironmentSpec:
    return parse_environment(text, Path("x"), "environments/helio/environment.yml")


def test_a_whole_environment():
    env = read(GOOD)
    assert env.conda == ("python=3.13.*",)
    assert env.pypi == ("sunpy>=7",)
    assert (env.parent, env.constraints, env.prefer) == ("base", ("kaipy!=1.1.5",), {"numpy": "conda"})
    assert env.build["igrf"] == BuildSpec(requires=("setuptools==80.9",), env={"FC": "gfortran"}, reason="Fortran")


@pytest.mark.parametrize(
    ("old", "new", "where", "detail"),
    [
        (
            "name: helio",
            "name: Helio",
            "at name",
            "expected lower-case letters, digits and dashes (at most 63), not 'Helio'",
        ),
        ("channels: [local]", "channels: local", "at channels", "expected a list, not a string: 'local'"),
        ("[local]", "[1]", "at channels[0]", "expected a string, not a whole number: 1"),
        ("name: helio\n", "", "at name", "expected this key, found nothing"),
        ("parent: base", "parnet: base", "at x-helioimages.parnet", "this key is not understood"),
        ("numpy: conda", "numpy: apt", "at x-helioimages.prefer.numpy", "expected `conda` or `pypi`, not 'apt'"),
        ("sunpy>=7", "sunpy>=7 @", "at dependencies[1].pip[0]", "'sunpy>=7 @' is not a PEP 508 requirement"),
        ("sunpy>=7", "sunpy @ file:///x", "at dependencies[1].pip[0]", "'sunpy @ file:///x' is a direct reference"),
        ("reason: Fortran", "why: Fortran", "at x-helioimages.build.igrf.why", "this key is not understood"),
        ("  - pip:", "  - pip: []\n  - pip:", "at dependencies[2]", "expected a conda match spec or one `pip` list"),
        ("channels:", "name: twice\nchannels:", "at line 2", "duplicate key 'name'"),
        ("channels: [local]", "channels: [local", "at line 3", ""),
    ],
)
def test_what_is_not_understood_names_file_and_key(old, new, where, detail):
    assert old in GOOD
    with pytest.raises(HelioError) as caught:
        read(GOOD.replace(old, new, 1))
    assert caught.value.stage is Stage.SPEC
    assert caught.value.where == f"environments/helio/environment.yml {where}"
    assert caught.value.detail.startswith(detail)


def test_the_committed_files_are_read():
    root = Path(__file__).parents[3]
    environments, images = load_environments(root), load_images(root)
    for name, image in images.items():
        assert image.environment in environments
        if image.parent:
            assert environments[image.environment].parent == images[image.parent].environment, name
    assert [s.name for s in lineage(images, "helio")] == ["base", "helio"]


def checkout(tmp_path: Path, **parents: str | None) -> Path:
    for name, parent in parents.items():
        folder = tmp_path / "environments" / name
        folder.mkdir(parents=True)
        ours = f"x-helioimages: {{parent: {parent}}}\n" if parent else ""
        (folder / "environment.yml").write_text(f"name: {name}\nchannels: [local]\ndependencies: []\n{ours}")
    return tmp_path


def test_parents_come_first(tmp_path):
    assert list(load_environments(checkout(tmp_path, a="b", b="c", c=None))) == ["c", "b", "a"]


def test_a_circle_and_a_missing_parent(tmp_path):
    with pytest.raises(HelioError) as caught:
        load_environments(checkout(tmp_path, a="b", b="a"))
    assert caught.value.detail == "a -> b -> a"
    with pytest.raises(HelioError) as caught:
        load_environments(checkout(tmp_path / "two", a="nobody"))
    assert caught.value.message == "there is no `nobody`"
    assert caught.value.where == "environments/a/environment.yml at x-helioimages.parent"


def test_a_folder_with_another_name(tmp_path):
    checkout(tmp_path, a=None)
    (tmp_path / "environments" / "a").rename(tmp_path / "environments" / "b")
    with pytest.raises(HelioError, match="has the name of another folder"):
        load_environments(tmp_path)


def test_image_errors_name_the_key():
    text = 'name = "x"\ntitle = "t"\ndescription = "d"\nenvironment = "x"\n[layers]\nbuckets = "many"\n'
    with pytest.raises(HelioError) as caught:
        parse_image(text, Path("x"), "images/x/image.toml")
    assert caught.value.where == "images/x/image.toml at layers.buckets"
    assert caught.value.detail == "expected a whole number, not a string: 'many'"

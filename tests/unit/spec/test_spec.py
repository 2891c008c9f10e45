from __future__ import annotations

from pathlib import Path

import pytest
from checkout_texts import WHOLE_IMAGE

from helioimages.core.errors import HelioError, Stage
from helioimages.machine.checkout import load_environments, load_images
from helioimages.spec.environment import BuildSpec, EnvironmentSpec, parse_environment
from helioimages.spec.image import DirSpec, ImageSpec, SmokeSpec, parse_image
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


def image(text: str) -> ImageSpec:
    return parse_image(text, Path("x"), "images/x/image.toml")


def test_a_whole_image():
    spec = image(WHOLE_IMAGE)
    assert spec.dirs == (DirSpec(path="usr/local/idl", mode=0o1755, uid=1000, gid=0),)
    assert spec.smoke == SmokeSpec(memory="4g", timeout=300, cpus=1.5)
    assert (spec.alone_bytes, spec.buckets, spec.small_buckets) == (9 << 20, 12, 3)
    assert (spec.budget_bytes, spec.heavy) == (900 << 20, True)
    assert image(WHOLE_IMAGE.replace("small-buckets = 3", "")).small_buckets == 0
    assert (spec.parent, spec.user.shell, spec.ports) == ("y", "/bin/bash", ("8888/tcp",))
    assert image(WHOLE_IMAGE.replace("cpus = 1.5", "cpus = 2")).smoke.cpus == 2.0
    assert image(WHOLE_IMAGE.replace('"usr/local/idl"', '"/usr/local/idl/"')).dirs == spec.dirs


MEMORY = "a size such as 6g or 512m (at least 6m)"
RELATIVE = "a relative path without . and .."
NAME_MEANING = "lower-case letters, digits and dashes (at most 63)"
ABSOLUTE = "an absolute path without . and .."
ACCOUNT = "an account's name (lower-case letters, digits, - and _, at most 32)"


@pytest.mark.parametrize(
    ("old", "new", "key", "detail"),
    [
        ('name = "x"', 'name = "X"', "name", f"expected {NAME_MEANING}, not 'X'"),
        ('title = "t"', 'title = ""', "title", "expected one line of text, not ''"),
        ('description = "d"', r'description = "d\ne"', "description", r"expected one line of text, not 'd\ne'"),
        ('environment = "x"', 'environment = "../x"', "environment", f"expected {NAME_MEANING}, not '../x'"),
        ('parent = "y"', 'parent = ""', "parent", f"expected {NAME_MEANING}, not ''"),
        ('licenses = "MIT"', 'licenses = " "', "licenses", "expected one line of text, not ' '"),
        ('"bash"', '"--force"', "debian.packages[0]", "expected a Debian package name, not '--force'"),
        ('name = "jovyan"', 'name = "a:b"', "user.name", f"expected {ACCOUNT}, not 'a:b'"),
        ("uid = 1000", "uid = -1", "user.uid", "expected a number from 0 to 4294967294, not -1"),
        ("gid = 1000", "gid = 4294967295", "user.gid", "expected a number from 0 to 4294967294, not 4294967295"),
        ('["users"]', '["Users"]', "user.groups[0]", f"expected {ACCOUNT}, not 'Users'"),
        ('home = "/home/jovyan"', 'home = "home"', "user.home", f"expected {ABSOLUTE}, not 'home'"),
        ('shell = "/bin/bash"', 'shell = "bash"', "user.shell", f"expected {ABSOLUTE}, not 'bash'"),
        ('"usr/local/idl"', '"usr/../idl"', "dirs[0].path", "expected a path without . and .., not 'usr/../idl'"),
        ('"usr/local/idl"', '"/"', "dirs[0].path", "expected a path without . and .., not '/'"),
        ('"1755"', '"rwx"', "dirs[0].mode", "expected a mode such as 0755, not 'rwx'"),
        ('"1755"', '"-755"', "dirs[0].mode", "expected a mode such as 0755, not '-755'"),
        ('"1755"', "755", "dirs[0].mode", "expected a string, not a whole number: 755"),
        ("gid = 0", "gid = -5", "dirs[0].gid", "expected a number from 0 to 4294967294, not -5"),
        ('workdir = "/home/jovyan"', 'workdir = "~"', "config.workdir", f"expected {ABSOLUTE}, not '~'"),
        ('"/srv/start"', r'"a\u0000"', "config.entrypoint[0]", r"expected a text without NUL, not 'a\x00'"),
        ('["jupyter"]', "[8]", "config.cmd[0]", "expected a string, not a whole number: 8"),
        ('"8888/tcp"', '"70000/tcp"', "config.ports[0]", "expected a port such as 8888/tcp, not '70000/tcp'"),
        ('"8888/tcp"', '"0"', "config.ports[0]", "expected a port such as 8888/tcp, not '0'"),
        ('PATH = "/bin"', '"A=B" = "x"', 'config.env["A=B"]', "expected a variable's name as a key, not 'A=B'"),
        ('PATH = "/bin"', "PATH = 1", "config.env.PATH", "expected a string, not a whole number: 1"),
        (
            '"org.example.a"',
            '"a b"',
            'config.labels["a b"]',
            "expected a label's name as a key, not 'a b'",
        ),
        ("alone-mib = 9", "alone-mib = 0", "layers.alone-mib", "expected a number from 1 to 1048576, not 0"),
        ("buckets = 12", "buckets = 0", "layers.buckets", "expected a number from 1 to 100, not 0"),
        ("small-buckets = 3", "small-buckets = -1", "layers.small-buckets", "expected a number from 0 to 100, not -1"),
        ("buckets = 12", "buckets = 2.0", "layers.buckets", "expected a whole number, not a number: 2.0"),
        (
            "compressed-mib = 900",
            "compressed-mib = -1",
            "budget.compressed-mib",
            "expected a number from 0 to 1048576, not -1",
        ),
        ("heavy = true", "heavy = 1", "build.heavy", "expected true or false, not a whole number: 1"),
        (
            'memory = "4g"',
            'memory = "4 GB"',
            "smoke.memory",
            "expected a size such as 6g or 512m (at least 6m), not '4 GB'",
        ),
        (
            'memory = "4g"',
            'memory = "4m"',
            "smoke.memory",
            "expected a size such as 6g or 512m (at least 6m), not '4m'",
        ),
        ("timeout = 300", "timeout = -1", "smoke.timeout", "expected a number from 1 to 86400, not -1"),
        ("timeout = 300", "timeout = true", "smoke.timeout", "expected a whole number, not true or false: True"),
        ("cpus = 1.5", "cpus = 0", "smoke.cpus", "expected a number above 0 and at most 1024, not 0"),
        ("cpus = 1.5", "cpus = nan", "smoke.cpus", "expected a number above 0 and at most 1024, not nan"),
        ("cpus = 1.5", 'cpus = "2"', "smoke.cpus", "expected a number, not a string: '2'"),
        ('slug = "x"', 'slug = ""', "hub.slug", "expected lower-case letters, digits and dashes (at most 40), not ''"),
        ('title = "X"', 'title = ""', "hub.title", "expected one line of text, not ''"),
        ("tags = 3", "tags = 51", "hub.tags", "expected a number from 1 to 50, not 51"),
        ('["small"]', '["A"]', "hub.sizes[0]", "expected lower-case letters, digits and dashes (at most 40), not 'A'"),
        ('title = "Big"', "title = 1", "hub.resources.big.title", "expected a string, not a whole number: 1"),
        ("cpu-limit = 8.5", "cpu-limit = inf", "hub.resources.big.cpu-limit", "expected a number, not inf"),
        ("gpus = 1", "gpus = -1", "hub.resources.big.gpus", "expected 0 or more, not -1"),
        (
            '"nvidia.com/gpu.present" =',
            '"a b" =',
            'hub.resources.big.node-selector["a b"]',
            "expected a label of nodes as a key, not 'a b'",
        ),
        (
            '= "true"',
            '= "a b"',
            "hub.resources.big.node-selector.nvidia.com/gpu.present",
            "expected a label's value (at most 63), not 'a b'",
        ),
        (
            '"nvidia.com/gpu:NoSchedule"',
            '"a=b=c"',
            "hub.resources.big.tolerations[0]",
            "expected key[=value][:effect], not 'a=b=c'",
        ),
    ],
)
def test_every_key_of_an_image_has_its_form(old, new, key, detail):
    assert WHOLE_IMAGE.count(old) >= 1
    with pytest.raises(HelioError) as caught:
        image(WHOLE_IMAGE.replace(old, new, 1))
    assert (caught.value.where, caught.value.detail) == (f"images/x/image.toml at {key}", detail)


@pytest.mark.parametrize(
    ("ours", "key", "detail"),
    [
        ("parent: ..", "parent", f"expected {NAME_MEANING}, not '..'"),
        ("constraints: ['>']", "constraints[0]", "'>' is not a PEP 508 requirement"),
        ("prefer: {'a b': conda}", 'prefer["a b"]', "expected a distribution's name as a key, not 'a b'"),
        ("allow-downgrade: ['']", "allow-downgrade[0]", "expected a package's name, not ''"),
        (
            "virtual-packages: {glibc: '2.41'}",
            "virtual-packages.glibc",
            "expected a virtual package such as __glibc as a key, not 'glibc'",
        ),
        ("virtual-packages: {__glibc: ''}", "virtual-packages.__glibc", "expected a version, not ''"),
        ("virtual-packages: {__glibc: 2.41}", "virtual-packages.__glibc", "expected a string, not a number: 2.41"),
        (
            "channel-priority: flexible",
            "channel-priority",
            "expected `strict` or `disabled`, not 'flexible', which the solver does not know",
        ),
        ("channel-priority: none", "channel-priority", "expected `strict` or `disabled`, not 'none'"),
        ("clobber: {/a: x over y}", "clobber./a", f"expected {RELATIVE} as a key, not '/a'"),
        (
            "clobber: {a/../b: x over y}",
            "clobber.a/../b",
            f"expected {RELATIVE} as a key, not 'a/../b'",
        ),
        ("clobber: {a: x}", "clobber.a", "expected `winner over loser, loser`, not 'x'"),
        ("build: {a/b: {}}", "build.a/b", "expected a distribution's name as a key, not 'a/b'"),
        ("build: {1: {}}", "build", "expected a string as a key, not a whole number: 1"),
        ("1: {}", "", "expected a string as a key, not a whole number: 1"),
        ("build: {a: {requires: [1]}}", "build.a.requires[0]", "expected a string, not a whole number: 1"),
        ("build: {a: {requires: ['>']}}", "build.a.requires[0]", "'>' is not a PEP 508 requirement"),
        ("build: {a: {env: {'A B': x}}}", 'build.a.env["A B"]', "expected a variable's name as a key, not 'A B'"),
        ("build: {a: {after: [x]}}", "build.a.after", "expected a string, not a list: ['x']"),
        ('build: {a: {reason: "b\\nc"}}', "build.a.reason", r"expected one line of text, not 'b\nc'"),
    ],
)
def test_every_key_of_an_environment_has_its_form(ours, key, detail):
    with pytest.raises(HelioError) as caught:
        read(f"name: helio\nchannels: [local]\ndependencies: [python]\nx-helioimages:\n  {ours}\n")
    assert caught.value.where == f"environments/helio/environment.yml at x-helioimages{key and f'.{key}'}"
    assert caught.value.detail.startswith(detail)


def test_a_channel_has_a_name_and_a_date_is_text():
    with pytest.raises(HelioError) as caught:
        read("name: helio\nchannels: ['a b']\ndependencies: []\n")
    assert caught.value.detail == "expected a channel's name, not 'a b'"
    assert read("name: helio\nchannels: []\ndependencies: [2026-01-01]\n").conda == ("2026-01-01",)


@pytest.mark.parametrize("file", ["environments/a/environment.yml", "images/a/image.toml"])
def test_a_file_that_is_not_utf_8_is_named(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(HelioError) as caught:
        load_environments(tmp_path)
        load_images(tmp_path)
    assert (caught.value.message, caught.value.where) == (f"cannot read `{file}`", file)


def test_image_errors_name_the_key():
    text = 'name = "x"\ntitle = "t"\ndescription = "d"\nenvironment = "x"\n[layers]\nbuckets = "many"\n'
    with pytest.raises(HelioError) as caught:
        parse_image(text, Path("x"), "images/x/image.toml")
    assert caught.value.where == "images/x/image.toml at layers.buckets"
    assert caught.value.detail == "expected a whole number, not a string: 'many'"

"""The local channel with a builder that only lays out files: what is packaged, and that the bytes never vary."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from checkout_texts import LIBZLIB

from helioimages.conda.archive import read_index
from helioimages.core.entries import Kind
from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.machine.store import Store
from helioimages.make import channel
from helioimages.spec.recipes import read_recipes, upstream_version

CHECKOUT = Path(__file__).parents[3]

RECIPES = (
    """
timestamp = 1767225600000

[[source]]
name = "python"
file = "python.tar.xz"
pool = "pool/main/p/python3.13"
sha256 = "{sha256}"
size = 6

[[package]]
name = "python"
version = "3.13.5"
source = "python"
script = "python/build.sh"
build_suffix = "_cp313"
license = "Python-2.0"
summary = "CPython"
home = "https://www.python.org/"
python_site_packages_path = "lib/python3.13/site-packages"
depends = ["libzlib >={{libzlib}},<2.0a0"]
"""
    + LIBZLIB
    + """
[[package]]
name = "ca-certificates"
noarch = true
debian = ["ca-certificates"]
files = ["usr/share/ca-certificates/mozilla/*.crt"]
concatenate = "ssl/cacert.pem"
links = {{ "ssl/cert.pem" = "cacert.pem" }}
license = "MPL-2.0"
summary = "CAs"
home = "https://example.org/"

[[package]]
name = "tzdata"
noarch = true
debian = ["tzdata"]
tree = "usr/share/zoneinfo"
to = "share/zoneinfo"
skip = ["localtime"]
license = "CC-PDDC"
summary = "Zones"
home = "https://www.iana.org/time-zones"
"""
)


class Shelf:
    """A builder that lays out what a real one would leave."""

    key = "k" * 64

    def __init__(self, *, mode: int = 0o644, python: bytes = b"#!{prefix}/bin/python\n") -> None:
        self.mode, self.python, self.runs = mode, python, []

    def run(self, argv, *, inputs, output, env=None):
        self.runs.append((tuple(argv), sorted(inputs), dict(env)))
        if "packages" in inputs:
            for package in inputs["packages"].read_text().split():
                self._debian(output / package, package)
            return ""
        self._put(
            output / "prefix/bin/python3.13",
            b"\x7fELF\0GLIBC_2.4\0GLIBC_2.38\0GLIBC_2.5\0" + env["PREFIX"].encode() + b"\0rest",
            0o755,
        )
        self._put(output / "prefix/bin/pydoc", self.python.replace(b"{prefix}", env["PREFIX"].encode()), 0o755)
        (output / "prefix/bin/python").symlink_to("python3.13")
        (output / "prefix/lib").mkdir()
        (output / "prefix/lib64").symlink_to("lib")
        self._put(output / "licenses/LICENSE", b"PSF")
        return "configure: 12 s\nmake: 30 s\n"

    def _debian(self, folder: Path, package: str) -> None:
        files = {
            "zlib1g": ("1:1.3.dfsg+really1.3.1-1+b1", {"usr/lib/riscv64-linux-gnu/libz.so.1.3.1": b"zlib"}),
            "ca-certificates": (
                "20250419",
                {"usr/share/ca-certificates/mozilla/B.crt": b"B\n", "usr/share/ca-certificates/mozilla/A.crt": b"A\n"},
            ),
            "tzdata": ("2026f-0+deb13u1", {"usr/share/zoneinfo/UTC": b"TZif", "usr/share/zoneinfo/Europe/Rome": b"R"}),
        }
        version, content = files[package]
        for path, data in content.items():
            self._put(folder / "files" / path, data)
        if package == "zlib1g":
            (folder / "files/usr/lib/riscv64-linux-gnu/libz.so.1").symlink_to("libz.so.1.3.1")
        if package == "tzdata":
            (folder / "files/usr/share/zoneinfo/localtime").symlink_to("/etc/localtime")
        (folder / "version").write_text(version)
        (folder / "copyright").write_text(f"{package} copyright")

    def _put(self, path: Path, data: bytes, mode: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode or self.mode)


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    for name in ("python/build.sh", "debian/collect.sh"):
        (root / "channel" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "channel" / name).write_text(f"# {name}\n")
    source = tmp_path / "python.tar.xz"
    source.write_bytes(b"source")
    sha256 = Store(tmp_path / "store").put_artefact(source)
    (root / "channel/recipes.toml").write_text(RECIPES.format(sha256=sha256))
    return root


def _build(root: Path, store: Path, builder: Shelf, **options) -> Path:
    main = Store(root.parent / "store")
    other = Store(store)
    for path in (main.root / "artefacts/sha256").iterdir():
        other.put_artefact(path)
    options = {"jobs": 4, "platform": Platform.of("linux/amd64")} | options
    return channel.build_channel(other, root, builder, **options)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _one(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"*/{name}-*.conda")
    return path


def test_the_index_of_a_compiled_package(checkout, tmp_path):
    built = _build(checkout, tmp_path / "s", Shelf())
    index = read_index(_one(built, "python"))
    build = index.pop("build")
    assert build.startswith("local_h") and build.endswith("_0_cp313")
    assert index == {
        "arch": "x86_64",
        "build_number": 0,
        "constrains": [],
        "depends": ["__glibc >=2.38,<3.0.a0", "libzlib >=1.3.1,<2.0a0"],
        "license": "Python-2.0",
        "name": "python",
        "platform": "linux",
        "python_site_packages_path": "lib/python3.13/site-packages",
        "subdir": "linux-64",
        "timestamp": 1767225600000,
        "version": "3.13.5",
    }


def test_the_same_files_for_any_jobs_modes_and_folders(checkout, tmp_path):
    first = _build(checkout, tmp_path / "first", Shelf(), jobs=1)
    old = os.umask(0o077)
    try:
        second = _build(checkout, tmp_path / "elsewhere" / "second", Shelf(mode=0o600), jobs=16)
    finally:
        os.umask(old)
    assert _files(first) == _files(second)
    assert sorted(_files(first))[:2] == ["channel.json", "linux-64/" + _one(first, "libzlib").name]


def test_another_content_has_another_name(checkout, tmp_path):
    first = _build(checkout, tmp_path / "first", Shelf())
    second = _build(checkout, tmp_path / "second", Shelf(python=b"#!{prefix}/bin/python3\n"))
    assert _one(first, "python").name != _one(second, "python").name
    assert _one(first, "libzlib").read_bytes() == _one(second, "libzlib").read_bytes()


def test_another_platform_has_another_folder(checkout, tmp_path):
    built = _build(checkout, tmp_path / "s", Shelf(), platform=Platform.of("linux/arm64"))
    index = read_index(_one(built, "libzlib"))
    assert (index["subdir"], index["platform"], index["arch"]) == ("linux-aarch64", "linux", "aarch64")
    assert sorted(path.name for path in built.iterdir()) == ["channel.json", "linux-aarch64", "noarch"]


def test_a_built_channel_is_not_built_again(checkout, tmp_path):
    built = _build(checkout, tmp_path / "s", Shelf())
    builder = Shelf()
    (checkout / "channel/README.md").write_text("prose does not count\n")
    assert _build(checkout, tmp_path / "s", builder) == built
    assert builder.runs == []


def test_a_changed_script_is_another_channel(checkout):
    before = channel.channel_key(checkout, "a" * 64, Platform.of("linux/amd64"))
    (checkout / "channel/python/build.sh").write_text("# other\n")
    assert channel.channel_key(checkout, "a" * 64, Platform.of("linux/amd64")) != before


def test_the_builder_gets_what_the_scripts_read(checkout, tmp_path):
    builder = Shelf()
    _build(checkout, tmp_path / "s", builder, jobs=3)
    (_, collected, epoch), (_, compiled, env) = builder.runs
    assert (collected, compiled) == (["packages", "script"], ["script", "source"])
    assert epoch == {"SOURCE_DATE_EPOCH": "1767225600"}
    assert env == epoch | {"PREFIX": channel.placeholder(), "JOBS": "3", "VERSION": "3.13.5"}
    assert len(channel.placeholder()) == 255


def test_every_package_is_in_the_store_and_in_the_list(checkout, tmp_path):
    built = _build(checkout, tmp_path / "s", Shelf())
    paths = channel.artefact_paths(built)
    assert sorted(paths.values()) == sorted(built.glob("*/*.conda"))
    for sha256, path in paths.items():
        assert Store(tmp_path / "s").artefact(sha256).read_bytes() == path.read_bytes()
    repodata = json.loads((built / "noarch/repodata.json").read_bytes())
    assert {record["sha256"] for record in repodata["packages.conda"].values()} <= set(paths)


def test_files_of_debian_packages_are_laid_out_as_the_recipe_says(checkout, tmp_path):
    shelf = tmp_path / "collected"
    for name in ("zlib1g", "ca-certificates", "tzdata"):
        Shelf()._debian(shelf / name, name)
    recipes = {r.name: r for r in read_recipes((checkout / "channel/recipes.toml").read_text()).packages}

    def layout(name):
        entries = channel._debian_payload(recipes[name], shelf).entries
        return {e.path: e.target if e.kind is Kind.SYMLINK else e.content.read() for e in entries}

    assert layout("libzlib") == {"lib/libz.so.1": "libz.so.1.3.1", "lib/libz.so.1.3.1": b"zlib"}
    assert layout("ca-certificates") == {"ssl/cacert.pem": b"A\nB\n", "ssl/cert.pem": "cacert.pem"}
    assert layout("tzdata") == {"share/zoneinfo/Europe/Rome": b"R", "share/zoneinfo/UTC": b"TZif"}


def test_a_package_without_files_is_an_error(checkout, tmp_path):
    recipes = checkout / "channel/recipes.toml"
    recipes.write_text(recipes.read_text().replace("libz.so.*", "libzz.so.*"))
    with pytest.raises(HelioError) as caught:
        _build(checkout, tmp_path / "s", Shelf())
    assert str(caught.value) == (
        "`libzlib` of the local channel would be empty\n"
        "  in channel/recipes.toml\n"
        "  expected files of zlib1g like usr/lib/*/libzz.so.*\n"
        "\n"
        "hint: the builder's packages changed; mend the recipe"
    )
    assert not list((tmp_path / "s/channels").glob("*")) and not list((tmp_path / "s/tmp").glob("*"))


def test_an_unknown_platform_is_an_error(checkout, tmp_path):
    with pytest.raises(HelioError) as caught:
        _build(checkout, tmp_path / "s", Shelf(), platform=Platform.of("linux/s390x"))
    assert str(caught.value) == (
        "images cannot be made for `linux/s390x`\n"
        "  expected one of linux/amd64, linux/arm64, linux/arm64/v8 as the platform"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('to = "lib"', 'too = "lib"', "at package[1].too\n  this key is not understood"),
        ('version = "3.13.5"', 'version = ""', "at package[0].version\n  expected either a version or Debian packages"),
        ('script = "python/build.sh"', "", "at package[0].script\n  expected source and script together"),
        ('source = "python"', 'source = "perl"', "expected the name of a source, not 'perl'"),
        ("{{libzlib}}", "{{zlib}}", "at package[0].depends\n  expected a package of this file, not 'zlib'"),
        ('name = "tzdata"', 'name = "libzlib"', "expected each name once, `libzlib` is there twice"),
        ("size = 6", 'size = "6"', "at source[0].size\n  expected a whole number, not a string: '6'"),
        ("{sha256}", "beef", "at source[0].sha256\n  expected 64 lower-case hexadecimal digits, not 'beef'"),
    ],
)
def test_a_recipe_that_is_not_understood_is_an_error(old, new, expected):
    assert old in RECIPES
    text = RECIPES.replace(old, new).format(sha256="0" * 64)
    with pytest.raises(HelioError) as caught:
        read_recipes(text)
    assert str(caught.value).startswith("cannot read `channel/recipes.toml`\n  in channel/recipes.toml at ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("debian", "upstream"),
    [
        ("3.5.7-1~deb13u3", "3.5.7"),
        ("1:1.3.dfsg+really1.3.1-1+b1", "1.3.1"),
        ("6.5+20250216-2", "6.5"),
        ("20250419+deb13u1", "20250419"),
        ("2026f-0+deb13u1", "2026f"),
        ("1.0.8-6", "1.0.8"),
    ],
)
def test_the_upstream_version_inside_a_debian_version(debian, upstream):
    assert upstream_version(debian) == upstream


def test_the_committed_recipes_are_whole():
    recipes = read_recipes((CHECKOUT / "channel/recipes.toml").read_text())
    assert {recipe.name for recipe in recipes.packages} >= {"python", "openssl", "tzdata", "ca-certificates"}
    for recipe in recipes.packages:
        for path in (recipe.script, *recipe.inputs):
            assert (CHECKOUT / "channel" / path).exists()
    series = (CHECKOUT / "channel/python/patches/series").read_text().split()
    patches = {path.name for path in (CHECKOUT / "channel/python/patches").glob("*.patch")}
    assert set(series) == patches

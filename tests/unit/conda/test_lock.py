"""lock.py: a lock survives being written and read, stock conda-lock reads it, and anything else is refused."""

from __future__ import annotations

import dataclasses
import string
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helioimages.conda.lock import CondaLock, CondaPackage, dump, parse
from helioimages.core.errors import HelioError, Stage

PYTHON = CondaPackage(
    name="python",
    version="3.13.5",
    build="h1_0",
    platform="linux-64",
    subdir="linux-64",
    channel="local",
    file_name="python-3.13.5-h1_0.conda",
    url="local/linux-64/python-3.13.5-h1_0.conda",
    sha256="a" * 64,
    md5="b" * 32,
    size=12_345,
    depends=("__glibc >=2.41,<3", "libzlib >=1.3"),
)
TZDATA = dataclasses.replace(
    PYTHON,
    name="tzdata",
    version="2026a",
    subdir="noarch",
    file_name="tzdata-2026a-h1_0.conda",
    url="local/noarch/tzdata-2026a-h1_0.conda",
    size=None,
    depends=("python >=3.9", "other", "python"),
)
LOCK = CondaLock(
    channels=("local",),
    platforms=("linux-64",),
    packages=(PYTHON, TZDATA),
    content_hash="c" * 64,
    virtual_packages={"linux-64": {"__glibc": "2.41", "__archspec": "x86_64"}},
    timestamp=1_795_224_000,
)

TEXT = f"""\
# Written by `buildimages lock`; do not edit. conda-lock and micromamba read it as well (format version 1).
version: 1
metadata:
  content_hash:
    linux-64: {"c" * 64}
  channels:
  - url: local
    used_env_vars: []
  platforms:
  - linux-64
  sources:
  - environment.yml
  time_metadata:
    created_at: '2026-11-21T01:20:00Z'
  custom_metadata:
    depends:noarch/tzdata-2026a-h1_0.conda: '["python >=3.9", "other", "python"]'
    size:linux-64/python-3.13.5-h1_0.conda: '12345'
    virtual:linux-64:__archspec: x86_64
    virtual:linux-64:__glibc: '2.41'
package:
- name: python
  version: 3.13.5
  build: h1_0
  manager: conda
  platform: linux-64
  dependencies:
    __glibc: '>=2.41,<3'
    libzlib: '>=1.3'
  url: local/linux-64/python-3.13.5-h1_0.conda
  hash:
    md5: {"b" * 32}
    sha256: {"a" * 64}
  category: main
  optional: false
- name: tzdata
  version: 2026a
  build: h1_0
  manager: conda
  platform: linux-64
  dependencies:
    python: '>=3.9'
    other: ''
  url: local/noarch/tzdata-2026a-h1_0.conda
  hash:
    md5: {"b" * 32}
    sha256: {"a" * 64}
  category: main
  optional: false
"""


def test_text() -> None:
    assert dump(LOCK) == TEXT
    assert parse(TEXT, "conda-lock.yml") == LOCK


def test_stock_conda_lock_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It puts old libraries of its own first on the path, where the processes that later tests start would find them.
    monkeypatch.setattr(sys, "path", [*sys.path])
    with warnings.catch_warnings():
        # Its own dependencies are not ours to mend.
        warnings.simplefilter("ignore")
        from conda_lock.lockfile import parse_conda_lock_file
    path = tmp_path / "conda-lock.yml"
    path.write_text(TEXT)
    stock = parse_conda_lock_file(path)
    packages = {package.name: package for package in stock.package}
    assert {
        name: (p.version, p.build, p.platform, p.url, p.hash.sha256, p.hash.md5, p.manager)
        for name, p in packages.items()
    } == {p.name: (p.version, p.build, p.platform, p.url, p.sha256, p.md5, "conda") for p in LOCK.packages}
    assert packages["python"].dependencies == {"__glibc": ">=2.41,<3", "libzlib": ">=1.3"}
    assert [channel.url for channel in stock.metadata.channels] == ["local"]
    assert stock.metadata.platforms == ["linux-64"]
    assert stock.metadata.content_hash == {"linux-64": "c" * 64}
    fetch = stock.to_v1().package[0].to_fetch_action()
    assert (fetch["channel"], fetch["fn"], fetch["subdir"]) == (
        "local/linux-64",
        "python-3.13.5-h1_0.conda",
        "linux-64",
    )


def test_for_platform() -> None:
    arm = dataclasses.replace(
        PYTHON, platform="linux-aarch64", subdir="linux-aarch64", url=PYTHON.url.replace("64/", "aarch64/")
    )
    lock = dataclasses.replace(LOCK, platforms=("linux-64", "linux-aarch64"), packages=(PYTHON, TZDATA, arm))
    assert parse(dump(lock), "x") == lock
    assert lock.for_platform("linux-aarch64") == (arm,)
    with pytest.raises(HelioError) as caught:
        lock.for_platform("osx-64")
    assert str(caught.value) == (
        "the conda lock has no platform `osx-64`\n"
        "  expected one of linux-64, linux-aarch64\n"
        "\n"
        "hint: run `buildimages lock --platform osx-64`"
    )


_names = st.text(string.ascii_lowercase + string.digits + "_-.", min_size=1, max_size=12).filter(
    lambda name: name[0].isalnum()
)
_versions = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(rc1|\.post1|a0|!1\.0)?", fullmatch=True) | st.sampled_from(
    ["2026a", "1e3", "0x10", "1_000", "null", "true", "1.0", "2026-01-01"]
)
_hexes = st.integers(0, 16**64 - 1).map("{:064x}".format)
_constraints = st.sampled_from(
    ["", ">=1", ">=1,<2.0a0", "3.13.* *_cp313", "* *_openblas", "1.0 h1_0", "~", "null", "on"]
)
_specs = st.lists(st.tuples(_names, _constraints).map(lambda pair: " ".join(pair).strip()), max_size=5).map(tuple)


@st.composite
def _packages(draw: st.DrawFn, platform: str, name: str) -> CondaPackage:
    version, subdir = draw(_versions), draw(st.sampled_from([platform, "noarch"]))
    build = draw(st.sampled_from(["h1_0", "0", "py313h_1", "1e5", "no"]))
    file_name = f"{name}-{version}-{build}{draw(st.sampled_from(['.conda', '.tar.bz2']))}"
    base = draw(st.sampled_from(["chan", "https://conda.example.org/chan"]))
    sha256 = draw(_hexes)
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        platform=platform,
        subdir=subdir,
        channel="chan",
        file_name=file_name,
        url=f"{base}/{subdir}/{file_name}",
        sha256=sha256,
        md5=sha256[:32],
        size=draw(st.none() | st.integers(0, 10**12)),
        depends=draw(_specs),
        at=draw(st.sampled_from(["", f"../pool/{file_name}", f"https://pool.example.org/{file_name}"])),
    )


@st.composite
def _locks(draw: st.DrawFn) -> CondaLock:
    platforms = draw(st.sampled_from([("linux-64",), ("linux-64", "linux-aarch64")]))
    packages = [
        draw(_packages(platform, name)) for platform in platforms for name in sorted(draw(st.sets(_names, max_size=4)))
    ]
    # One file has one size, whichever platform it is locked for.
    sizes: dict[str, CondaPackage] = {}
    packages = [
        dataclasses.replace(p, size=first.size, depends=first.depends, at=first.at)
        for p in packages
        for first in [sizes.setdefault(f"{p.subdir}/{p.file_name}", p)]
    ]
    scripts = {
        platform: {
            package.name: tuple(sorted(draw(st.sets(_hexes, min_size=1, max_size=2))))
            for package in packages
            if package.platform == platform
        }
        for platform in platforms
        if any(package.platform == platform for package in packages) and draw(st.booleans())
    }
    return CondaLock(
        channels=("chan",),
        platforms=platforms,
        packages=tuple(packages),
        content_hash=draw(_hexes),
        virtual_packages=draw(
            st.dictionaries(
                st.sampled_from(platforms),
                st.dictionaries(st.sampled_from(["__glibc", "__cuda", "__archspec"]), _versions, min_size=1),
            )
        ),
        timestamp=draw(st.integers(0, 4_000_000_000)),
        scripts=scripts,
        ran={
            platform: {name: draw(_hexes) for name in names}
            for platform, names in scripts.items()
            if draw(st.booleans())
        },
    )


@settings(max_examples=60, deadline=None)
@given(_locks())
def test_round_trip(lock: CondaLock) -> None:
    text = dump(lock)
    assert parse(text, "conda-lock.yml") == lock
    assert dump(parse(text, "conda-lock.yml")) == text


@pytest.mark.parametrize(
    ("old", "new", "at", "detail"),
    [
        ("version: 1\n", "version: 2\n", "version", "expected 1 not 2"),
        ("version: 1\n", "version: true\n", "version", "expected a whole number not true or false: True"),
        ("version: 1\n", "version: 1\nmore: 1\n", "more", "this key is not understood"),
        ("  platforms:\n", "  platform:\n", "metadata.platforms", "expected this key, found nothing"),
        ("  - environment.yml", "  - other.yml", "metadata.sources", "expected ['environment.yml'] not ['other.yml']"),
        (
            "  channels:\n",
            "  channels:\n  - url: local\n    used_env_vars: []\n",
            "metadata.channels[1].url",
            "expected each channel once: local is given twice",
        ),
        ("used_env_vars: []", "used_env_vars: [A]", "metadata.channels[0].used_env_vars", "expected [] not ['A']"),
        (
            "2026-11-21T01:20:00Z",
            "yesterday",
            "metadata.time_metadata.created_at",
            "expected a time such as 2026-11-21T00:00:00Z not yesterday",
        ),
        (
            "c" * 64,
            "c" * 63,
            "metadata.content_hash",
            "expected one hash of 64 hexadecimal digits, given for each platform",
        ),
        (
            "  custom_metadata:\n",
            f"  custom_metadata:\n    ran:linux-64:python: {'d' * 64}\n",
            "metadata.custom_metadata.ran:linux-64:python",
            "expected the script too, as script:<platform>:<name>",
        ),
        (
            "'12345'",
            "12345",
            "metadata.custom_metadata.size:linux-64/python-3.13.5-h1_0.conda",
            "expected a string not a whole number: 12345",
        ),
        (
            "'12345'",
            "'-1'",
            "metadata.custom_metadata.size:linux-64/python-3.13.5-h1_0.conda",
            "expected a number of bytes not -1",
        ),
        (
            "size:linux-64/py",
            "size:linux-64/pi",
            "metadata.custom_metadata.size:linux-64/pithon-3.13.5-h1_0.conda",
            "this key is not understood",
        ),
        (
            "    virtual:linux-64:__a",
            "    script:linux-64:nobody: '0'\n    virtual:linux-64:__a",
            "metadata.custom_metadata.script:linux-64:nobody",
            "expected a package's name, and 64 lower-case hexadecimal digits, not '0'",
        ),
        *(
            (
                "    virtual:linux-64:__a",
                f"    at:linux-64/python-3.13.5-h1_0.conda: {at}\n    virtual:linux-64:__a",
                "metadata.custom_metadata.at:linux-64/python-3.13.5-h1_0.conda",
                f"expected another place of python-3.13.5-h1_0.conda, not '{at}'",
            )
            for at in ("../other.conda", "python-3.13.5-h1_0.conda", "a b/python-3.13.5-h1_0.conda", "x?python")
        ),
        (
            "    virtual:linux-64:__a",
            f"    script:linux-64:python: {'b' * 64} {'a' * 64}\n    virtual:linux-64:__a",
            "metadata.custom_metadata.script:linux-64:python",
            f"expected a package's name, and 64 lower-case hexadecimal digits, not '{'b' * 64} {'a' * 64}'",
        ),
        (
            "virtual:linux-64:__g",
            "virtual:osx:__g",
            "metadata.custom_metadata.virtual:osx:__glibc",
            "expected virtual:<platform>:__<name>",
        ),
        ("manager: conda", "manager: pip", "package[0].manager", "expected conda not pip"),
        ("optional: false", "optional: true", "package[0].category", "expected main, not optional, not main"),
        (
            "    libzlib: '>=1.3'",
            "    libzlib: 1.3",
            "package[0].dependencies.libzlib",
            "expected a string not a number: 1.3",
        ),
        (
            "  platform: linux-64\n",
            "  platform: osx-64\n",
            "package[0].platform",
            "expected one of linux-64 not osx-64",
        ),
        (
            "url: local/linux-64/",
            "url: other/linux-64/",
            "package[0].url",
            "expected local/linux-64/python-3.13.5-h1_0.conda not other/linux-64/python-3.13.5-h1_0.conda",
        ),
        (
            "url: local/linux-64/",
            "url: local/osx-64/",
            "package[0].url",
            "expected …/linux-64/<file> or …/noarch/<file> not local/osx-64/python-3.13.5-h1_0.conda",
        ),
        (
            "sha256: " + "a" * 64,
            "sha256: zz",
            "package[0].hash.sha256",
            "expected 64 lower-case hexadecimal digits not 'zz'",
        ),
        ("md5: " + "b" * 32, "md5: zz", "package[0].hash.md5", "expected 32 lower-case hexadecimal digits not 'zz'"),
        ("  version: 3.13.5", "  version: 3.13", "package[0].version", "expected a string not a number: 3.13"),
        (
            "- name: tzdata",
            "- name: abc",
            "package[1].name",
            "expected packages sorted, each once: abc is out of order",
        ),
        (
            '"other", "python"]',
            '"else", "python"]',
            "metadata.custom_metadata.depends:noarch/tzdata-2026a-h1_0.conda",
            "expected the same constraints as the package's dependencies",
        ),
        (
            """'["python >=3.9", "other", "python"]'""",
            "nonsense",
            "metadata.custom_metadata.depends:noarch/tzdata-2026a-h1_0.conda",
            "expected a JSON list of match specs",
        ),
    ],
)
def test_anything_else_is_refused(old: str, new: str, at: str, detail: str) -> None:
    assert old in TEXT
    with pytest.raises(HelioError) as caught:
        parse(TEXT.replace(old, new, 1), "environments/x/conda-lock.yml")
    assert caught.value.stage is Stage.LOCK
    assert str(caught.value) == (
        "`environments/x/conda-lock.yml` is not a lock that this version reads\n"
        f"  in environments/x/conda-lock.yml at {at}\n"
        f"  {detail}\n"
        "\n"
        "hint: do not edit locks; run `buildimages lock`"
    )


def test_a_key_given_twice() -> None:
    with pytest.raises(HelioError) as caught:
        parse(TEXT.replace("  category: main\n", "  category: main\n  category: main\n", 1), "conda-lock.yml")
    assert (caught.value.message, caught.value.where, caught.value.detail) == (
        "`conda-lock.yml` is not a lock that this version reads",
        "conda-lock.yml at line 34",
        "duplicate key 'category'",
    )

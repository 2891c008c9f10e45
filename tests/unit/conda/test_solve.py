"""solve.py: rattler's solver on channels made here, and on genuine conda-forge records where they are at hand."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from helioimages.conda import solve as solving
from helioimages.conda.lock import CondaLock, CondaPackage, dump, parse
from helioimages.conda.solve import CondaQuestion, solve
from helioimages.core.errors import HelioError, Stage

VIRTUAL = {"__glibc": "2.41", "__linux": "6.1", "__unix": "0", "__archspec": "x86_64_v3"}
DAY = 86_400_000


def _record(name: str, version: str, *depends: str, subdir: str = "linux-64", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "build": "h0_0",
        "build_number": 0,
        "subdir": subdir,
        "depends": list(depends),
        "md5": f"{hash_of(name + version):032x}",
        "sha256": f"{hash_of(name + version):064x}",
        "size": 100,
        "timestamp": 20_000 * DAY,
    } | more


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()) % 16**32


def _channel(folder: Path, *records: dict[str, Any], base_url: str | None = None) -> Path:
    for subdir in ("linux-64", "noarch"):
        info = {"subdir": subdir} | ({"base_url": f"{base_url}/{subdir}/"} if base_url else {})
        chosen = {f"{r['name']}-{r['version']}-{r['build']}.conda": r for r in records if r["subdir"] == subdir}
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        document = {"info": info, "packages": {}, "packages.conda": chosen, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_text(json.dumps(document))
    return folder


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the worker as the product does."""
    monkeypatch.setattr(solving, "subprocess", subprocess)


@pytest.fixture
def channel(tmp_path: Path) -> Path:
    return _channel(
        tmp_path / "channel",
        _record("python", "3.12.1", "libz >=1"),
        _record("python", "3.13.5", "libz >=1", "__glibc >=2.40", timestamp=20_010 * DAY),
        _record("libz", "1.2"),
        _record("libz", "1.3"),
        _record("tz", "2026a", "python >=3.9", "python", subdir="noarch", noarch="generic"),
        _record("cuda", "13.0", "__cuda >=13"),
        _record("fast", "1", "__archspec 1 x86_64_v3"),
        _record("ancient", "1", timestamp=None),
    )


def _solve(channel: Path, *specs: str, **options: Any) -> tuple[CondaPackage, ...]:
    options = {"virtual_packages": VIRTUAL} | options
    question = CondaQuestion(specs=specs, platform="linux-64", **options)
    return solve(question, channel="local", repodata_dirs=[channel])


def _names(packages: tuple[CondaPackage, ...]) -> list[str]:
    return [f"{package.name} {package.version}" for package in packages]


def test_newest_wins(channel: Path) -> None:
    packages = _solve(channel, "python", "tz")
    assert _names(packages) == ["libz 1.3", "python 3.13.5", "tz 2026a"]
    assert packages[2] == CondaPackage(
        name="tz",
        version="2026a",
        build="h0_0",
        platform="linux-64",
        subdir="noarch",
        channel="local",
        file_name="tz-2026a-h0_0.conda",
        url="local/noarch/tz-2026a-h0_0.conda",
        sha256=f"{hash_of('tz2026a'):064x}",
        md5=f"{hash_of('tz2026a'):032x}",
        size=100,
        depends=("python >=3.9", "python"),
    )


def test_genuine_urls_stay(tmp_path: Path) -> None:
    channel = _channel(tmp_path, _record("libz", "1.3"), base_url="https://conda.example.org/forge")
    assert _solve(channel, "libz")[0].url == "https://conda.example.org/forge/linux-64/libz-1.3-h0_0.conda"


def test_virtual_packages_are_the_given_ones_only(channel: Path) -> None:
    assert _names(_solve(channel, "python", virtual_packages={"__glibc": "2.36"})) == ["libz 1.3", "python 3.12.1"]
    assert _names(_solve(channel, "fast")) == ["fast 1"]
    assert _names(_solve(channel, "cuda", virtual_packages=VIRTUAL | {"__cuda": "13.0"})) == ["cuda 13.0"]
    with pytest.raises(HelioError) as caught:
        _solve(channel, "cuda")
    assert caught.value.stage is Stage.LOCK
    assert caught.value.message == "no set of packages of the conda channel `local` answers `cuda`"
    assert "cuda 13.0 would require\n   └─ __cuda >=13, for which no candidates were found." in caught.value.detail
    assert caught.value.hint == "loosen the conda section of environment.yml, or move the package to its pip section"


def test_locked_stays_and_pinned_must(channel: Path) -> None:
    old = _solve(channel, "python 3.12.*", "libz ==1.2")
    assert _names(old) == ["libz 1.2", "python 3.12.1"]
    assert _names(_solve(channel, "python", locked=old)) == ["libz 1.2", "python 3.12.1"]
    assert _names(_solve(channel, "python >=3.13", locked=old)) == ["libz 1.2", "python 3.13.5"]
    assert _names(_solve(channel, "python", pinned=old)) == ["libz 1.2", "python 3.12.1"]
    with pytest.raises(HelioError) as caught:
        _solve(channel, "python >=3.13", pinned=old)
    assert caught.value.message == "no set of packages of the conda channel `local` answers `python >=3.13`"


def test_locked_but_gone_is_forgotten_and_pinned_is_not(channel: Path) -> None:
    gone = tuple(dataclasses.replace(package, sha256="f" * 64) for package in _solve(channel, "libz ==1.2"))
    assert _names(_solve(channel, "libz", locked=gone)) == ["libz 1.3"]
    with pytest.raises(HelioError) as caught:
        _solve(channel, "libz", pinned=gone)
    assert str(caught.value) == (
        "the conda channel `local` no longer has `libz-1.2-h0_0.conda`, which is pinned\n"
        f"  expected sha256:{'f' * 64}\n"
        "\n"
        "hint: lock the parent environment again first"
    )


def test_exclude_newer(channel: Path) -> None:
    then = datetime.fromtimestamp(20_005 * DAY / 1000, UTC)
    assert _names(_solve(channel, "python", exclude_newer=then)) == ["libz 1.3", "python 3.12.1"]
    with pytest.raises(HelioError, match="answers `ancient`"):
        _solve(channel, "ancient", exclude_newer=then)
    with pytest.raises(HelioError) as caught:
        _solve(channel, "python", exclude_newer=datetime(2026, 1, 1))
    assert caught.value.message == "exclude_newer needs a time zone: 2026-01-01T00:00:00"


def test_specs_that_contradict(channel: Path) -> None:
    with pytest.raises(HelioError) as caught:
        _solve(channel, "python 3.12.*", "python >=3.13")
    assert caught.value.message == (
        "no set of packages of the conda channel `local` answers `python 3.12.*`, `python >=3.13`"
    )
    assert "which conflicts with the versions reported above." in caught.value.detail


def test_not_a_spec(channel: Path) -> None:
    with pytest.raises(HelioError) as caught:
        _solve(channel, "python >>3")
    assert caught.value.message == "the conda section cannot be understood"
    assert caught.value.hint == "write match specs such as `python 3.13.*` in environment.yml"


def test_no_channel(tmp_path: Path) -> None:
    with pytest.raises(HelioError) as caught:
        _solve(tmp_path, "python")
    assert str(caught.value) == (
        "the conda channel `local` has no packages for linux-64\n"
        f"  in {tmp_path}/linux-64/repodata.json\n"
        "\n"
        "hint: run `buildimages channel`"
    )


def test_a_damaged_channel(tmp_path: Path) -> None:
    (_channel(tmp_path, _record("libz", "1")) / "linux-64" / "repodata.json").write_text('{"packages": ')
    with pytest.raises(HelioError) as caught:
        _solve(tmp_path, "libz")
    assert caught.value.message == "the conda solver cannot read what the channel `local` says"
    assert "Traceback" not in str(caught.value) and "run `buildimages channel`" in caught.value.hint


def _subset() -> Path:
    given = os.environ.get("HELIOIMAGES_CONDA_FORGE_SUBSET")
    folder = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data" / "conda-forge-subset"
    if not (folder / "linux-64" / "repodata.json").is_file():
        pytest.skip("no conda-forge records: set HELIOIMAGES_CONDA_FORGE_SUBSET to a folder of repodata.json files")
    return folder


def test_genuine_conda_forge_records() -> None:
    folder = _subset()
    repodata = {
        subdir: json.loads((folder / subdir / "repodata.json").read_bytes()) for subdir in ("linux-64", "noarch")
    }
    specs = ["python 3.13.*", "git", "git-lfs", "gfortran", "make"]
    question = CondaQuestion(specs=specs, platform="linux-64", virtual_packages=VIRTUAL)
    packages = solve(question, channel="conda-forge", repodata_dirs=[folder])
    by_name = {package.name: package for package in packages}
    assert {"python", "git", "git-lfs", "gfortran", "make", "openssl", "tzdata"} <= by_name.keys()
    assert by_name["python"].version.startswith("3.13.")
    for package in packages:
        document = repodata[package.subdir]
        record = (document["packages"] | document["packages.conda"])[package.file_name]
        assert package.url == document["info"]["base_url"] + package.file_name
        assert (package.sha256, package.md5) == (record["sha256"], record["md5"])
        assert package.depends == tuple(record["depends"])
    lock = CondaLock(
        channels=("conda-forge",),
        platforms=("linux-64",),
        packages=packages,
        content_hash="0" * 64,
        virtual_packages={"linux-64": VIRTUAL},
        timestamp=0,
    )
    assert parse(dump(lock), "conda-lock.yml") == lock


@pytest.mark.parametrize(
    ("answer", "place", "detail"),
    [
        (b"a library's own words\n{}", " at line 1", "Expecting value"),
        (b"[]", " at the top level", "expected an object not an array"),
        (b"{}", " at packages", "expected an array, found nothing"),
        (b'{"packages": [{"name": 3}]}', " at packages[0].name", "expected a string not a whole number"),
        (b'{"unusable": [["a"]]}', " at unusable[0]", "expected 2 values not 1"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told(
    channel: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, place: str, detail: str
) -> None:
    done = subprocess.CompletedProcess[bytes]([], 0, answer, b"")
    monkeypatch.setattr(solving.subprocess, "run", lambda *_args, **_options: done)
    question = CondaQuestion(specs=["app"], platform="linux-64", virtual_packages=VIRTUAL)
    with pytest.raises(HelioError) as caught:
        solve(question, channel="test", repodata_dirs=[channel])
    assert (caught.value.message, caught.value.where, caught.value.detail) == (
        "the conda solver gave no answer that can be read",
        f"what solve_worker.py wrote{place}",
        detail,
    )

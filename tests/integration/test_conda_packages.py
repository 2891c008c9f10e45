"""Genuine conda packages, as other people's builders made them: linked as py-rattler installs them, or refused.

They are data of other projects and are never committed. ``HELIOIMAGES_CONDA_PACKAGES`` names their folder; else it is
``../shared/data/conda-packages`` beside the checkout.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conda_support import differences, entry_facts, install_each, raw_index, tree_facts, write_package

from helioimages.conda.archive import write_repodata
from helioimages.conda.link import Prefix, link
from helioimages.conda.lock import CondaPackage
from helioimages.core.entries import merge
from helioimages.core.errors import HelioError, Stage

PLATFORMS = ("linux-64", "osx-64", "osx-arm64", "win-64")
FIELDS = (
    *("arch", "build", "build_number", "constrains", "depends", "features", "license", "license_family", "name"),
    *("noarch", "platform", "python_site_packages_path", "timestamp", "track_features", "version"),
)

#: What each refused package is refused for, the packages of one reason together.
REFUSED = {
    r"has a post-link script, which would have to run at installation": {
        "conda-index-pkg-a-1.0-py27h5e241af_0.conda",
        "conda-index-pkg-a-1.0-py27h5e241af_0.tar.bz2",
        "conda-index-pkg-a-1.0-pyhed9eced_1.tar.bz2",
        "failing_post_link-1.0-0.conda",
        "link-scripts-0.1.0-h4616a5c_0.conda",
        "post-link-script-package-0.1.0-hb0f4dca_0.conda",
        "post_link-c-1.0-0.conda",
    },
    r"is for another platform": {
        # Of the platforms `linux-fake` and `win-fake`.
        "64cb4628231f-arch-package-1.0-0.conda",
        "71d49626e586-arch-package-1.0-0.conda",
    },
    r"it cannot be read": {"another_bad_package.conda", "bad_package.tar.bz2", "test_-file.tar.bz2"}
    | {"testfile-0.0.38-py36_0.tar.bz2"},
    r"metadata\.json is not JSON": {"conda_gc_test-2.2.1-py27_3.conda", "pkg_with_unicode.conda"},
    r"it has neither info/paths\.json nor info/files": {
        *("dotslash-test-1.0.0-0.conda", "pkg_with_unicode.tar.bz2", "symlink-test-1.0.0-0.conda"),
        "zip64-test-1.0.0-0.conda",
    },
    r"it lists \S+ but does not hold it": {
        *("flask-0.11.1-py_0.tar.bz2", "fly-2.5.2-0.tar.bz2", "spiffy-test-app-0.5-pyh6afbcc8_0.tar.bz2"),
    },
    r"it has no pkg member": {"info-only-1.0.0-0.conda"},
    r"it holds info/files twice": {"testfile-0.0.1-py36_0.tar.bz2"},
    r"info/paths\.json at paths_version\n  expected a whole number, found nothing": {
        f"testfile-0.0.{number}-py36_0.tar.bz2" for number in (2, 9, 50, 51)
    },
    r"it lists another digest for lib/hello\.txt": {"zip64-extra-field-test.conda"},
    r"the symbolic link \S+ points nowhere": {"zlib-1.2.11-h1de35cc_3.conda", "zlib-1.2.11-h7b6447c_3.conda"},
    r"it lists \S+ as a symlink, which is a file": {"zlib-1.2.11-h1de35cc_3.tar.bz2", "zlib-1.2.11-h7b6447c_3.tar.bz2"},
}
#: Refused by us, installed by rattler: it does not look at metadata.json (CEP 35 wants it) nor at digests.
STRICTER = {"conda_gc_test-2.2.1-py27_3.conda", "zip64-extra-field-test.conda"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One package, in a channel of its own."""

    name: str
    path: Path
    channels: tuple[Path, ...]
    package: CondaPackage


def _folder() -> Path:
    given = os.environ.get("HELIOIMAGES_CONDA_PACKAGES")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data" / "conda-packages"
    if not folder.is_dir():
        pytest.skip("no genuine packages: set HELIOIMAGES_CONDA_PACKAGES to a folder of .conda and .tar.bz2 files")
    return folder


def _case(path: Path, channel: Path, python: Path) -> Case:
    try:
        index = raw_index(path)
    except Exception:  # of packages that are none, whatever the formats' readers raise
        index = {}
    subdir = index.get("subdir") or ("noarch" if index.get("noarch") else "linux-64")
    file_name = re.sub(r"^[0-9a-f]{12}-", "", path.name)
    (channel / subdir).mkdir(parents=True)
    shutil.copy(path, channel / subdir / file_name)
    data = path.read_bytes()
    record: dict[str, Any] = {"name": "unknown", "version": "0", "build": "0", "build_number": 0, "depends": []}
    record |= {key: index[key] for key in FIELDS if index.get(key) is not None}
    record |= {"subdir": subdir, "size": len(data)}
    record |= {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
    section = "packages.conda" if path.suffix == ".conda" else "packages"
    repodata = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": {}, "repodata_version": 1}
    (channel / subdir / "repodata.json").write_text(json.dumps(repodata | {section: {file_name: record}}))
    # Packages of other systems are linked for theirs; one of no system that there is, for Linux.
    platform = subdir if subdir in PLATFORMS else "linux-64"
    depends = record["depends"] if isinstance(record["depends"], list) else []
    return Case(
        name=path.name,
        path=path,
        channels=(channel, python) if platform == "linux-64" and record["name"] != "python" else (channel,),
        package=CondaPackage(
            name=record["name"],
            version=record["version"],
            build=record["build"],
            platform=platform,
            subdir=subdir,
            channel="local",
            file_name=file_name,
            url=f"local/{subdir}/{file_name}",
            sha256=record["sha256"],
            md5=record["md5"],
            size=len(data),
            depends=tuple(depends),
        ),
    )


def test_genuine_packages(tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    folder = _folder()
    python = tmp_path / "python"
    write_package(python, "python", {"bin/python3.13": (b"", 0o755)}, version="3.13.5")
    write_repodata(python, ["linux-64"])
    files = sorted(path for path in folder.rglob("*") if path.name.endswith((".conda", ".tar.bz2")))
    cases = [_case(path, tmp_path / f"channel-{at}", python) for at, path in enumerate(files)]
    said = install_each(
        [
            (
                [str(channel) for channel in case.channels],
                str(tmp_path / f"prefix-{at}"),
                str(tmp_path / "cache"),
                platform,
            )
            for at, case in enumerate(cases)
            for platform in [case.package.platform]
        ]
    )
    equal, refused, faults = 0, collections.Counter[str](), []
    for at, (case, error) in enumerate(zip(cases, said, strict=True)):
        expected = next((reason for reason, names in REFUSED.items() if case.name in names), None)
        if case.path.parent == folder and case.name in STRICTER:
            expected = None  # a sound package of the same name
        try:
            entries = merge(
                link(case.path, case.package, Prefix(python_version="3.13", platform=case.package.platform))
            )
        except HelioError as problem:
            assert problem.stage is Stage.LINK
            if expected is None or not re.search(expected, str(problem)):
                faults.append(f"{case.name}: refused, though expected {expected}: {problem}")
            elif not error and case.name not in STRICTER and "malformed" in problem.message:
                faults.append(f"{case.name}: called malformed, though rattler installs it: {problem}")
            refused[expected or problem.message] += 1
            continue
        if expected or error:
            faults.append(f"{case.name}: linked, though expected {expected}; rattler says {error or 'nothing'}")
            continue
        theirs = tree_facts(tmp_path / f"prefix-{at}")
        if case.package.name != "python":
            theirs = {
                path: fact
                for path, fact in theirs.items()
                if path not in ("bin/python3.13", "conda-meta/python-3.13.5-h0_0.json")
            }
        faults += [f"{case.name}: {line}" for line in differences(entry_facts(entries), theirs)]
        equal += 1
    summary = (
        f"{len(cases)} packages: {equal} linked as rattler does, {sum(refused.values())} refused ({dict(refused)})"
    )
    record_property("packages", summary)
    print(summary)
    assert faults == []
    assert equal >= 70 and equal + sum(refused.values()) == len(cases)

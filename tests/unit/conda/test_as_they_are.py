"""Packages as other builders make them: what an index leaves out, scripts that nobody runs, .pyc of their own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conda_support import locked_package, package_files, write_package

from helioimages.conda.archive import read_index, write_repodata
from helioimages.conda.link import Prefix, link, with_compiled
from helioimages.conda.read import site_packages_of
from helioimages.conda.scripts import SCRIPT_HINT, refuse_scripts, script_kind
from helioimages.core import entries
from helioimages.core.entries import Content, Entry, Kind, merge
from helioimages.core.errors import HelioError, Stage

PREFIX = "srv/conda/envs/notebook"
SITE = "lib/python3.13/site-packages"


def _linked(channel: Path, **options: Any) -> dict[str, Entry]:
    (channel / "noarch").mkdir(exist_ok=True)
    (channel / "linux-64").mkdir(exist_ok=True)
    write_repodata(channel, ["linux-64"])
    [path] = package_files(channel, "linux-64")
    options = {"python_version": "3.13", "platform": "linux-64"} | options
    entries = link(path, locked_package(path, "linux-64"), Prefix(**options))
    return {entry.path.removeprefix(PREFIX + "/"): entry for entry in entries}


@pytest.mark.parametrize(
    ("index", "subdir"),
    [
        ({"depends": None}, "linux-64"),
        ({"subdir": None}, None),
        ({"subdir": None, "platform": "linux", "arch": "x86_64"}, "linux-64"),
        ({"subdir": None, "platform": "linux", "arch": "x86"}, "linux-32"),
        ({"subdir": None, "platform": "linux", "arch": "aarch64"}, "linux-aarch64"),
        ({"subdir": None, "platform": None, "arch": None}, None),
        ({"subdir": None, "noarch": "generic"}, "noarch"),
        ({"subdir": None, "noarch": True}, "noarch"),
    ],
)
def test_an_index_that_leaves_fields_out(tmp_path: Path, index: dict[str, Any], subdir: str | None) -> None:
    write_package(tmp_path, "small", {"share/x": (b"x", 0o644)}, index=index)
    [path] = [path for path in tmp_path.rglob("*.conda")]
    assert read_index(path).get("subdir") == subdir
    assert read_index(path)["depends"] == []


def test_a_package_without_subdir_belongs_where_it_lies(tmp_path: Path) -> None:
    write_package(tmp_path, "small", {"share/x": (b"x", 0o644)}, index={"subdir": None, "depends": None})
    assert "share/x" in _linked(tmp_path)
    document = json.loads((tmp_path / "linux-64" / "repodata.json").read_bytes())
    assert document["packages.conda"]["small-1.0-h0_0.conda"]["subdir"] == "linux-64"


@pytest.mark.parametrize("kind", ["True", "true", True, "generic", "Python", "ruby", 1])
def test_noarch_types(tmp_path: Path, kind: Any) -> None:
    link_json = json.dumps({"noarch": {"type": kind}, "package_metadata_version": 1}).encode()
    files = {"site-packages/x.py": (b"", 0o644)}
    write_package(tmp_path, "pure", files, noarch="generic", info={"info/link.json": link_json})
    if kind in ("Python", "ruby", 1) and kind is not True:
        with pytest.raises(HelioError, match="its noarch type is "):
            _linked(tmp_path)
    else:
        assert "site-packages/x.py" in _linked(tmp_path)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("bin/.small-post-link.sh", "post-link"),
        ("bin/.small-pre-link.sh", "pre-link"),
        ("bin/.small-post-link.bat", None),
        ("Scripts/.small-post-link.bat", None),
        ("Scripts/.small-post-link.sh", None),
        ("bin/.other-post-link.sh", None),
        ("bin/.small-pre-unlink.sh", None),
        ("bin/.small-extra-post-link.sh", None),
        ("share/bin/.small-post-link.sh", None),
    ],
)
def test_only_the_scripts_that_run_on_linux_count(tmp_path: Path, path: str, kind: str | None) -> None:
    assert script_kind("small", path) == kind
    write_package(tmp_path, "small", {path: (b"exit 1\n", 0o755)})
    if kind is None:
        assert path in _linked(tmp_path)
    else:
        with pytest.raises(HelioError, match=f"has a {kind} script"):
            _linked(tmp_path)


EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("as_bz2", [False, True])
def test_packages_that_need_a_script_are_told_all_at_once(tmp_path: Path, as_bz2: bool) -> None:
    write_package(tmp_path, "one", {"bin/.one-post-link.sh": (b"", 0o755)}, as_bz2=as_bz2)
    write_package(tmp_path, "two", {"python-scripts/.two-post-link.sh": (b"", 0o755)}, noarch="python", as_bz2=as_bz2)
    write_package(tmp_path, "three", {"bin/.two-post-link.sh": (b"", 0o755)}, as_bz2=as_bz2)
    files = package_files(tmp_path, "linux-64")
    with pytest.raises(HelioError) as caught:
        refuse_scripts([(locked_package(path, "linux-64"), path) for path in files], Stage.LOCK)
    end = ".tar.bz2" if as_bz2 else ".conda"
    assert caught.value.stage is Stage.LOCK
    assert str(caught.value) == (
        "conda packages have scripts that would have to run at installation\n"
        f"  one-1.0-h0_0{end}: post-link (bin/.one-post-link.sh, sha256:{EMPTY})\n"
        f"  two-1.0-h0_0{end}: post-link (python-scripts/.two-post-link.sh, sha256:{EMPTY})\n"
        f"\nhint: {SCRIPT_HINT}"
    )
    refuse_scripts([(locked_package(path, "linux-64"), path) for path in files if "three" in path.name], Stage.LOCK)


def test_a_script_that_people_read_is_a_file(tmp_path: Path) -> None:
    """By its digest: the script of the next version is another question."""
    write_package(tmp_path, "one", {"bin/.one-post-link.sh": (b"exit 1\n", 0o755)})
    [path] = package_files(tmp_path, "linux-64") if (tmp_path / "noarch").mkdir() is None else []
    package = locked_package(path, "linux-64")
    digest = hashlib.sha256(b"exit 1\n").hexdigest()
    refuse_scripts([(package, path)], Stage.LOCK, {"one": (digest,), "elsewhere": (EMPTY,)})
    with pytest.raises(HelioError, match=f"post-link .bin/.one-post-link.sh, sha256:{digest}"):
        refuse_scripts([(package, path)], Stage.LOCK, {"one": (EMPTY,)})
    assert "bin/.one-post-link.sh" in _linked(tmp_path, scripts={digest})
    with pytest.raises(HelioError, match="has a post-link script"):
        _linked(tmp_path, scripts={EMPTY})


def test_each_of_two_scripts_is_reviewed(tmp_path: Path) -> None:
    """A package may have one that runs before it is linked and one that runs after it."""
    texts = {"pre-link": b"echo before\n", "post-link": b"echo after\n"}
    write_package(tmp_path, "one", {f"bin/.one-{kind}.sh": (text, 0o755) for kind, text in texts.items()})
    [path] = package_files(tmp_path, "linux-64") if (tmp_path / "noarch").mkdir() is None else []
    package = locked_package(path, "linux-64")
    digests = {kind: hashlib.sha256(text).hexdigest() for kind, text in texts.items()}
    kinds = refuse_scripts([(package, path)], Stage.LOCK, {"one": tuple(digests.values())})
    assert kinds == {("one", digest): kind for kind, digest in digests.items()}
    for kind, digest in digests.items():
        with pytest.raises(HelioError) as caught:
            refuse_scripts([(package, path)], Stage.LOCK, {"one": (digest,)})
        assert kind not in caught.value.detail
    with pytest.raises(HelioError, match="has no such script"):
        refuse_scripts([(package, path)], Stage.LOCK, {"one": (*digests.values(), EMPTY)})


def test_a_reviewed_script_that_is_gone_is_told(tmp_path: Path) -> None:
    write_package(tmp_path, "one", {"bin/one": (b"", 0o755)})
    [path] = package_files(tmp_path, "linux-64") if (tmp_path / "noarch").mkdir() is None else []
    with pytest.raises(HelioError, match="the conda package `one` has no such script"):
        refuse_scripts([(locked_package(path, "linux-64"), path)], Stage.LOCK, {"one": (EMPTY,)})


def test_a_script_without_a_digest_cannot_be_reviewed(tmp_path: Path) -> None:
    write_package(tmp_path, "one", {"bin/.one-post-link.sh": (b"", 0o755)}, paths_json=False)
    [path] = package_files(tmp_path, "linux-64") if (tmp_path / "noarch").mkdir() is None else []
    with pytest.raises(HelioError, match="no digest"):
        refuse_scripts([(locked_package(path, "linux-64"), path)], Stage.LOCK, {"one": (EMPTY,)})


def test_a_record_is_named_by_what_it_is(tmp_path: Path) -> None:
    write_package(tmp_path, "small", {"share/x": (b"x", 0o644)})
    [path] = tmp_path.rglob("*.conda")
    package = locked_package(path, "linux-64")
    renamed = path.rename(path.with_name("small-1.0-h0_0_copy.conda"))
    entries = link(renamed, package, Prefix(python_version=None, platform="linux-64"))
    assert f"{PREFIX}/conda-meta/small-1.0-h0_0.json" in {entry.path for entry in entries}


def test_a_link_whose_target_was_hashed(tmp_path: Path) -> None:
    digest, text = hashlib.sha256(b"x").hexdigest(), hashlib.sha256(b"x.so").hexdigest()
    paths = [
        {"_path": "lib/l.so", "path_type": "softlink", "sha256": digest, "size_in_bytes": 1},
        {"_path": "lib/x.so", "path_type": "hardlink", "sha256": digest, "size_in_bytes": 1},
    ]
    info = {"info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode()}
    files: dict[str, tuple[bytes | str, int]] = {"lib/l.so": ("-> x.so", 0o777), "lib/x.so": (b"x", 0o755)}
    write_package(tmp_path, "links", files, info=info, paths_json=False)
    content = _linked(tmp_path)["conda-meta/links-1.0-h0_0.json"].content
    assert content is not None
    [first, _] = json.loads(content.read())["paths_data"]["paths"]
    assert first == paths[0] | {"sha256_in_prefix": text}


def _own_pyc(tmp_path: Path, **more: tuple[bytes | str, int]) -> tuple[dict[str, Entry], Any]:
    files: dict[str, tuple[bytes | str, int]] = {
        f"{SITE}/m.py": (b"x = 1\n", 0o644),
        f"{SITE}/__pycache__/m.cpython-313.pyc": (b"theirs", 0o664),
    }
    write_package(tmp_path, "arch", files | more)
    entries = _linked(tmp_path)
    [path] = package_files(tmp_path, "linux-64")
    return entries, locked_package(path, "linux-64")


def _pyc(name: str) -> Entry:
    return entries.file(f"{PREFIX}/{SITE}/__pycache__/{name}.cpython-313.pyc", b"our bytecode", origin="arch-1.0")


def test_our_pyc_stays_where_both_have_one(tmp_path: Path) -> None:
    entries, package = _own_pyc(tmp_path)
    result = {entry.path: entry for entry in merge(with_compiled(entries.values(), [_pyc("m"), _pyc("n")], package))}
    ours = result[_pyc("m").path].content
    assert ours is not None and ours.read() == b"our bytecode"
    record = result[f"{PREFIX}/conda-meta/arch-1.0-h0_0.json"].content
    assert record is not None and record.size == len(record.read())
    items = {item["_path"]: item for item in json.loads(record.read())["paths_data"]["paths"]}
    assert items[f"{SITE}/__pycache__/m.cpython-313.pyc"] == {
        "_path": f"{SITE}/__pycache__/m.cpython-313.pyc",
        "path_type": "hardlink",
        "sha256": hashlib.sha256(b"theirs").hexdigest(),
        "sha256_in_prefix": hashlib.sha256(b"our bytecode").hexdigest(),
        "size_in_bytes": len(b"our bytecode"),
    }


def test_a_pyc_that_has_no_source_here_stays(tmp_path: Path) -> None:
    entries, package = _own_pyc(tmp_path, **{f"{SITE}/__pycache__/gone.cpython-313.pyc": (b"only", 0o644)})
    result = {entry.path: entry for entry in merge(with_compiled(entries.values(), [_pyc("m")], package))}
    content = result[f"{PREFIX}/{SITE}/__pycache__/gone.cpython-313.pyc"].content
    assert content is not None and content.read() == b"only"


def test_what_was_linked_to_a_replaced_pyc_stays_whole(tmp_path: Path) -> None:
    names = [f"{SITE}/__pycache__/m.cpython-313.opt-{level}.pyc" for level in (1, 2)]
    more: dict[str, tuple[bytes | str, int]] = {
        name: (f"== {SITE}/__pycache__/m.cpython-313.pyc", 0o664) for name in names
    }
    entries, package = _own_pyc(tmp_path, **more)
    assert [entries[name].kind for name in names] == [Kind.HARDLINK, Kind.HARDLINK]
    result = {entry.path: entry for entry in merge(with_compiled(entries.values(), [_pyc("m")], package))}
    first, second = (result[f"{PREFIX}/{name}"] for name in names)
    assert first.kind is Kind.FILE and isinstance(first.content, Content) and first.content.read() == b"theirs"
    assert (second.kind, second.target) == (Kind.HARDLINK, first.path)


def test_nothing_changes_for_a_package_without_pyc(tmp_path: Path) -> None:
    write_package(tmp_path, "arch", {f"{SITE}/m.py": (b"", 0o644)})
    entries = tuple(_linked(tmp_path).values())
    [path] = package_files(tmp_path, "linux-64")
    pyc = _pyc("m")
    assert with_compiled(entries, [pyc], locked_package(path, "linux-64")) == (*entries, pyc)


@pytest.mark.parametrize("site", [None, "lib/python3.13t/site-packages"])
def test_free_threaded_python_names_its_folder(tmp_path: Path, site: str | None) -> None:
    write_package(tmp_path, "python", {"bin/python": (b"", 0o755)}, index={"python_site_packages_path": site})
    [path] = tmp_path.rglob("*.conda")
    assert site_packages_of(path, locked_package(path, "linux-64")) == site


@pytest.mark.parametrize("site", ["../../etc", "/usr/lib/python3/dist-packages", "lib//x", 3])
def test_a_folder_for_modules_that_leaves_the_prefix(tmp_path: Path, site: Any) -> None:
    write_package(tmp_path, "python", {"bin/python": (b"", 0o755)}, index={"python_site_packages_path": site})
    [path] = tmp_path.rglob("*.conda")
    with pytest.raises(HelioError, match=r"^(the conda package )?`python-1\.0-h0_0\.conda` "):
        site_packages_of(path, locked_package(path, "linux-64"))

"""Conda packages with different files of one path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conda_support import PREFIX, locked_package, package_files, write_package

from helioimages.conda.clobber import Clobber, clobbers
from helioimages.conda.link import Prefix, forgetting, link
from helioimages.conda.lock import CondaPackage
from helioimages.core.entries import Kind

FILE = {"etc/x": (b"", 0o644)}


def channel(folder: Path, packages: dict[str, Any]) -> tuple[tuple[CondaPackage, Path], ...]:
    for name, (files, depends) in packages.items():
        version = "3.13.5" if name == "python" else "1.0"
        write_package(folder, name, files, version=version, index={"depends": depends})
    return tuple((locked_package(path, "linux-64"), path) for path in package_files(folder, "linux-64"))


def files(content: str, *paths: str) -> dict[str, tuple[bytes, int]]:
    return {path: (content.encode(), 0o644) for path in paths or ("etc/x",)}


def winners(folder: Path, packages: dict[str, Any], **options: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    (folder / "noarch").mkdir(parents=True, exist_ok=True)
    result = clobbers(channel(folder, packages), platform="linux-64", **options)
    return [(clobber.path, clobber.winner, clobber.losers) for clobber in result]


def test_who_needs_the_other_wins(tmp_path: Path) -> None:
    packages = {"a": (files("A"), []), "b": (files("B"), ["a"])}
    assert winners(tmp_path, packages) == [("etc/x", "b", ("a",))]


def test_of_strangers_the_first_by_name_wins(tmp_path: Path) -> None:
    packages = {"c": (files("C"), []), "a": (files("A"), []), "b": (files("B"), [])}
    assert winners(tmp_path, packages) == [("etc/x", "a", ("b", "c"))]


def test_equal_files_are_nobodys(tmp_path: Path) -> None:
    packages = {"a": (files("A", "etc/x", "etc/y"), []), "b": (files("A"), ["a"])}
    assert winners(tmp_path, packages) == []


def test_what_people_named_is_theirs(tmp_path: Path) -> None:
    packages = {"a": (files("A", "etc/x", "lib/y"), []), "b": (files("B", "etc/x", "lib/y"), [])}
    assert winners(tmp_path, packages, named=["etc/*"]) == [("lib/y", "a", ("b",))]


def test_a_parents_winner_stays_where_its_own_packages_are_concerned(tmp_path: Path) -> None:
    # Alone, `b` would lose to `a`.
    packages = {"a": (files("A"), []), "b": (files("B"), []), "c": (files("C"), []), "0": (files("0"), [])}
    options: dict[str, Any] = {"before": {"etc/x": "b"}, "inherited": {"a", "b"}}
    assert winners(tmp_path / "1", {"a": packages["a"], "b": packages["b"]}, **options) == [("etc/x", "b", ("a",))]
    assert winners(tmp_path / "2", packages, **options) == [("etc/x", "0", ("a", "b", "c"))]
    del packages["0"]
    assert winners(tmp_path / "3", packages, **options) == [("etc/x", "b", ("a", "c"))]


def test_scripts_of_noarch_packages_count(tmp_path: Path) -> None:
    write_package(tmp_path, "python", files("P", "bin/python"), version="3.13.5")
    write_package(tmp_path, "tool", files("T", "bin/run", "lib/python3.13/site-packages/mod.py"))
    entry = {"noarch": {"type": "python", "entry_points": ["run = mod:main"]}, "package_metadata_version": 1}
    info = {"info/link.json": json.dumps(entry).encode()}
    write_package(tmp_path, "pure", files("N", "site-packages/mod.py"), noarch="python", info=info)
    packages = tuple((locked_package(path, "linux-64"), path) for path in package_files(tmp_path, "linux-64"))
    assert clobbers(packages, platform="linux-64") == (
        Clobber(path="bin/run", winner="pure", losers=("tool",)),
        Clobber(path="lib/python3.13/site-packages/mod.py", winner="pure", losers=("tool",)),
    )


def test_a_loser_forgets_what_it_lost(tmp_path: Path) -> None:
    content: dict[str, tuple[bytes | str, int]] = {
        "a/x": (b"A", 0o644),
        "b/x": ("== a/x", 0o644),
        "c/x": ("== a/x", 0o644),
    }
    write_package(tmp_path, "x", content | {"d": (b"D", 0o644)})
    path = tmp_path / "linux-64" / "x-1.0-h0_0.conda"
    package = locked_package(path, "linux-64")
    linked = link(path, package, Prefix(python_version=None, platform="linux-64"))
    kept = tuple(entry for entry in linked if not entry.path.endswith("a/x"))
    entries = {entry.path.removeprefix(PREFIX[1:] + "/"): entry for entry in forgetting(linked, kept, package)}
    # The other names of a file that went are the file now.
    assert entries["b/x"].kind is Kind.FILE and entries["b/x"].content is not None
    assert entries["b/x"].content.read() == b"A"
    assert (entries["c/x"].kind, entries["c/x"].target) == (Kind.HARDLINK, f"{PREFIX[1:]}/b/x")
    content_of_record = entries["conda-meta/x-1.0-h0_0.json"].content
    assert content_of_record is not None
    record = json.loads(content_of_record.read())
    assert record["files"] == ["b/x", "c/x", "d"]
    assert [item["_path"] for item in record["paths_data"]["paths"]] == ["b/x", "c/x", "d"]
    assert forgetting(linked, linked, package) == linked

"""Who wins a path: what is locked, against py-rattler's own installer."""

from __future__ import annotations

from pathlib import Path

import pytest
from conda_support import locked_package, package_files, their_files, write_package, write_repodata

from helioimages.conda.clobber import clobbers

#: name -> what it needs; all bring one path.
GRAPHS: dict[str, dict[str, list[str]]] = {
    "strangers": {"b": [], "a": [], "c": []},
    "who needs another": {"a": [], "b": ["a"]},
    "against the names": {"z": [], "a": ["z"], "c": []},
    "through a third": {"a": [], "m": ["a"], "z": ["m"]},
    "a diamond": {"d": [], "b": ["d"], "c": ["d"], "a": ["b", "c"]},
    "below others": {"x": [], "y": [], "k": ["x"], "c": ["y"], "q": ["k", "c"]},
    "a ring": {"a": ["b"], "b": ["a"], "c": []},
    "python": {"python": [], "pip": ["python"], "a": ["python"], "lib": []},
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_the_winner_is_rattlers(tmp_path: Path, graph: dict[str, list[str]]) -> None:
    channel = tmp_path / "channel"
    (channel / "noarch").mkdir(parents=True)
    for name, depends in graph.items():
        version = "3.13.5" if name == "python" else "1.0"
        content = {"etc/x": (name.encode(), 0o644), f"share/{name}": (b"", 0o644)}
        write_package(channel, name, content, version=version, index={"depends": depends})
    write_repodata(channel, ["linux-64"])
    files = package_files(channel, "linux-64")
    (clobber,) = clobbers([(locked_package(path, "linux-64"), path) for path in files], platform="linux-64")
    theirs = their_files(channel, files, tmp_path, "linux-64")
    moved = {path.split("/")[1] for path in theirs if path.startswith("__clobbers__/")}
    assert (clobber.winner, clobber.losers) == ((graph.keys() - moved).pop(), tuple(sorted(moved)))

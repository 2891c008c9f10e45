"""The linker, the solver and the writer against the real thing: py-rattler's own installer and readers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from conda_support import (
    PLACEHOLDER,
    PREFIX,
    READ_RECORDS,
    VIRTUAL,
    agree,
    differences,
    locked_package,
    our_entries,
    package_files,
    run_python,
    their_files,
    write_package,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from helioimages.conda.archive import read_index
from helioimages.conda.link import Prefix, link
from helioimages.conda.solve import CondaQuestion, solve
from helioimages.core.entries import Kind
from helioimages.machine.store import default_root


def _text(*parts: str) -> bytes:
    return "".join(parts).replace("@", PLACEHOLDER).encode()


#: name -> (content, mode, has_prefix)
CASES: dict[str, tuple[bytes | str, int, str]] = {
    "bin/script": (_text("#!@/bin/sh -e\necho @ @\n"), 0o755, "text"),
    "bin/again": ("== bin/script", 0o755, "text"),
    "bin/plain": (b"#!/bin/sh\n", 0o775, ""),
    "bin/plain-again": ("== bin/plain", 0o775, ""),
    "bin/long": (_text("#!@/bin/", "y" * 120, " -e -u\n@\n"), 0o755, "text"),
    "bin/long-python": (_text("#!@/", "y" * 120, "/python3.13 -s\n@\n"), 0o755, "text"),
    "bin/long-python-spaced": (_text("#!  @/", "y" * 120, "/python"), 0o755, "text"),
    "bin/long-pypy": (_text("#!@/", "y" * 120, "/python3-config\n"), 0o755, "text"),
    "bin/long-elsewhere": (_text("#!/opt/", "y" * 130, " -x\n@"), 0o755, "text"),
    "bin/long-nothing": (_text("#!", "y" * 130, "\n@"), 0o755, "text"),
    "bin/long-crlf": (_text("#!@/bin/", "y" * 120, " -e\r\n@\r\n"), 0o755, "text"),
    "bin/127": (_text("#!@/bin/", "y" * (127 - len(PREFIX) - 7), "\n@"), 0o755, "text"),
    "bin/128": (_text("#!@/bin/", "y" * (128 - len(PREFIX) - 7), "\n@"), 0o755, "text"),
    "lib/only": (_text("@"), 0o644, "text"),
    "lib/absent": (b"nothing to replace\xff", 0o664, "text"),
    "lib/empty": (b"", 0o600, ""),
    "lib/strings": (_text("\0\1@/a:@/b\0tail\0@"), 0o755, "binary"),
    "lib/no-end": (_text("\0@/a:@/b"), 0o644, "binary"),
    "lib/adjacent": (_text("@@\0\0@\0x"), 0o644, "binary"),
    "lib/none": (b"\0\1\2", 0o644, "binary"),
    "lib/link": ("-> strings", 0o777, ""),
    "lib/up": ("-> ../bin/script", 0o777, ""),
    "lib/dangling": ("-> /nowhere/at/all", 0o777, ""),
    "lib/über/ünï code": (b"1", 0o644, ""),
    "lib/copied": (b"2", 0o644, ""),
}


@pytest.mark.parametrize("bz2", [False, True], ids=["conda", "tar.bz2"])
@pytest.mark.parametrize("paths_json", [True, False], ids=["paths.json", "files"])
def test_every_linker_case(tmp_path: Path, bz2: bool, paths_json: bool) -> None:
    channel = tmp_path / "channel"
    files = {path: (content, mode) for path, (content, mode, _) in CASES.items()}
    prefixes = {path: mode for path, (_, _, mode) in CASES.items() if mode}
    options: dict[str, Any] = {"index": {"constrains": ["other >1"], "depends": ["zlib >=1", "python"]}}
    write_package(
        channel,
        "cases",
        files,
        prefixes=prefixes,
        no_link=("lib/copied",),
        as_bz2=bz2,
        paths_json=paths_json,
        **options,
    )
    entries = {entry.path: entry for entry in agree(channel, tmp_path, python_version=None)}
    assert entries[f"{PREFIX[1:]}/bin/plain-again"].kind is Kind.HARDLINK


def test_old_default_placeholder(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    files = {"bin/old": (b"#!/opt/anaconda1anaconda2anaconda3/bin/sh\n", 0o755)}
    write_package(channel, "old", files, paths_json=False, as_bz2=True, info={"info/has_prefix": b"bin/old\n"})
    entries = agree(channel, tmp_path, python_version=None)
    content = {entry.path: entry.content for entry in entries}[f"{PREFIX[1:]}/bin/old"]
    assert content.read() == b"#!/srv/conda/envs/notebook/bin/sh\n"


@pytest.mark.parametrize("site_packages", [None, "lib/python3.13t/site-packages"])
def test_noarch(tmp_path: Path, site_packages: str | None) -> None:
    channel = tmp_path / "channel"
    index = {"python_site_packages_path": site_packages} if site_packages else {}
    write_package(channel, "python", {"bin/python3.13": (b"", 0o755)}, version="3.13.5", index=index)
    link_json = {
        "noarch": {"type": "python", "entry_points": ["one = pkg.cli:main", "two=pkg:App.run"]},
        "package_metadata_version": 1,
    }
    write_package(
        channel,
        "pure",
        {
            "site-packages/pkg/__init__.py": (_text("PREFIX = '@'\n"), 0o644),
            "site-packages/pkg-1.0.dist-info/RECORD": (b"", 0o644),
            "python-scripts/three": (_text("#!@/bin/python\n"), 0o755),
            "share/site-packages/x": (b"x", 0o644),
        },
        noarch="python",
        prefixes={"site-packages/pkg/__init__.py": "text", "python-scripts/three": "text"},
        info={"info/link.json": json.dumps(link_json).encode()},
    )
    write_package(channel, "data", {"site-packages/not-python": (b"1", 0o644)}, noarch="generic")
    entries = agree(channel, tmp_path, python_version="3.13", site_packages=site_packages)
    paths = {entry.path.removeprefix(PREFIX[1:] + "/") for entry in entries}
    assert {"bin/one", "bin/two", "bin/three", "site-packages/not-python"} <= paths
    assert f"{site_packages or 'lib/python3.13/site-packages'}/pkg/__init__.py" in paths


_pieces = st.lists(
    st.sampled_from(
        [PLACEHOLDER, PLACEHOLDER[:-1], "/bin/", " ", "a", "b" * 30, "y" * 100, "python3", "\t", "é", "\r"]
    ),
    max_size=8,
).map("".join)
_texts = st.tuples(
    st.sampled_from(["", "#!", "#! ", "#!/", f"#!{PLACEHOLDER}/bin/"]),
    _pieces,
    st.sampled_from(["", "\n", "\n\n"]),
    _pieces,
).map(lambda parts: "".join(parts).encode())
_binaries = st.lists(
    st.sampled_from([PLACEHOLDER.encode(), PLACEHOLDER[:-1].encode(), b"\0", b"\0\0", b"\xff", b":/x", b"\n"]),
    max_size=12,
).map(b"".join)


# One file differs, of many that were made at once: there is nothing to shrink, and each try starts an installer.
@settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    texts=st.lists(_texts, min_size=5, max_size=40),
    binaries=st.lists(_binaries, min_size=5, max_size=40),
    mode=st.sampled_from([0o644, 0o755]),
)
def test_any_text_and_any_binary(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], binaries: list[bytes], mode: int
) -> None:
    tmp = tmp_path_factory.mktemp("any")
    files = {f"text/{index}": (data, mode) for index, data in enumerate(texts)}
    files |= {f"binary/{index}": (data, mode) for index, data in enumerate(binaries)}
    prefixes = {path: path.partition("/")[0] for path in files}
    write_package(tmp / "channel", "any", files, prefixes=prefixes)
    agree(tmp / "channel", tmp, python_version=None)


def test_rattler_reads_our_records(tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    write_package(channel, "reads", {"bin/x": (b"", 0o755), "lib/l": ("-> x", 0o777)}, index={"depends": ["python"]})
    [path] = package_files(channel, "linux-64") if (channel / "noarch").mkdir() is None else []
    entries = link(
        path,
        locked_package(path, "linux-64"),
        Prefix(python_version=None, platform="linux-64"),
        requested_specs=("reads >=1",),
    )
    [record] = [entry for entry in entries if "/conda-meta/" in entry.path]
    out = tmp_path / Path(record.path).name
    out.write_bytes(record.content.read())
    assert run_python(READ_RECORDS, [str(out)]) == "reads 1.0 h0_0 2 2\n"


def _local_channel() -> Path:
    indexes = sorted(default_root().glob("channels/*/channel.json"), key=lambda path: path.stat().st_mtime)
    if not indexes:
        pytest.skip("the store has no local channel: run `buildimages channel`")
    return indexes[-1].parent


def test_the_local_channel(tmp_path: Path) -> None:
    channel = _local_channel()
    [platform] = {path.parent.name for path in channel.glob("*/*.conda")} - {"noarch"}
    files = package_files(channel, platform)
    python = next(read_index(path)["version"] for path in files if path.name.startswith("python-3"))
    minor = ".".join(python.split(".")[:2])
    ours, entries = our_entries(files, platform, python_version=minor)
    assert differences(ours, their_files(channel, files, tmp_path, platform)) == []
    records = [entry for entry in entries if "/conda-meta/" in entry.path]
    for entry in records:
        (tmp_path / Path(entry.path).name).write_bytes(entry.content.read())
    read = run_python(READ_RECORDS, [str(tmp_path / Path(entry.path).name) for entry in records])
    assert len(read.splitlines()) == len(files)


def test_solving_the_local_channel() -> None:
    channel = _local_channel()
    [platform] = {path.parent.name for path in channel.glob("*/*.conda")} - {"noarch"}
    question = CondaQuestion(specs=["python 3.13.*"], platform=platform, virtual_packages=VIRTUAL)
    packages = solve(question, channel="local", repodata_dirs=[channel])
    for package in packages:
        path = channel / package.subdir / package.file_name
        assert package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert package.url == f"local/{package.subdir}/{package.file_name}"
    assert "python" in [package.name for package in packages]

"""A git address, on servers of every kind: cloned as it is meant, or refused in time, and nobody is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from git_support import commit_all, git, git_server, repository, silent_server

from helioimages.core.errors import HelioError, Stage
from helioimages.extend import git as git_room
from helioimages.extend import git_address
from helioimages.extend.repository import opened

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 8000000\n"


@pytest.fixture
def upstream(tmp_path: Path) -> Path:
    """Return a repository of two commits: the first is `v1`, the second has the branches `main` and `work/side`."""
    folder = repository(tmp_path / "served" / "My_Analysis.git", {"requirements.txt": "sgp4\n"})
    git(folder, "tag", "v1")
    commit_all(folder, {"notebooks/later.ipynb": "{}", "notebooks/apt.txt": ""})
    git(folder, "branch", "work/side")
    git(folder, "update-server-info")
    return folder


def paths(source: str, ref: str = "") -> list[str]:
    with opened(source, ref) as held:
        return [entry.path for entry in held.files if entry.content]


def fault(source: str, ref: str = "") -> HelioError:
    with pytest.raises(HelioError) as caught:
        paths(source, ref)
    # Where a clone was, which is gone.
    assert "helioimages-clone" not in str(caught.value)
    return caught.value


FIRST, SECOND = ["requirements.txt"], ["notebooks/apt.txt", "notebooks/later.ipynb", "requirements.txt"]


@pytest.mark.parametrize(
    ("kind", "folder"), [("file", ""), ("git", "My_Analysis.git/.git"), ("plain", "My_Analysis.git/.git")]
)
def test_what_an_address_means(upstream, kind, folder):
    first = git(upstream, "rev-parse", "v1")
    cases = [
        ("", SECOND),
        ("@main", SECOND),
        ("@work/side", SECOND),
        ("@v1", FIRST),
        (f"@{first}", FIRST),
        (f"@{first[:9]}", FIRST),
        ("#subdirectory=notebooks", ["apt.txt", "later.ipynb"]),
        ("@main#subdirectory=./notebooks/", ["apt.txt", "later.ipynb"]),
    ]

    def check(address: str) -> None:
        assert [paths(address + words) for words, _ in cases] == [held for _, held in cases]
        assert paths(f"git+{address}", "v1") == FIRST

    if kind == "file":
        check(f"file://{upstream}")
    else:
        with git_server(upstream.parent, kind) as server:
            check(f"{server}/{folder}")


def test_a_folder_of_the_repository_names_the_image(upstream):
    with opened(f"file://{upstream}@main#subdirectory=notebooks") as held:
        assert (held.name, held.source) == ("notebooks", f"file://{upstream}#subdirectory=notebooks")
        assert held.commit == git(upstream, "rev-parse", "main")


def test_a_commit_of_no_branch_any_more(upstream):
    """As a pull request's after it was rebased, or the one that a lock has."""
    gone = commit_all(upstream, {"gone": ""})
    git(upstream, "reset", "-q", "--hard", "HEAD~1")
    git(upstream, "update-ref", "refs/pull/7/head", gone)
    assert "gone" in paths(f"file://{upstream}", gone)
    assert "gone" in paths(f"file://{upstream}@refs/pull/7/head")


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("@mian", "has no `mian`", "did you mean `main`?"),
        ("@v9.9", "has no `v9.9`", ""),
        ("@" + "0" * 40, "has no `0000", ""),
        ("#subdirectory=nowhere", "has no folder `nowhere`", ""),
        ("#subdirectory=link", "has no folder `link`", ""),
        ("#subdirectory=../x", "names a folder out of its repository", ""),
        ("@", "is not an address of a git repository", ""),
    ],
)
def test_what_is_not_there(upstream, words, message, hint):
    (upstream / "link").symlink_to("/etc")
    commit_all(upstream, {})
    error = fault(f"file://{upstream}{words}")
    assert message in error.message
    assert error.hint == hint


def test_two_refs_that_contradict(upstream):
    assert fault(f"file://{upstream}@v1", "main").message == "`--ref main` contradicts `@v1`"
    assert paths(f"file://{upstream}@v1", "v1") == FIRST


def test_a_repository_without_a_commit(tmp_path):
    git(tmp_path, "init", "-q", "empty")
    assert fault(f"file://{tmp_path}/empty").message == f"`file://{tmp_path}/empty` is empty"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:9/x.git", "Failed to connect"),
        ("http://nowhere.invalid/x.git", "Could not resolve host"),
        pytest.param(
            *("ssh://git@127.0.0.1:9/x.git", "Connection refused"),
            marks=pytest.mark.skipif(not shutil.which("ssh"), reason="ssh is not installed"),
        ),
        ("file:///nowhere/x.git", "does not appear to be a git repository"),
    ],
)
def test_what_cannot_be_reached(address, words, monkeypatch):
    # A proxy would answer in the place of names that are none.
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    error = fault(address)
    assert (error.stage, error.message) == (Stage.FETCH, f"cannot clone `{address}`")
    assert words in error.detail


def test_a_server_that_asks_for_a_login_asks_nobody(tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    helper = tmp_path / "askpass"
    helper.write_text(f"#!/bin/sh\ntouch {asked}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("GIT_ASKPASS", str(helper))
    monkeypatch.setenv("SSH_ASKPASS", str(helper))
    with git_server(tmp_path, "login") as server:
        error = fault(f"{server}/private.git")
    assert error.message == f"cannot clone `{server}/private.git`"
    assert "asks for a login" in error.hint
    assert not asked.exists()


def running(word: str) -> list[str]:
    """Return the processes of this machine whose words have one."""
    told = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in line and f"/{os.getpid()}/" not in str(place):
            told.append(line)
    return told


def left(word: str) -> list[str]:
    """Return the same after a while: what is killed takes a moment to end."""
    deadline = time.monotonic() + 10
    while running(word) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running(word)


def test_a_server_that_never_answers_is_left_and_so_is_what_git_started(monkeypatch):
    monkeypatch.setattr(git_room, "HELLO_S", 1)
    with silent_server() as server:
        error = fault(f"{server}/x.git")
        assert error.detail == "git had no answer within 1 s"
        assert left(server) == []


def test_nothing_of_git_is_left_when_a_person_ends_it(tmp_path):
    """Ctrl-C reaches this process alone: git has a session of its own."""
    script = (
        "import sys; from helioimages.extend import git; from pathlib import Path\n"
        "git.clone(sys.argv[1], '', Path(sys.argv[2]))"
    )
    with silent_server() as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, f"{server}/x.git", str(tmp_path / "x")],
            env=os.environ | {"PYTHONPATH": str(Path(git_room.__file__).parents[2])},
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 20
        while len(running(f"{server}/x.git")) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(running(f"{server}/x.git")) >= 3
        process.send_signal(2)
        process.communicate(timeout=20)
        assert left(server) == []


def test_the_address_of_a_page(tmp_path):
    with git_server(tmp_path) as server:
        error = fault(f"{server}/team/work/tree/main/notebooks")
    assert error.hint == f"this is the address of a page: write {server}/team/work@main"


def test_submodules_come_with_it(upstream, tmp_path):
    library = repository(tmp_path / "served" / "library.git", {"lib.py": "X = 1\n"})
    git(upstream, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "../library.git", "lib")
    git(upstream, "config", "-f", ".gitmodules", "submodule.lib.url", "../library.git")
    commit_all(upstream, {})
    assert "lib/lib.py" in paths(f"file://{upstream}")
    # A folder is taken as it is; of one that lacks them, too little would be in the image.
    git(tmp_path, "clone", "-q", str(upstream), "here")
    error = fault(str(tmp_path / "here"))
    assert (error.message, error.where) == ("the submodule `lib` is empty", ".gitmodules line 2")
    assert error.hint == "`git submodule update --init --recursive` brings them"
    library.rename(tmp_path / "gone")
    error = fault(f"file://{upstream}")
    assert error.message == f"cannot fetch a submodule of `file://{upstream}`"
    assert error.where == ".gitmodules"


def test_a_submodule_of_the_network_is_no_folder_of_this_machine(upstream, tmp_path):
    secret = repository(tmp_path / "secret", {"key": "of mine\n"})
    git(upstream, "-c", "protocol.file.allow=always", "submodule", "add", "-q", f"file://{secret}", "lib")
    commit_all(upstream, {})
    with git_server(upstream.parent) as server:
        error = fault(f"{server}/My_Analysis.git/.git")
    assert "transport 'file' not allowed" in error.detail


def test_pointers_of_git_lfs_are_told(upstream):
    commit_all(upstream, {"data/a.fits": POINTER, "data/b.fits": POINTER, "data/text": "version of mine\n" * 9})
    error = fault(f"file://{upstream}")
    assert (error.stage, error.where) == (Stage.SPEC, "data/a.fits")
    assert error.message == "`data/a.fits` is a pointer of git-lfs, not the file itself"
    assert error.detail == "expected its content; the same of 1 other file"


def test_a_repository_that_fills_the_disk(upstream, monkeypatch):
    (upstream / "zeros").write_bytes(bytes(8 << 20))
    commit_all(upstream, {})
    monkeypatch.setattr(git_room, "MOST_BYTES", 1 << 20)
    error = fault(f"file://{upstream}")
    assert error.message == f"cannot check out `file://{upstream}`"
    assert "keep data in a bucket" in error.hint
    (upstream / "noise").write_bytes(os.urandom(8 << 20))
    commit_all(upstream, {})
    error = fault(f"file://{upstream}")
    assert error.message == f"cannot clone `file://{upstream}`"
    assert "keep data in a bucket" in error.hint


def test_a_folder_runs_no_program_that_it_names(upstream):
    """`git status` runs the monitor of a folder's own settings."""
    git(upstream, "config", "core.fsmonitor", f"touch {upstream.parent}/ran; false")
    with opened(str(upstream)) as held:
        assert held.commit == git(upstream, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")
    assert not (upstream.parent / "ran").exists()


def test_git_is_called_in_a_hook_of_another_repository(upstream, tmp_path, monkeypatch):
    other = repository(tmp_path / "other", {"a": ""})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert paths(f"file://{upstream}") == SECOND


@pytest.mark.parametrize(
    ("text", "url", "ref", "folder"),
    [
        ("git@host:a/b.git@v1", "git@host:a/b.git", "v1", "."),
        ("ssh://git@host/a/b", "ssh://git@host/a/b", "", "."),
        ("https://me:secret@host/a@b/c.git@v1", "https://me:secret@host/a@b/c.git", "v1", "."),
        ("git+https://host/a#egg=a[x]&subdirectory=py", "https://host/a", "", "py"),
    ],
)
def test_parts_of_an_address(text, url, ref, folder):
    address = git_address.parse(text)
    assert (address.url, address.ref, address.folder) == (url, ref, folder)

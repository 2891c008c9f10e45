"""The store's promise: a file that exists is whole, and stays as it is."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from helioimages.core import files as whole
from helioimages.core.errors import HelioError
from helioimages.machine.store import Store, default_root, settle

DIGEST = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What reaches the disk and what gets its name, in order, with the bytes that are in the file at that moment."""
    seen: list[tuple[str, bytes]] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        seen.append(("fsync", Path(f"/proc/self/fd/{handle}").read_bytes()))
        fsync(handle)

    def named(source: str | Path, target: str | Path) -> None:
        seen.append((f"name {Path(target).name}", Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", named)
    return seen


def test_bytes_are_on_the_disk_before_they_have_a_name(store, disk):
    with store.writing(store.artefact("a")) as file:
        file.write(b"hello")
    assert disk == [("fsync", b"hello"), ("name a", b"hello")]
    assert stat.S_IMODE(store.artefact("a").stat().st_mode) == 0o444
    assert list((store.root / "tmp").iterdir()) == []


def test_so_are_small_files_outside_of_it(tmp_path, disk):
    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    whole.write(path, "new", mode=0o600)
    assert disk == [("fsync", b"new"), ("name state.json", b"new")]
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    whole.write(path, b"newer")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"newer", 0o644)
    assert os.listdir(tmp_path) == ["state.json"]


def test_a_small_file_that_cannot_be_named_leaves_nothing(tmp_path, monkeypatch):
    def full(*_names: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        whole.write(path, b"new")
    assert (os.listdir(tmp_path), path.read_bytes()) == (["state.json"], b"old")


def test_what_fails_while_it_is_written_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError), store.writing(store.artefact("a")) as file:
        file.write(b"hel")
        raise ZeroDivisionError
    assert not store.artefact("a").exists()
    assert list((store.root / "tmp").iterdir()) == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the system refuse to write more than so many bytes into one file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [10_000, 3 << 20])
def test_a_full_disk_is_told_with_the_place(store, size):
    # A small file is refused when it is flushed, a large one within the block.
    with pytest.raises(HelioError) as caught, largest_file(4096), store.writing(store.artefact("a")) as file:
        file.write(bytes(size))
    assert str(caught.value) == (
        f"cannot write {store.artefact('a')}\n"
        "  [Errno 27] File too large\n"
        "\n"
        "hint: check the space and rights of the store"
    )
    assert list((store.root / "tmp").iterdir()) == []


def test_a_fault_of_what_is_written_from_is_not_the_disks(store, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), store.writing(store.artefact("a")) as file:
        file.write((tmp_path / "nowhere").read_bytes())
    with pytest.raises(ConnectionResetError), store.writing(store.artefact("a")):
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    assert list((store.root / "tmp").iterdir()) == []
    assert not store.artefact("a").exists()


def test_a_damaged_blob_is_none_and_is_mended(store):
    assert store.put_blob(b"hello") == DIGEST
    path = store.blob(DIGEST)
    path.chmod(0o644)
    path.write_bytes(b"jello")
    assert store.read_blob(DIGEST) is None
    assert store.put_blob(b"hello") == DIGEST
    assert store.read_blob(DIGEST) == path.read_bytes() == b"hello"


def test_an_artefact_that_was_cut_is_mended(store, tmp_path):
    (tmp_path / "a.whl").write_bytes(b"hello")
    name = store.put_artefact(tmp_path / "a.whl")
    path = store.artefact(name)
    assert (f"sha256:{name}", path.read_bytes()) == (DIGEST, b"hello")
    path.chmod(0o644)
    path.write_bytes(b"hel")
    assert store.put_artefact(tmp_path / "a.whl") == name
    assert path.read_bytes() == b"hello"


@pytest.mark.parametrize("left", [b"", b"{", b'{"a": 1'])
def test_a_memo_that_was_cut_is_forgotten(store, left):
    assert store.recall("layer", "k") is None
    store.remember("layer", "k", {"b": [1], "a": None})
    assert store.recall("layer", "k") == {"b": [1], "a": None}
    path = store.root / "memo" / "layer" / "k.json"
    path.chmod(0o644)
    path.write_bytes(left)
    assert store.recall("layer", "k") is None


def test_a_lock_is_held_against_others(store):
    path = store.root / "run" / "engine" / "start.lock"
    with store.lock("engine/start"), open(path, "wb") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(path, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_who_holds_a_lock_is_known_without_waiting(tmp_path):
    path = tmp_path / "lock"
    with whole.held(path, mode=0o600) as handle:
        assert whole.is_held(path)
        # Whoever inherits the handle holds the lock too.
        other = os.dup(handle)
    assert whole.is_held(path)
    os.close(other)
    assert not whole.is_held(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileNotFoundError):
        whole.is_held(tmp_path / "none")


def test_a_folder_that_cannot_be_settled_is_an_error(tmp_path):
    settle(tmp_path)
    with pytest.raises(FileNotFoundError):
        settle(tmp_path / "none")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HELIOIMAGES_STORE": "/s", "XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/s"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/helioimages"),
        ({"HOME": "/h"}, "/h/.cache/helioimages"),
    ],
)
def test_where_it_is(monkeypatch, environment, expected):
    for name in ("HELIOIMAGES_STORE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_root() == Path(expected)

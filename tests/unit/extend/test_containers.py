"""A container's session, on a stand-in for the container: what goes in is streamed, what comes out has a limit."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from helioimages.core.entries import directory, file, symlink
from helioimages.core.errors import HelioError, Stage
from helioimages.extend import containers

HOME = "/home/jovyan"


class Container:
    """Keeps what it is given, and gives an archive in pieces; its client and answer as well."""

    id, base_url, api_version = "abc", "http://engine", "1.41"

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.given, self.taken, self.closed = pieces, {}, 0, False
        self.client = self.api = self

    def put_archive(self, folder: str, data) -> None:
        assert not isinstance(data, bytes), "a repository of gigabytes would be in memory, twice"
        with tarfile.open(fileobj=io.BytesIO(data.read())) as tar:
            self.given[folder] = tar.getmembers()

    def get(self, address: str, *, params, stream: bool):
        assert (address, params, stream) == ("http://engine/v1.41/containers/abc/archive", {"path": HOME}, True)
        return self

    def raise_for_status(self) -> None:
        """All is well."""

    def iter_content(self, size: int):
        for piece in self.pieces:
            self.taken += 1
            yield piece

    def close(self) -> None:
        self.closed = True


def session(container: Container, scratch: Path) -> containers.Session:
    command = containers.Command(
        argv=("true",), folder="/", env={}, network="none", timeout_s=1, what="`binder/postBuild`"
    )
    return containers.Session(container, command, scratch)


def test_files_go_in_as_whom_they_belong_to(tmp_path):
    container = Container()
    entries = [directory("a"), file("a/b", b"xyz", mode=0o755), symlink("a/c", "b")]
    session(container, tmp_path).put("/tmp", entries, 1000)
    rows = [(row.name, row.type, row.mode, row.uid, row.size, row.linkname) for row in container.given["/tmp"]]
    assert rows == [
        ("a", tarfile.DIRTYPE, 0o755, 1000, 0, ""),
        ("a/b", tarfile.REGTYPE, 0o755, 1000, 3, ""),
        ("a/c", tarfile.SYMTYPE, 0o777, 1000, 0, "b"),
    ]


def test_an_archive_is_what_came(tmp_path):
    with session(Container(b"ab", b"c"), tmp_path).archive(HOME) as tar:
        assert tar.read() == b"abc"


def test_a_home_without_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "MOST_BYTES", 3)
    container = Container(b"ab", b"cd", b"ef", b"gh")
    with pytest.raises(HelioError) as caught, session(container, tmp_path).archive(HOME):
        pass
    error = caught.value
    assert (error.stage, error.message) == (Stage.BUILD, "`binder/postBuild` left too much in /home/jovyan")
    # Left open, it would hold the container, which could not be removed.
    assert (container.taken, container.closed) == (2, True)

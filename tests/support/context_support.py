"""What `buildimages context` gives to `docker build`: whether the engine makes of it what was published."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helioimages.engines.engine import Engine


def assert_built_alike(engine: Engine, context: Path, image: str) -> None:
    """Build a context, compare files and configuration with an image that the engine has, and remove what was built."""
    made, _ = engine.client.images.build(
        path=str(context), tag="helioimages-test:context", network_mode="none", rm=True, forcerm=True
    )
    try:
        assert tree(engine, made.id) == tree(engine, image)
        ours, theirs = engine.client.images.get(image).attrs["Config"], made.attrs["Config"]
        # An engine puts PATH first; nothing depends on the order of variables.
        assert sorted(theirs["Env"]) == sorted(ours["Env"])
        for key in ("User", "WorkingDir", "Entrypoint", "Cmd", "ExposedPorts", "Labels"):
            assert theirs.get(key) == ours.get(key), key
    finally:
        engine.client.images.remove(made.id, force=True)


def tree(engine: Engine, image: str) -> dict[str, tuple[object, ...]]:
    """Return path -> what is there, of an image's file system as the engine exports it."""
    container = engine.client.containers.create(image, ["true"])
    members: dict[str, tuple[object, ...]] = {}
    try:
        stream = io.BufferedReader(Chunks(container.export()), 1 << 20)
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                # The engine puts these into every container.
                if member.name.split("/")[0] in ("dev", "proc", "sys") or member.name in (
                    ".dockerenv",
                    "etc/hostname",
                    "etc/hosts",
                    "etc/resolv.conf",
                    "etc/mtab",
                ):
                    continue
                file = tar.extractfile(member) if member.isreg() else None
                content = hashlib.file_digest(file, "sha256").hexdigest() if file else ""
                members[member.name] = (member.type, member.mode, member.uid, member.gid, member.linkname, content)
    finally:
        container.remove(force=True)
    assert len(members) > 2_000
    return members


class Chunks(io.RawIOBase):
    """A readable file over an iterator of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size

"""Small files of ours outside the store's content: written whole or not at all; and locks on what they describe."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def lock(file: IO[bytes] | int, *, wait: bool = True) -> bool:
    """Lock an open file until it is closed, also by the kernel when its holder dies; say whether we have it.

    Args:
        file: also a handle; whoever inherits it holds the lock too.
        wait: for another holder; else False tells of one.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def held(path: Path, *, mode: int = 0o644) -> Iterator[int]:
    """Wait for and hold the lock of a file, made if need be; yields its handle. See `lock`."""
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        lock(handle)
        yield handle
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Say whether somebody holds a file's lock now.

    Raises:
        OSError: the file is not there, or somebody else's.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return not lock(handle, wait=False)
    finally:
        os.close(handle)


def write(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Replace a file; a reader sees the old content or the new one, also after a loss of power.

    Args:
        data: text is written as UTF-8.
        mode: of the file, whatever the umask.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def of_file(path: Path) -> str:
    """Return the digest of the file's content."""
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()

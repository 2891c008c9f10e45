"""Small files of ours outside the store's content: written whole or not at all; and locks on what they describe."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Wait for and hold the lock of a file, made if need be; the kernel frees it when its holder dies."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


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

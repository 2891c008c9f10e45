"""The content-addressed store: a file that exists is whole.

Every write goes to ``tmp/`` on the same file system, is checked there, made read-only, brought to the disk, and
renamed. A run that is interrupted anywhere, by a loss of power too, leaves only files in ``tmp/``, which nobody reads;
two runs at once write the same bytes under the same name. A rename that a loss of power takes back only costs the work
again.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..core import files
from ..core.errors import HelioError, Stage

if TYPE_CHECKING:
    from .lent import Lent

#: Bytes that are written to a file at once.
_BUFFER = 1 << 20


def default_root() -> Path:
    """Return the store's folder as the environment says: HELIOIMAGES_STORE, XDG_CACHE_HOME, or ~/.cache."""
    if root := os.environ.get("HELIOIMAGES_STORE"):
        return Path(root)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "helioimages"


class Store:
    """Artefacts, blobs, memos and caches under one folder; see docs/architecture.md for the layout.

    Args:
        travelled: layers that came from a registry's cache count as made; else only what this machine made.
        signer: names a key, and of what came only that counts which the key had signed; empty for all.

    Attributes:
        lent: layers that are elsewhere, by key. They count as made, and nothing of them is in the folder.
    """

    def __init__(self, root: Path, *, travelled: bool = False, signer: str = "") -> None:
        self.root, self.travelled, self.signer = root, travelled, signer
        self.lent: dict[str, Lent] = {}
        try:
            for name in ("artefacts/sha256", "blobs/sha256", "memo", "cache", "tmp", "run", "toolchain"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(root, error) from error

    def counts(self, signer: str) -> bool:
        """Say whether what came from a cache counts, by the key that had signed it."""
        return self.travelled and self.signer in ("", signer)

    def artefact(self, sha256: str) -> Path:
        """Return where the package file with this sha256 (hex) is or will be."""
        return self.root / "artefacts" / "sha256" / sha256

    def blob(self, digest: str) -> Path:
        """Return where the blob with this digest (``sha256:…``) is or will be."""
        algorithm, _, hexdigest = digest.partition(":")
        return self.root / "blobs" / algorithm / hexdigest

    def cached(self, kind: str, key: str) -> Path:
        """Return where the cached file of a pure step is or will be."""
        return self.root / "cache" / kind / key

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Wait for and hold a lock that all processes on this store share; the kernel frees it when its holder dies."""
        path = self.root / "run" / f"{name}.lock"
        with contextlib.ExitStack() as stack:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(files.held(path))
            except OSError as error:
                raise _refused(path, error) from error
            yield

    @contextlib.contextmanager
    def writing(self, final: Path | Callable[[], Path]) -> Iterator[IO[bytes]]:
        """Yield a file open for writing and reading; on success it becomes ``final`` whole, on error it is gone.

        Args:
            final: its place, or what tells it once the file is written (a blob's digest is known only then).

        Raises:
            HelioError: the store is full, or cannot be written.
        """
        shown = final if isinstance(final, Path) else self.root / "blobs"
        try:
            handle, name = tempfile.mkstemp(dir=self.root / "tmp", prefix=shown.name[:16] + ".")
        except OSError as error:
            raise _refused(shown, error) from error
        raw = _Noting(handle, "r+b")
        file = io.BufferedRandom(raw, _BUFFER)
        try:
            try:
                yield file
            except OSError as error:
                # What the block does besides (it reads another disk, asks the network) says itself what it is.
                if error is not raw.fault:
                    raise
                raise _refused(shown, error) from error
            try:
                file.flush()
                os.fchmod(file.fileno(), 0o444)
                # Else a name could outlive a loss of power, and its bytes not.
                os.fsync(file.fileno())
                place = final if isinstance(final, Path) else final()
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(name, place)
            except OSError as error:
                raise _refused(shown, error) from error
        finally:
            # Closing writes what is left in the buffer, of a file that nobody gets.
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def put_blob(self, data: bytes) -> str:
        """Store a small blob and return its digest."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.read_blob(digest) is None:
            with self.writing(self.blob(digest)) as file:
                file.write(data)
        return digest

    def read_blob(self, digest: str) -> bytes | None:
        """Return a small blob; None if it is not there, or damaged."""
        try:
            data = self.blob(digest).read_bytes()
        except OSError:
            return None
        return data if digest == "sha256:" + hashlib.sha256(data).hexdigest() else None

    def put_artefact(self, source: Path) -> str:
        """Copy a file into the artefacts and return its sha256 (hex)."""
        with open(source, "rb") as stream:
            hexdigest = hashlib.file_digest(stream, "sha256").hexdigest()
            final = self.artefact(hexdigest)
            if not has(final, stream.tell()):
                stream.seek(0)
                with self.writing(final) as file:
                    while chunk := stream.read(1 << 20):
                        file.write(chunk)
        return hexdigest

    def recall(self, kind: str, key: str) -> Any | None:
        """Return the memo of a pure step, or None; one that a power cut emptied is forgotten."""
        try:
            return json.loads((self.root / "memo" / kind / f"{key}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def remember(self, kind: str, key: str, value: Any) -> None:
        """Keep the memo of a pure step: a JSON value under a 64-digit key."""
        with self.writing(self.root / "memo" / kind / f"{key}.json") as file:
            file.write(json.dumps(value, sort_keys=True).encode())


class _Noting(io.FileIO):
    """A file that knows the fault that its disk gave."""

    fault: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.fault = error
            raise

    def readinto(self, buffer: Any, /) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.fault = error
            raise


def has(path: Path, size: int | None) -> bool:
    """Say whether a file is there with all its bytes, where their number is known: a damaged disk may have cut it."""
    try:
        actual = os.stat(path).st_size
    except OSError:
        return False
    return size is None or actual == size


def settle(folder: Path) -> None:
    """Bring a folder of many files to the disk, all at once, before it gets its name."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        if libc.syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(handle)


def _refused(path: Path, error: OSError) -> HelioError:
    return HelioError(
        Stage.FETCH, f"cannot write {path}", detail=str(error), hint="check the space and rights of the store"
    )

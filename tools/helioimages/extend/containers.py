"""One container of an image: files in, a command, files out. It is removed whatever happens."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker.errors
import requests

from ..core.entries import Entry, Kind
from ..core.errors import HelioError, Stage
from ..engines import leftovers
from ..engines.engine import Engine

#: Bytes of an archive that are kept in memory before they go to a file.
_SPOOL = 64 << 20
_LINES = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a container runs.

    Attributes:
        argv: as the image's user.
        folder: where it starts, absolute.
        env: beyond the image's own.
        network: ``none``, or ``bridge`` for the engine's way out.
        timeout_s: seconds after which it is killed.
        what: it is, for messages.
    """

    argv: tuple[str, ...]
    folder: str
    env: Mapping[str, str]
    network: str
    timeout_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Session:
    """A container that was made, and not started yet."""

    container: Any
    command: Command

    def put(self, folder: str, entries: Iterable[Entry], uid: int) -> None:
        """Copy files below a folder of the container; they belong to ``uid``.

        Raises:
            HelioError: the engine refuses.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for entry in entries:
                info = tarfile.TarInfo(entry.path)
                info.mode, info.uid, info.gid = entry.mode, uid, 0
                info.type = {Kind.DIR: tarfile.DIRTYPE, Kind.SYMLINK: tarfile.SYMTYPE}.get(entry.kind, tarfile.REGTYPE)
                info.linkname = entry.target
                data = entry.content.read() if entry.content else b""
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        with _told(self.command.what):
            self.container.put_archive(folder, stream.getvalue())

    def run(self) -> int:
        """Run the command and return its exit status.

        Raises:
            HelioError: it did not end in time.
        """
        with _told(self.command.what):
            self.container.start()
            try:
                return int(self.container.wait(timeout=self.command.timeout_s)["StatusCode"])
            except (requests.ConnectionError, requests.ReadTimeout) as error:
                self.container.kill()
                raise HelioError(
                    Stage.BUILD,
                    f"{self.command.what} did not end within {self.command.timeout_s:g} s",
                    detail=self.log(),
                    hint="it may wait for an answer that nobody gives; --timeout gives it more seconds",
                ) from error

    def log(self) -> str:
        """Return the last lines that it wrote."""
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            return str(self.container.logs(tail=_LINES).decode("utf-8", "replace")).strip()
        return ""

    def changed(self) -> dict[str, int]:
        """Return absolute path -> what happened to it: 0 changed, 1 new, 2 gone."""
        with _told(self.command.what):
            return {row["Path"]: int(row["Kind"]) for row in self.container.diff() or ()}

    @contextlib.contextmanager
    def archive(self, path: str) -> Iterator[IO[bytes]]:
        """Yield a tar file of a path of the container, whose members begin with the path's last part."""
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL) as file:
            with _told(self.command.what):
                stream, _ = self.container.get_archive(path)
                for piece in stream:
                    file.write(piece)
            file.seek(0)
            yield file


@contextlib.contextmanager
def session(engine: Engine, reference: str, command: Command) -> Iterator[Session]:
    """Yield a container of an image, pulled if need be; it is removed at the end.

    Raises:
        HelioError: the engine cannot pull the image or make a container of it.
    """
    engine.pull(reference)
    leftovers.sweep(engine.client)
    with _told(command.what):
        container = engine.client.containers.create(
            reference,
            list(command.argv),
            network_mode=command.network,
            use_config_proxy=command.network != "none",
            working_dir=command.folder,
            environment=dict(command.env),
            security_opt=["no-new-privileges"],
            labels=leftovers.label(),
        )
    try:
        yield Session(container, command)
    finally:
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            container.remove(force=True, v=True)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise HelioError(Stage.ENGINE, f"the engine lost the container of {what}", detail=str(error)[:600]) from error


def files_of(tar: IO[bytes], suffix: str, folder: Path) -> Sequence[Path]:
    """Write the files of a tar whose names end in ``suffix`` into a folder, flat, and return them."""
    paths = []
    with tarfile.open(fileobj=tar) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(suffix):
                content = archive.extractfile(member)
                assert content is not None
                path = folder / member.name.rpartition("/")[2]
                path.write_bytes(content.read())
                paths.append(path)
    return sorted(paths)

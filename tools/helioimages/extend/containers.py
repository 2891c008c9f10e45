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
from docker.types import LogConfig

from ..core.entries import Entry, Kind
from ..core.errors import HelioError, Stage
from ..core.words import human_size
from ..engines import leftovers
from ..engines.engine import Engine

#: Bytes of an archive that are kept in memory before they go to a file.
_SPOOL = 64 << 20
#: Bytes of the home that are taken over; what is more is data.
MOST_BYTES = 8_000_000_000
#: Bytes of an archive that are read at once.
_PIECE = 2 << 20
_LINES = 25
#: Processes and threads at once.
_PROCESSES = 4096
#: What a program writes without end does not fill the engine's disk.
_LOG = LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "2"})


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
    scratch: Path

    def put(self, folder: str, entries: Iterable[Entry], uid: int) -> None:
        """Copy files below a folder of the container; they belong to ``uid``.

        Raises:
            HelioError: the engine refuses.
        """
        with tempfile.TemporaryFile(dir=self.scratch) as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for entry in entries:
                    info = tarfile.TarInfo(entry.path)
                    info.mode, info.uid, info.gid = entry.mode, uid, 0
                    types = {Kind.DIR: tarfile.DIRTYPE, Kind.SYMLINK: tarfile.SYMTYPE}
                    info.type = types.get(entry.kind, tarfile.REGTYPE)
                    info.linkname = entry.target
                    data = entry.content.read() if entry.content else b""
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            file.seek(0)
            with _told(self.command.what):
                self.container.put_archive(folder, file)

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
                # It may have ended just now.
                with contextlib.suppress(docker.errors.APIError):
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
        """Yield a tar file of a path of the container, whose members begin with the path's last part.

        Raises:
            HelioError: there is more of it than `MOST_BYTES`.
        """
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL, dir=str(self.scratch)) as file:
            with _told(self.command.what), self._archive(path) as pieces:
                for piece in pieces:
                    file.write(piece)
                    if file.tell() > MOST_BYTES:
                        raise HelioError(
                            Stage.BUILD,
                            f"{self.command.what} left too much in {path}",
                            detail=f"expected at most {human_size(MOST_BYTES)}",
                            hint="keep data in a bucket or an archive, and read them from there",
                        )
            file.seek(0)
            yield file

    @contextlib.contextmanager
    def _archive(self, path: str) -> Iterator[Iterator[bytes]]:
        """Yield an archive's pieces. The SDK leaves its answer open, and an engine then never removes the container."""
        api = self.container.client.api
        address = f"{api.base_url}/v{api.api_version}/containers/{self.container.id}/archive"
        with contextlib.closing(api.get(address, params={"path": path}, stream=True)) as answer:
            answer.raise_for_status()
            yield answer.iter_content(_PIECE)


@contextlib.contextmanager
def session(engine: Engine, reference: str, command: Command, scratch: Path) -> Iterator[Session]:
    """Yield a container of an image, pulled if need be; it is removed at the end.

    Args:
        scratch: a folder for archives.

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
            pids_limit=_PROCESSES,
            log_config=_LOG,
            labels=leftovers.label(),
        )
    try:
        yield Session(container, command, scratch)
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

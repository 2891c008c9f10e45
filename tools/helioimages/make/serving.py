"""The local channel for others: a folder that any conda client takes, and a server of it on loopback."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import zstandard

from ..conda.pack import write_repodata
from ..core import files
from ..core.errors import HelioError, Stage
from .channel import artefact_paths

#: zstd's level of ``repodata.json.zst``.
_LEVEL = 19


def export(channel: Path, output: Path) -> tuple[Path, ...]:
    """Put a built channel's packages into a folder, beside what is there, and index it.

    Args:
        channel: the folder of a built channel; see `channel.build_channel`.
        output: a channel, or a folder that is empty or is made. It may hold other platforms' packages, and older ones.

    Returns:
        the packages, sorted.

    Raises:
        HelioError: the folder holds something else, or a package of another content under one of the names.

    Spec: CEP 36 (repodata.json, and .zst beside it).
    """
    if output.is_dir() and any(output.iterdir()) and not (output / "noarch" / "repodata.json").is_file():
        raise HelioError(
            Stage.USAGE,
            f"`{output}` is not the folder of a channel",
            where="--output",
            detail="expected noarch/repodata.json in it, or nothing",
            hint="name a folder that does not exist",
        )
    written = []
    for sha256, path in artefact_paths(channel).items():
        target = output / path.parent.name / path.name
        if target.exists() and files.of_file(target) != f"sha256:{sha256}":
            raise HelioError(
                Stage.USAGE,
                f"`{target}` is another package",
                where="--output",
                detail=f"expected sha256:{sha256}",
                hint="a channel's files never change: name another folder",
            )
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write(target, path.read_bytes())
        written.append(target)
    subdirs = sorted(
        {path.parent.name for path in output.glob("*/*") if path.suffix in (".conda", ".bz2")} | {"noarch"}
    )
    write_repodata(output, subdirs)
    for subdir in subdirs:
        plain = output / subdir / "repodata.json"
        files.write(plain.with_name("repodata.json.zst"), zstandard.compress(plain.read_bytes(), _LEVEL))
    return tuple(sorted(written))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Say nothing: clients ask for many files."""


def server_of(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a channel on loopback, not yet serving.

    The channel's address is ``http://127.0.0.1:<port>/<folder's name>``.

    Args:
        port: 0 takes a free one.
    """
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(folder.resolve().parent)))

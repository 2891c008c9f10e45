"""Conda channels on loopback, of packages made here, and checkouts whose environments are of them."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from locking_support import World

from helioimages.conda.channels import read_places
from helioimages.conda.lock import CondaLock
from helioimages.conda.pack import write_conda, write_repodata
from helioimages.core.entries import Content, Entry, Kind
from helioimages.locks import locking
from helioimages.locks.channels import conda_file
from helioimages.machine.fetch import fetch_all
from helioimages.machine.store import Store

LOGIN = "Basic " + base64.b64encode(b"me:secret").decode()


class Served(SimpleHTTPRequestHandler):
    """Folders are channels; what is below ``closed`` wants a login, ``denied`` refuses all."""

    def do_GET(self):
        token, self.path = self.path.startswith("/t/tk-1/"), self.path.removeprefix("/t/tk-1")
        login = self.headers.get("Authorization") in (LOGIN, "Bearer tk-2")
        if self.path.startswith("/closed/") and not login and not token:
            self.send_error(401)
        elif self.path.startswith("/denied/"):
            self.send_error(403)
        else:
            # It tells times in whole seconds: an index that changed twice in one would be the first for its readers.
            del self.headers["If-Modified-Since"]
            super().do_GET()

    do_HEAD = do_GET

    def log_message(self, *_arguments):
        pass


@contextmanager
def listening(folder: Path, handler: type[Served] = Served) -> Iterator[str]:
    """Serve the channels of a folder, and yield their address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def add(channel: Path, name: str, version: str, *depends: str, subdir: str = "linux-64", file: str = "") -> Path:
    """Put a package with one file into a channel and index it."""
    path = channel / subdir / f"{name}-{version}-h0_0.conda"
    content = Content.of(f"{channel.name} {name}".encode())
    write_conda(
        path,
        index={
            "name": name,
            "version": version,
            "build": "h0_0",
            "build_number": 0,
            "subdir": subdir,
            "depends": list(depends),
            "timestamp": 1_700_000_000_000,
            **({"noarch": "generic"} if subdir == "noarch" else {}),
        },
        entries=[Entry(path=file or f"share/{name}", kind=Kind.FILE, content=content)],
    )
    write_repodata(channel, ("linux-64",))
    return path


class Channels(World):
    """A checkout whose environments are of channels on loopback."""

    def asks(self, *channels: str, conda=(), **ours) -> None:
        self.environment("e", conda=("python=3.13", *conda), **ours)
        file = self.root / "environments" / "e" / "environment.yml"
        file.write_text(file.read_text().replace("[local]", json.dumps(channels)))

    def lock_it(self, *dirs, **options):
        locking.lock(self.root, self.store, ("e",), locking.Wish(channel_dirs=dirs, **options))
        return self.conda_lock("e")

    def fetch(self, lock):
        """Fetch as another machine does: `lock` has brought everything into this one's store."""
        wanted = [
            conda_file(package, f"package[{index}]", read_places()) for index, package in enumerate(lock.packages)
        ]
        return fetch_all(wanted, Store(Path(tempfile.mkdtemp(dir=self.root))))


def versions(lock: CondaLock) -> dict[str, tuple[str, str]]:
    """Return name -> version and channel of what is locked."""
    return {package.name: (package.version, package.channel) for package in lock.packages}
